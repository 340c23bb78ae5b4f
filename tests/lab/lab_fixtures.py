"""The fixtures of the tests that need the lab. They wait for the machine's lab lock to be free, and say why they skip.

A machine holds one lab at a time: a module that needs the other environment takes the first one down. The tests of an
environment lie in one folder each, so that this happens once.
"""

import contextlib
import os
from collections.abc import Iterator

import pytest
from network_lab import NetworkLab
from recovery_lab import RecoveryLab
from running_lab import Lab, Quiet

from isthmus.errors import HostError, IsthmusError, PrivilegeError
from isthmus.lab import bringup, environment, home, processes, progress

KEEP = "ISTHMUS_KEEP_LAB"
TOLD = 25  # lines of each log
KINDS: dict[str, type[Lab]] = {
    "identity": Lab,
    "network": NetworkLab,
    "wide": NetworkLab,
    "recovery": RecoveryLab,
}


class Machine:
    """The machine's one lab: whichever environment was asked for last is up."""

    def __init__(self, place: home.Home, lock: contextlib.ExitStack) -> None:
        self.place = place
        self._lock = lock
        self._labs: dict[str, Lab] = {}
        self._current: str | None = None

    def provide(self, name: str) -> Lab:
        """The lab with the packaged environment `name`, brought up or found up."""
        text, wanted = environment.load(name)
        if name not in self._labs:
            kind = KINDS[name]
            self._labs[name] = kind(home=self.place, environment=wanted, lock=self._lock)
        record = home.read_record(self.place)
        # A test may have taken the lab away.
        if self._current != name or record is None:
            if record is not None and record.environment != wanted:
                bringup.down(self.place, Quiet())
            self._up(text, wanted)
            self._labs[name].forget()
            self._current = name
        return self._labs[name]

    def _up(self, text: str, wanted: environment.Environment) -> None:
        try:
            bringup.up(self.place, text, wanted, progress.Lines())
        except (PrivilegeError, HostError) as reason:
            pytest.skip(f"no lab on this machine: {reason}")
        except IsthmusError as reason:
            # Where a lab did not come up, its logs are gone with it.
            print(ends_of_logs())
            bringup.down(self.place, Quiet())
            pytest.fail(f"the lab {wanted.name} did not come up: {reason}", pytrace=False)


@pytest.fixture(scope="session")
def machine() -> Iterator[Machine]:
    """The machine's lab, held for the session; taken away afterwards unless ISTHMUS_KEEP_LAB=1."""
    place = home.Home(root=home.default_home())
    with contextlib.ExitStack() as lock:
        if os.geteuid() == 0:
            lock.enter_context(home.locked(place, "the lab tests"))
        yield Machine(place, lock)
        if os.geteuid() == 0 and os.environ.get(KEEP) != "1":
            bringup.down(place, Quiet())


@pytest.fixture(scope="module")
def lab_up(machine: Machine) -> Lab:
    """The environment `identity`."""
    return machine.provide("identity")


@pytest.fixture(scope="module")
def network_up(machine: Machine) -> NetworkLab:
    """The environment `network`."""
    found = machine.provide("network")
    assert isinstance(found, NetworkLab)
    return found


@pytest.fixture(scope="module")
def wide_up(machine: Machine) -> NetworkLab:
    """The environment `wide`."""
    found = machine.provide("wide")
    assert isinstance(found, NetworkLab)
    return found


@pytest.fixture(scope="module")
def recovery_up(machine: Machine) -> RecoveryLab:
    """The environment `recovery`."""
    found = machine.provide("recovery")
    assert isinstance(found, RecoveryLab)
    return found


@pytest.fixture
def lab(lab_up: Lab) -> Lab:
    """The lab with all links whole, all units running and serving, one writer, and empty queues."""
    lab_up.mend()
    return lab_up


@pytest.fixture
def network_lab(network_up: NetworkLab) -> Iterator[NetworkLab]:
    """The lab with networks, whole and serving; guests and networks that the test makes are taken away after it."""
    network_up.mend()
    yield network_up
    # Whole again first: what a test has made cannot be taken away from a cloud that is still cut off.
    network_up.mend()


def ends_of_logs(since: float = 0.0) -> str:
    """The last lines of every log that was written to after `since` (seconds since 1970)."""
    logs = home.Home(root=home.default_home()).logs
    told = []
    for path in sorted(logs.rglob("*.log")):
        if path.stat().st_mtime >= since:
            told += [f"--- {path.relative_to(logs)}", *processes.tail(path, TOLD).splitlines()]
    return "\n    ".join(told)
