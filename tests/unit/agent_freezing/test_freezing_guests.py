"""What is said to a guest agent, and what never is."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from guest_agent import GuestAgent, serving

from isthmus.agent.host.freezing import guests, libvirts
from isthmus.agent.host.freezing.entries import Guest

DOMAIN = "instance-00000001"


@pytest.fixture
def guest(tmp_path: Path) -> Iterator[GuestAgent]:
    with serving(tmp_path / f"{DOMAIN}.sock") as agent:
        yield agent


@pytest.fixture
def access(tmp_path: Path) -> guests.Guests:
    return guests.Guests(None, (str(tmp_path / "{domain}.sock"),))


def test_a_guest_freezes_thaws_and_says_how_it_is(guest: GuestAgent, access: guests.Guests) -> None:
    assert access.status(DOMAIN) is Guest.THAWED
    assert access.freeze(DOMAIN, 1.0) == 2
    assert access.status(DOMAIN) is Guest.FROZEN
    assert access.thaw(DOMAIN) == 2
    assert access.thaw(DOMAIN) == 0


def test_a_guest_that_refuses_is_quoted(guest: GuestAgent, access: guests.Guests) -> None:
    access.freeze(DOMAIN, 1.0)
    with pytest.raises(guests.GuestError, match="has been disabled") as refused:
        access.freeze(DOMAIN, 1.0)
    assert refused.value.delivered


def test_a_silent_guest_is_unknown_after_the_time_that_was_given(
    guest: GuestAgent, access: guests.Guests
) -> None:
    guest.deaf.set()
    assert access.status(DOMAIN, 0.2) is Guest.UNKNOWN


def test_nothing_but_a_greeting_reaches_a_guest_agent_that_talks_to_somebody_else(
    guest: GuestAgent, access: guests.Guests
) -> None:
    """As libvirtd does, as long as it lives. What waits in the queue is read when it has gone."""
    with socket.socket(socket.AF_UNIX) as libvirtd:
        libvirtd.connect(str(guest.path))
        libvirtd.sendall(json.dumps({"execute": "guest-fsfreeze-status"}).encode() + b"\n")
        assert b"thawed" in libvirtd.recv(100)
        with pytest.raises(guests.GuestError) as refused:
            access.freeze(DOMAIN, 0.2)
        assert not refused.value.delivered
    assert access.status(DOMAIN) is Guest.THAWED
    assert guest.said == []


def test_a_guest_whose_qemu_is_dead_is_gone(guest: GuestAgent, access: guests.Guests) -> None:
    guest.close()
    assert access.status(DOMAIN) is Guest.GONE


def test_a_guest_without_a_socket_is_unknown(access: guests.Guests) -> None:
    assert access.status("instance-00000009") is Guest.UNKNOWN


# --- through libvirt


def virsh(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Put a program of this name first on the path: what virsh says is known, libvirtd is not here."""
    path = folder / "virsh"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setitem(libvirts._ENGLISH, "PATH", f"{folder}:/usr/bin:/bin")


AWAY = 'echo "error: failed to connect to the hypervisor" >&2; exit 1'
SILENT = 'echo "error: Guest agent is not responding: no answer" >&2; exit 1'
STOPPED = 'echo "error: Requested operation is not valid: domain is not running" >&2; exit 1'


def both(tmp_path: Path) -> guests.Guests:
    return guests.Guests(libvirts.virsh("qemu:///system"), (str(tmp_path / "{domain}.sock"),))


def test_libvirt_is_asked_first(
    tmp_path: Path, guest: GuestAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    virsh(tmp_path, monkeypatch, "echo '{\"return\": 5}'")
    assert both(tmp_path).freeze(DOMAIN, 1.0) == 5
    assert guest.said == []


def test_where_libvirtd_is_dead_its_guests_are_reached_by_their_sockets(
    tmp_path: Path, guest: GuestAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    virsh(tmp_path, monkeypatch, AWAY)
    assert both(tmp_path).freeze(DOMAIN, 1.0) == 2
    assert both(tmp_path).status(DOMAIN) is Guest.FROZEN


def test_where_there_is_no_virsh_guests_are_reached_by_their_sockets(
    tmp_path: Path, guest: GuestAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(libvirts._ENGLISH, "PATH", str(tmp_path))
    assert both(tmp_path).freeze(DOMAIN, 1.0) == 2


@pytest.mark.parametrize("script", [SILENT, "sleep 5"])
def test_a_freeze_that_libvirt_may_have_sent_is_not_sent_again_but_a_thaw_is(
    tmp_path: Path, guest: GuestAgent, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    virsh(tmp_path, monkeypatch, script)
    with pytest.raises(guests.GuestError) as refused:
        both(tmp_path).freeze(DOMAIN, 0.3)
    assert refused.value.delivered
    assert guest.said == []
    assert both(tmp_path).thaw(DOMAIN, 0.3) == 0
    assert guest.said == [guests.THAW]


def test_a_guest_that_libvirt_says_does_not_run_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    virsh(tmp_path, monkeypatch, STOPPED)
    assert both(tmp_path).status(DOMAIN) is Guest.GONE


def test_many_may_ask_at_once(guest: GuestAgent, access: guests.Guests) -> None:
    said: list[Guest] = []
    threads = [
        threading.Thread(target=lambda: said.append(access.status(DOMAIN, 5.0))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said == [Guest.THAWED] * 8
