"""The fixtures of the tests that need the lab. They wait for the machine's lab lock to be free, and say why they skip."""

import contextlib
import os
from collections.abc import Iterator

import pytest
from running_lab import Lab, Quiet

from isthmus.errors import HostError, PrivilegeError
from isthmus.lab import bringup, environment, home, progress

ENVIRONMENT = "identity"
KEEP = "ISTHMUS_KEEP_LAB"


@pytest.fixture(scope="session")
def lab_up() -> Iterator[Lab]:
    """The environment `identity`, brought up (or found up) once; taken away afterwards unless ISTHMUS_KEEP_LAB=1."""
    place = home.Home(root=home.default_home())
    text, wanted = environment.load(ENVIRONMENT)
    lock = contextlib.ExitStack()
    with lock:
        try:
            if os.geteuid() == 0:
                lock.enter_context(home.locked(place, "the lab tests"))
            bringup.up(place, text, wanted, progress.Lines())
        except (PrivilegeError, HostError) as reason:
            pytest.skip(f"no lab on this machine: {reason}")
        yield Lab(home=place, environment=wanted, lock=lock)
        if os.environ.get(KEEP) != "1":
            bringup.down(place, Quiet())


@pytest.fixture
def lab(lab_up: Lab) -> Lab:
    """The lab with all links whole, all units running and serving, one writer, and empty queues."""
    lab_up.mend()
    return lab_up
