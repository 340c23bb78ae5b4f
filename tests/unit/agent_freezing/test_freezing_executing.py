"""Commands in guests, over HTTP: how they end, and what is refused."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from guest_agent import GuestAgent
from orders_agent import ONE, SECRET, STARTED_SECONDS, Agent

from conditions import wait_for
from isthmus import errors
from isthmus.agent.host import executing
from isthmus.engine import calling
from isthmus.recovery.freezing.hosts import HostAgents

Refused = tuple[int, str]


def run(agent: Agent, *command: str, timeout_s: float = 20.0, domain: str = ONE) -> Any:
    body = {"command": list(command), "timeout_s": timeout_s}
    return agent.call("POST", f"/guests/{domain}/exec", body)


def sh(agent: Agent, script: str, timeout_s: float = 20.0) -> Any:
    return run(agent, "/bin/sh", "-c", script, timeout_s=timeout_s)


def refusal(answer: requests.Response) -> Refused:
    """The status, and all that is said."""
    error = answer.json()["error"]
    return answer.status_code, f"{error['what']}: {error['cause']} ({error['unchanged']})"


def ran(guests: list[GuestAgent]) -> bool:
    return any(name == "guest-exec" for guest in guests for name in guest.said)


@pytest.mark.parametrize(
    ("script", "ended", "output"),
    [
        ("echo done; echo but >&2", 0, "done\nbut\n"),
        ("exit 3", 3, ""),
        ("kill -9 $$", 137, "Killed\n"),
        ("exec 3>&2; echo three >&3; (: >&4) 2>/dev/null && echo four; exit 1", 1, "three\n"),
        ("printf '\\377'", 0, "\ufffd"),
    ],
)
def test_a_command_ends_with_its_code_and_its_words(
    agent: Agent, guests: list[GuestAgent], script: str, ended: int, output: str
) -> None:
    answer = sh(agent, script).json()
    assert (answer["exit"], answer["output"], answer["host"]) == (ended, output, "compute1")


def test_of_many_words_the_last_are_told(agent: Agent, guests: list[GuestAgent]) -> None:
    """And no more than these leave the guest: libvirt loses a guest agent that says too much."""
    answer = sh(agent, "seq 1 5000; echo failed >&2; seq 1 3; exit 1").json()
    assert len(answer["output"]) == executing.OUTPUT_BYTES
    assert answer["output"].endswith("5000\nfailed\n1\n2\n3\n")
    assert guests[0].longest < 2 * executing.OUTPUT_BYTES


def test_words_reach_the_command_as_they_are(agent: Agent, guests: list[GuestAgent]) -> None:
    words = ("$HOME", "a b", "", "ü;ls")
    answer = run(agent, "/usr/bin/printf", "%s|", *words).json()
    assert answer["output"] == "$HOME|a b||ü;ls|"


def test_a_command_that_does_not_end_is_left_and_its_process_named(
    agent: Agent, guests: list[GuestAgent]
) -> None:
    status, words = refusal(sh(agent, "exec sleep 60", timeout_s=1.0))
    [pid] = guests[0].processes
    assert status == 503
    assert f"did not end within 1 s: process {pid} of the guest may still run" in words
    assert guests[0].processes[pid].poll() is None


@pytest.mark.parametrize(
    ("command", "timeout_s", "words"),
    [
        ((), 5.0, "it is empty"),
        (("sync",), 5.0, "absolute path"),
        (("",), 5.0, "absolute path"),
        (("/x", *"a" * 64), 5.0, "64 words"),
        (("/x", "a" * 17000), 5.0, "16384 bytes"),
        (("/x", "a\0b"), 5.0, "byte of zero"),
        (("/x",), 0.5, "1 to 600 s"),
        (("/x",), 601.0, "1 to 600 s"),
    ],
)
def test_orders_that_cannot_be_carried_out_are_bad_requests(
    agent: Agent,
    guests: list[GuestAgent],
    command: tuple[str, ...],
    timeout_s: float,
    words: str,
) -> None:
    status, told = refusal(run(agent, *command, timeout_s=timeout_s))
    assert (status, words in told, ran(guests)) == (400, True, False)


def test_a_program_that_is_not_there_ends_as_in_a_shell(
    agent: Agent, guests: list[GuestAgent]
) -> None:
    answer = run(agent, "/no/such/program").json()
    assert (answer["exit"], "/no/such/program: not found" in answer["output"]) == (127, True)


def test_a_guest_without_a_shell_is_quoted(
    agent: Agent, guests: list[GuestAgent], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executing, "SHELL", ("/no/such/shell",))
    status, words = refusal(run(agent, "/bin/true"))
    assert (status, "No such file" in words) == (400, True)


def test_nothing_is_run_in_a_guest_from_its_arming_to_its_disarming(
    agent: Agent, guests: list[GuestAgent]
) -> None:
    agent.arm("r1", ONE)
    assert refusal(sh(agent, "exit 0")) == (
        409,
        "no command is run in the guest now: it is armed for round r1 (nothing was run in it)",
    )
    agent.results("/freezes/r1/freeze")
    assert sh(agent, "exit 0").status_code == 409
    agent.results("/freezes/r1/thaw")
    assert sh(agent, "exit 0").status_code == 409
    assert not ran(guests)
    agent.call("DELETE", "/freezes/r1")
    assert sh(agent, "exit 0").json()["exit"] == 0


def test_a_round_that_is_void_keeps_no_command_from_its_guest(
    agent: Agent, guests: list[GuestAgent]
) -> None:
    """Else nothing could tell an application that the round is over before the guard has gone."""
    agent.arm("r1", ONE, deadline_s=1.0)
    wait_for("it fired", lambda: agent.book.outcomes(ONE, "r1"), 3.0)
    assert sh(agent, "exit 0").json()["exit"] == 0


@pytest.mark.parametrize(
    ("prepare", "expected"),
    [
        (lambda guest: setattr(guest, "frozen", True), (409, "it is frozen")),
        (
            lambda guest: setattr(guest, "refuse", "Command guest-exec has been disabled: no"),
            (409, "does not run commands: Command guest-exec has been disabled"),
        ),
        (
            lambda guest: setattr(guest, "refuse", "The command guest-exec has not been found"),
            (409, "does not run commands"),
        ),
        (lambda guest: guest.close(), (404, "no such guest runs on this host")),
        (lambda guest: guest.deaf.set(), (503, "(nothing was run)")),
    ],
)
def test_a_guest_that_cannot_run_a_command_says_why(
    agent: Agent,
    guests: list[GuestAgent],
    monkeypatch: pytest.MonkeyPatch,
    prepare: Callable[[GuestAgent], None],
    expected: Refused,
) -> None:
    monkeypatch.setattr(executing, "ASK_SECONDS", 0.3)
    prepare(guests[0])
    status, words = refusal(sh(agent, "exit 0"))
    assert (status, expected[1] in words) == (expected[0], True), words


def in_the_background(agent: Agent, script: str) -> tuple[threading.Thread, list[Any]]:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(sh(agent, script)), daemon=True)
    thread.start()
    return thread, found


def test_a_guest_that_is_frozen_under_a_command_tells_its_end_after_the_thaw(
    agent: Agent, guests: list[GuestAgent], tmp_path: Path
) -> None:
    go = tmp_path / "go"
    script = f"until [ -e {go} ]; do sleep 0.02; done; exit 5"
    thread, found = in_the_background(agent, script)
    wait_for("it runs", lambda: guests[0].processes, STARTED_SECONDS)
    agent.arm("r1", ONE)
    agent.results("/freezes/r1/freeze")
    [process] = guests[0].processes.values()
    go.touch()
    wait_for("it has ended", lambda: process.poll() is not None, STARTED_SECONDS)
    assert not found
    agent.results("/freezes/r1/thaw")
    thread.join(STARTED_SECONDS)
    assert found[0].json()["exit"] == 5


def test_a_guest_that_is_thawed_between_two_questions_is_asked_again(
    agent: Agent, guests: list[GuestAgent], tmp_path: Path
) -> None:
    go = tmp_path / "go"
    thread, found = in_the_background(agent, f"until [ -e {go} ]; do sleep 0.02; done; exit 5")
    wait_for("it runs", lambda: guests[0].processes, STARTED_SECONDS)
    guests[0].frozen = guests[0].thaws_when_asked = True
    wait_for("it was asked", lambda: not guests[0].frozen, STARTED_SECONDS)
    go.touch()
    thread.join(STARTED_SECONDS)
    assert found[0].json()["exit"] == 5


@pytest.mark.parametrize(
    ("happens", "words"),
    [
        (lambda guest: setattr(guest, "forgetful", True), "Invalid parameter 'pid'"),
        (lambda guest: guest.close(), "the guest does not run any more"),
    ],
)
def test_of_a_command_whose_guest_agent_or_guest_ended_nothing_is_guessed(
    agent: Agent, guests: list[GuestAgent], happens: Callable[[GuestAgent], None], words: str
) -> None:
    thread, found = in_the_background(agent, "exec sleep 60")
    wait_for("it runs", lambda: guests[0].processes, STARTED_SECONDS)
    happens(guests[0])
    thread.join(STARTED_SECONDS)
    status, told = refusal(found[0])
    assert (status, "how the command ended is not known" in told, words in told) == (
        503,
        True,
        True,
    )


def test_commands_leave_threads_for_freezes(
    agent: Agent, guests: list[GuestAgent], monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = [in_the_background(agent, "exec sleep 60")[0] for _ in range(executing.AT_ONCE)]
    wait_for("all run", lambda: len(guests[0].processes) == executing.AT_ONCE, STARTED_SECONDS)
    status, words = refusal(sh(agent, "exit 0"))
    assert (status, "8 others run" in words) == (409, True)
    agent.agent.commands.stop()
    for thread in threads:
        thread.join(STARTED_SECONDS)


def test_only_signed_orders_for_names_that_are_no_paths_are_heard(
    agent: Agent, guests: list[GuestAgent]
) -> None:
    body = {"command": ["/bin/true"], "timeout_s": 5.0}
    assert requests.post(f"{agent.url}/guests/{ONE}/exec", json=body, timeout=5).status_code == 401
    assert run(agent, "/bin/true", domain="-x").status_code == 422
    assert run(agent, "/bin/true", domain="..%2Fx").status_code in (404, 422)
    assert not ran(guests)


def test_an_engine_runs_a_hook_and_reads_its_refusals(
    agent: Agent, guests: list[GuestAgent]
) -> None:
    calls = calling.host_agents({"compute1": agent.url}, SECRET, "paris")
    hosts = HostAgents(calls)
    command = ["/bin/sh", "-c", "echo words; exit 3"]
    assert hosts.execute("compute1", ONE, command, 5.0) == (3, "words\n")
    agent.arm("r1", ONE)
    with pytest.raises(errors.UnavailableError, match="armed for round r1"):
        hosts.execute("compute1", ONE, command, 5.0)
    with pytest.raises(errors.UnavailableError, match="1 to 600 s"):
        hosts.execute("compute1", ONE, command, 0.1)
