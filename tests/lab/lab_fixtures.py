"""The fixtures of the tests that need the lab. They wait for the machine's lab lock to be free, and say why they skip."""

import contextlib
import os
from collections.abc import Iterator

import pytest
from running_lab import Lab, Quiet

from isthmus.errors import HostError, IsthmusError, PrivilegeError
from isthmus.lab import bringup, environment, home, processes, progress

ENVIRONMENT = "identity"
KEEP = "ISTHMUS_KEEP_LAB"
TOLD = 25  # lines of each log


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
        except IsthmusError:
            _tell(place)
            bringup.down(place, Quiet())
            raise
        yield Lab(home=place, environment=wanted, lock=lock)
        if os.environ.get(KEEP) != "1":
            bringup.down(place, Quiet())


def _tell(place: home.Home) -> None:
    """Print the ends of all logs: where a lab did not come up, they are gone with it."""
    for path in sorted(place.logs.rglob("*.log")):
        print(
            f"--- {path.relative_to(place.logs)}",
            *processes.tail(path, TOLD).splitlines(),
            sep="\n    ",
        )


@pytest.fixture
def lab(lab_up: Lab) -> Lab:
    """The lab with all links whole, all units running and serving, one writer, and empty queues."""
    lab_up.mend()
    return lab_up
