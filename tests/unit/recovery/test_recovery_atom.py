"""The atom drives a round over slow, silent and stubborn hosts, with real threads and a real clock."""

import dataclasses
import threading
import time
from collections.abc import Mapping, Sequence

import pytest
from recovery_values import a_group
from test_recovery_freezing import a_ledger

from isthmus import errors
from isthmus.recovery.freezing import machine
from isthmus.recovery.freezing.atom import Atom
from isthmus.recovery.freezing.hosts import HostAgents
from isthmus.recovery.freezing.ledger import Entry, FreezeLedger, RoundPhase
from isthmus.recovery.freezing.machine import Guest, Report


class Guests:
    """All hosts with their guests and dead-men; `silent_for` hosts take that long to do nothing."""

    def __init__(self, deadline_s: float) -> None:
        self.deadline_s = deadline_s
        self.frozen: dict[str, bool] = {}
        self.armed: dict[str, threading.Timer] = {}
        self.fired: set[str] = set()
        self.silent: set[str] = set()
        self.orders: list[tuple[str, str]] = []

    def _fire(self, server_id: str) -> None:
        self.fired.add(server_id)
        self.frozen[server_id] = False

    def _report(self, server_id: str, was_frozen: bool | None = None) -> Report:
        guest = Guest.FROZEN if self.frozen.get(server_id) else Guest.THAWED
        fired = server_id in self.fired
        return Report(armed=True, guest=guest, fired=fired, was_frozen=was_frozen)

    def _heard(self, host: str, verb: str, entries: Sequence[Entry]) -> None:
        if (host, verb) in self.silent or host in self.silent:
            raise errors.UnavailableError("no answer", where=f"host {host}")
        self.orders += [(verb, entry.name) for entry in entries]

    def arm(
        self, host: str, ledger: FreezeLedger, entries: Sequence[Entry], timeout_s: float
    ) -> Mapping[str, Report]:
        self._heard(host, "arm", entries)
        for entry in entries:
            timer = threading.Timer(ledger.deadline_s, self._fire, (entry.server_id,))
            timer.daemon = True
            timer.start()
            self.armed[entry.server_id] = timer
        return {entry.server_id: self._report(entry.server_id) for entry in entries}

    def freeze(
        self, host: str, round_id: str, entries: Sequence[Entry], timeout_s: float
    ) -> Mapping[str, Report]:
        self._heard(host, "freeze", entries)
        self.frozen |= {entry.server_id: True for entry in entries}
        return {entry.server_id: self._report(entry.server_id) for entry in entries}

    def thaw(
        self, host: str, round_id: str, entries: Sequence[Entry], timeout_s: float
    ) -> Mapping[str, Report]:
        self._heard(host, "thaw", entries)
        reports = {}
        for entry in entries:
            was = self.frozen.get(entry.server_id, False)
            self.frozen[entry.server_id] = False
            reports[entry.server_id] = self._report(entry.server_id, was)
        return reports

    def disarm(self, host: str, round_id: str, timeout_s: float) -> None:
        self._heard(host, "disarm", ())
        for timer in self.armed.values():
            timer.cancel()


class Storage:
    """Takes `seconds`, or fails with `error`."""

    def __init__(self, seconds: float = 0.0, error: str | None = None) -> None:
        self.seconds, self.error = seconds, error
        self.taken = 0

    def take(self, timeout_s: float) -> None:
        time.sleep(self.seconds)
        if self.error:
            raise errors.IsthmusError(self.error)
        self.taken += 1


def run(
    guests: Guests, storage: Storage, ledger: FreezeLedger | None = None
) -> tuple[FreezeLedger, list[FreezeLedger]]:
    saved: list[FreezeLedger] = []
    ledger = ledger or dataclasses.replace(a_ledger(a_group()), deadline_s=guests.deadline_s)
    atom = Atom(hosts=guests, snapshots=storage, save=saved.append)
    return atom.run(ledger), saved


def test_a_round_freezes_in_order_thaws_in_reverse_and_is_sound() -> None:
    guests = Guests(5.0)
    ledger, saved = run(guests, Storage(0.05))
    assert ledger.sound
    assert ledger.window_s is not None
    assert 0.05 <= ledger.window_s < 2.0
    done = [name for verb, name in guests.orders if verb in ("freeze", "thaw")]
    assert done == ["client", "middle", "database", "database", "middle", "client"]
    assert [each.phase for each in saved] == [
        RoundPhase.ARMING,
        RoundPhase.FREEZING,
        RoundPhase.DONE,
    ]


def test_storage_that_hangs_is_not_waited_for_beyond_the_deadline() -> None:
    guests = Guests(1.5)
    began = time.monotonic()
    ledger, _ = run(guests, Storage(8.0))
    assert time.monotonic() - began < 6.0, "8 s would be the storage's own time"
    assert not ledger.sound
    assert not any(guests.frozen.values())


def test_snapshots_that_fail_void_the_round_and_everybody_is_thawed() -> None:
    guests = Guests(5.0)
    ledger, _ = run(guests, Storage(error="no space"))
    assert ledger.void_reason == "snapshots failed: no space"
    assert not any(guests.frozen.values())


def test_a_host_that_falls_silent_in_the_window_is_left_to_its_dead_man(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(machine, "GRACE_S", 0.5)
    guests = Guests(1.0)
    guests.silent = {("host-0", "thaw"), ("host-0", "disarm")}
    ledger, _ = run(guests, Storage())
    assert {entry.name for entry in ledger.unverified} == {"client", "database"}
    assert not any(guests.frozen.values())
    assert guests.fired


def test_a_ledger_that_cannot_be_written_freezes_nobody() -> None:
    guests = Guests(5.0)
    storage = Storage()
    ledger = a_ledger(a_group())

    def full(ledger: FreezeLedger) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        Atom(hosts=guests, snapshots=storage, save=full).run(ledger)
    assert guests.orders == []
    calls: list[FreezeLedger] = []

    def full_later(ledger: FreezeLedger) -> None:
        calls.append(ledger)
        if len(calls) > 1:
            raise OSError("disk full")

    voided = Atom(hosts=guests, snapshots=storage, save=full_later).run(ledger)
    assert voided.void_reason == "the freeze ledger could not be written"
    assert not [name for verb, name in guests.orders if verb == "freeze"]
    assert storage.taken == 0


def test_a_round_that_a_crash_left_behind_is_thawed_and_not_continued() -> None:
    guests = Guests(5.0)
    _, saved = run(guests, Storage())
    left = machine.resumed(saved[1])
    guests.frozen = dict.fromkeys(guests.frozen, True)
    storage = Storage()
    ledger, _ = run(guests, storage, left)
    assert storage.taken == 0
    assert not any(guests.frozen.values())
    assert "restarted" in (ledger.void_reason or "")


class Answers:
    """Calls that answer what they were given."""

    def __init__(self, answer: object) -> None:
        self.answer = answer
        self.asked: list[tuple[str, str, object]] = []

    def call(self, method: str, name: str, path: str, body: object, timeout: float) -> object:
        self.asked.append((method, path, body))
        return self.answer


def test_the_answer_of_a_host_agent_becomes_reports_or_an_error() -> None:
    ledger = a_ledger(a_group(members=a_group().members[:1]))
    entry = ledger.entries[0]
    told = {"domain": entry.domain, "server_id": entry.server_id, "armed": True, "error": None}
    calls = Answers({"results": [{**told, "guest": "thawed", "fired": False, "was_frozen": True}]})
    reports = HostAgents(calls).thaw("host-0", "a/b", ledger.entries, 1.0)
    assert reports[entry.server_id] == Report(armed=True, guest=Guest.THAWED, was_frozen=True)
    assert calls.asked == [("POST", "/freezes/a%2Fb/thaw", {"domains": [entry.domain]})]
    for wrong in (None, {}, {"results": []}, {"results": [{**told, "guest": "?"}]}):
        with pytest.raises(errors.InputError, match="shape"):
            HostAgents(Answers(wrong)).freeze("host-0", "round", ledger.entries, 1.0)


def test_a_command_for_a_guest_is_asked_of_its_host_and_its_end_read() -> None:
    calls = Answers({"exit": 3, "output": "last words", "site": "paris"})
    assert HostAgents(calls).execute("host-0", "a/b", ["/x", "y"], 5.0) == (3, "last words")
    body = {"command": ["/x", "y"], "timeout_s": 5.0}
    assert calls.asked == [("POST", "/guests/a%2Fb/exec", body)]
    for wrong in (None, {}, {"exit": "?"}):
        with pytest.raises(errors.InputError, match="shape"):
            HostAgents(Answers(wrong)).execute("host-0", "a", ["/x"], 5.0)
