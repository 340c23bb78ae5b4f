"""Hooks run around the freeze, never in it, and one that must not fail ends the round before it."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from recovery_values import a_group

from isthmus import errors
from isthmus.recovery.declarations import Hook, HookPlace, OnError
from isthmus.recovery.freezing import flushing
from isthmus.recovery.freezing.hooks import HookError, Hooks
from isthmus.recovery.freezing.ledger import Whereabouts

GROUP = a_group()
WHERE = {
    member.server_id: Whereabouts(host="host", domain=f"dom-{member.name}")
    for member in GROUP.members
}


class Guests:
    """Each domain answers with its exit code."""

    def __init__(self, **codes: int) -> None:
        self.codes = codes
        self.ran: list[str] = []

    def execute(
        self, host: str, domain: str, command: Sequence[str], timeout_s: float
    ) -> tuple[int, str]:
        self.ran.append(domain)
        code = self.codes.get(domain.removeprefix("dom-"), 0)
        if code < 0:
            raise errors.UnavailableError("the guest agent is silent")
        return code, "last words"


SYNC = Hook(command=("/bin/sync",))


def test_a_hook_without_a_member_runs_in_all_guests_in_the_order_of_the_freeze() -> None:
    guests = Guests()
    done = Hooks(GROUP, WHERE, guests, None).before([SYNC])
    assert guests.ran == ["dom-client", "dom-middle", "dom-database"]
    assert all(each.error is None for each in done)


@pytest.mark.parametrize(("code", "words"), [(3, "exit code 3: last words"), (-1, "silent")])
def test_a_failure_that_says_abort_ends_it_and_one_that_says_continue_does_not(
    code: int, words: str
) -> None:
    guests = Guests(middle=code)
    with pytest.raises(HookError, match=words):
        Hooks(GROUP, WHERE, guests, None).before([SYNC])
    assert guests.ran == ["dom-client", "dom-middle"]
    going_on = Hook(command=("/bin/sync",), on_error=OnError.CONTINUE)
    done = Hooks(GROUP, WHERE, guests, None).before([going_on])
    assert [each.place for each in done if each.error] == ["middle"]


def test_after_the_thaw_all_hooks_run_whatever_fails() -> None:
    guests = Guests(client=1, middle=1, database=1)
    done = Hooks(GROUP, WHERE, guests, None).after([SYNC, Hook(command=("/x",), member="database")])
    assert [each.place for each in done] == ["client", "middle", "database", "database"]
    assert all(each.error for each in done)


def a_script(name: str, timeout_s: float = 10.0) -> Hook:
    return Hook(command=(name, "word"), place=HookPlace.SCRIPT, timeout_s=timeout_s)


def test_scripts_run_from_their_directory_with_the_group_and_an_end(tmp_path: Path) -> None:
    told = tmp_path / "told"
    for name, text in {
        "good": f'#!/bin/sh\necho "$@" > {told}\n',
        "bad": "#!/bin/sh\necho no; exit 4\n",
        "slow": "#!/bin/sh\nexec sleep 30\n",
        "plain": "no program",
    }.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    hooks = Hooks(GROUP, WHERE, Guests(), tmp_path)
    (good,) = hooks.before([a_script("good")])
    assert good.error is None
    assert told.read_text() == "word vnf\n"
    names = ("bad", "slow", "plain", "none")
    found = hooks.after([a_script(name, 0.3) for name in names])
    for each, words in zip(
        found,
        ("exit code 4: no", "did not end within 0.3 s", "cannot be run", "no hook none"),
        strict=True,
    ):
        assert words in (each.error or "")
    (nowhere,) = Hooks(GROUP, WHERE, Guests(), None).after([a_script("good")])
    assert "no hook directory" in (nowhere.error or "")


@pytest.mark.parametrize(("code", "words"), [(127, "exit code 127: last words"), (-1, "silent")])
def test_a_guest_that_cannot_be_flushed_is_told_and_holds_nobody_back(
    code: int, words: str
) -> None:
    guests = Guests(middle=code)
    told = flushing.flush(guests, WHERE)
    assert sorted(guests.ran) == sorted(each.domain for each in WHERE.values())
    middle = GROUP.member("middle").server_id
    assert words in (told.pop(middle) or "")
    assert set(told.values()) == {None}
