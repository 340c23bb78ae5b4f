"""What is done to the members of a group that another site took over, and when nothing is."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recovery_values import T0, a_group

from isthmus.outcomes import Outcome
from isthmus.recovery.epochs import Marker
from isthmus.recovery.findings import Code
from isthmus.recovery.stale import (
    Action,
    Deed,
    Look,
    Server,
    Standing,
    Unread,
    Word,
    decided,
    findings,
    reason,
    standing,
)

GROUP = a_group()
STATUSES = (
    *("ACTIVE", "SHUTOFF", "PAUSED", "SUSPENDED", "SHELVED_OFFLOADED", "ERROR", "RESCUE"),
    *("REBOOT", "HARD_REBOOT", "VERIFY_RESIZE", "MIGRATING", "BUILD", "DELETED"),
)


def a_marker(site: str, epoch: int) -> Marker:
    return Marker(
        group_id=GROUP.id,
        epoch=epoch,
        site=site,
        operation_id="o-1",
        at=T0,
        nonce=f"{site}-{epoch}",
    )


markers = st.builds(a_marker, st.sampled_from(["paris", "lyon", "madrid"]), st.integers(1, 9))
words: st.SearchStrategy[Word] = st.one_of(
    st.none(), st.builds(Unread, cause=st.text(max_size=5)), markers
)
reasons = st.one_of(st.none(), st.text(max_size=60), st.builds(reason, markers))


@st.composite
def server_lists(draw: st.DrawFn) -> list[Server]:
    return [
        Server(
            id=f"s{n}",
            name=f"m{n}",
            status=draw(st.sampled_from((None, *STATUSES))),
            task=draw(st.sampled_from([None, None, "powering-off", "rebooting"])),
            running=draw(st.booleans()),
            locked=draw(st.booleans()),
            reason=draw(reasons),
        )
        for n in range(draw(st.integers(0, 5)))
    ]


def after(server: Server, actions: tuple[Action, ...]) -> Server:
    """As Nova would tell of it when all was done."""
    for each in actions:
        if each.server_id != server.id:
            continue
        match each.deed:
            case Deed.LOCK:
                server = dataclasses.replace(server, locked=True, reason=each.reason)
            case Deed.STOP:
                server = dataclasses.replace(server, status="SHUTOFF", running=False)
            case Deed.UNLOCK:
                server = dataclasses.replace(server, locked=False, reason=None)
    return server


@given(words, server_lists(), st.integers(0, 9))
def test_nothing_is_stopped_but_by_a_marker_of_another_site_that_is_higher(
    word: Word, servers: list[Server], owned: int
) -> None:
    actions = decided("paris", word, servers, owned=owned)
    moved = isinstance(word, Marker) and word.site != "paris" and word.epoch > owned
    if not moved:
        assert all(each.deed is Deed.UNLOCK for each in actions)
    if not isinstance(word, Marker):
        assert actions == ()


@given(st.sampled_from(["lyon", "madrid"]), st.integers(1, 9), server_lists())
def test_every_member_of_a_group_that_moved_is_locked_and_stopped(
    site: str, epoch: int, servers: list[Server]
) -> None:
    actions = decided("paris", a_marker(site, epoch), servers)
    for each in (after(server, actions) for server in servers if server.status is not None):
        assert each.locked
        assert not each.comes_up or not each.can_be_stopped
    deeds = [each.deed for each in actions]
    assert deeds == sorted(deeds), "locks come first: lock, stop"
    assert {each.server_id for each in actions} <= {e.id for e in servers if e.status is not None}


@given(words, server_lists(), st.integers(0, 9))
def test_when_all_of_it_is_done_there_is_nothing_to_do(
    word: Word, servers: list[Server], owned: int
) -> None:
    actions = decided("paris", word, servers, owned=owned)
    then = [after(each, actions) for each in servers]
    assert decided("paris", word, then, owned=owned) == ()


@given(words, server_lists(), st.integers(0, 9))
def test_a_lock_of_somebody_else_is_never_touched(
    word: Word, servers: list[Server], owned: int
) -> None:
    actions = decided("paris", word, servers, owned=owned)
    touched = {each.server_id for each in actions if each.deed is not Deed.STOP}
    foreign = {each.id for each in servers if each.locked and each.locked_by_us is None}
    assert not touched & foreign


@given(server_lists(), st.integers(1, 9))
def test_what_was_locked_in_an_epoch_is_let_go_by_a_higher_one_of_the_own_site(
    servers: list[Server], epoch: int
) -> None:
    actions = decided("paris", a_marker("paris", epoch), servers, owned=epoch)
    wanted = {e.id for e in servers if e.locked_by_us is not None and e.locked_by_us < epoch}
    assert {each.server_id for each in actions} == wanted
    assert {each.deed for each in actions} <= {Deed.UNLOCK}


@given(markers)
def test_the_reason_of_a_lock_is_known_again_and_fits(marker: Marker) -> None:
    found = Server(id="s", name="m", status="SHUTOFF", locked=True, reason=reason(marker))
    assert found.locked_by_us == marker.epoch
    assert len(reason(marker)) <= 255
    assert dataclasses.replace(found, locked=False).locked_by_us is None
    assert dataclasses.replace(found, reason="maintenance").locked_by_us is None


def look(word: Word, *servers: Server, **failed: str) -> Look:
    return Look(
        word=word,
        standing=standing("paris", word),
        servers=servers,
        actions=decided("paris", word, servers),
        failed=failed,
    )


RUNS = Server(id="a", name="client", status="ACTIVE", running=True)
RESTS = Server(id="b", name="middle", status="SHUTOFF")
RESCUED = Server(id="c", name="database", status="RESCUE", running=True)


def test_a_group_that_moved_is_told_with_its_members() -> None:
    [found] = findings("paris", GROUP, look(a_marker("lyon", 3), RUNS, RESTS))
    assert (found.code, found.outcome) == (Code.GROUP_MOVED, Outcome.WARN)
    assert found.servers == ("client", "middle")
    assert "client is being stopped" in found.summary
    [found] = findings("paris", GROUP, look(a_marker("lyon", 3), RESTS))
    assert "locked and stopped" in found.summary
    assert "epoch 3" in found.cause


def test_members_that_may_run_are_named_with_the_cause() -> None:
    moved = look(a_marker("lyon", 3), RUNS, RESTS, RESCUED, a="Nova does not answer")
    found = {each.code: each for each in findings("paris", GROUP, moved)}
    assert found[Code.GROUP_MOVED].servers == ("middle",)
    trouble = found[Code.STALE_MEMBER]
    assert trouble.outcome is Outcome.ERROR
    assert trouble.servers == ("client", "database")
    assert "Nova does not answer" in trouble.cause
    assert "RESCUE" in trouble.cause


def test_servers_that_are_gone_are_not_claimed_to_be_stopped() -> None:
    gone = Server(id="a", name="client", status=None)
    [found] = findings("paris", GROUP, look(a_marker("lyon", 3), gone))
    assert found.servers == ()
    assert "locked" not in found.summary


@pytest.mark.parametrize("word", [Unread(cause="no route to host"), a_marker("lyon", 2)])
def test_what_is_not_known_is_said_and_nothing_is_done(word: Word) -> None:
    seen = standing("paris", word, owned=2)
    assert seen is Standing.UNKNOWN
    assert decided("paris", word, [RUNS], owned=2) == ()
    [found] = findings("paris", GROUP, Look(word=word, standing=seen))
    assert (found.code, found.outcome) == (Code.OWNER_UNKNOWN, Outcome.WARN)


def test_a_group_that_came_back_says_which_servers_wait_to_be_started() -> None:
    locked = dataclasses.replace(RESTS, locked=True, reason=reason(a_marker("lyon", 3)))
    came = look(a_marker("paris", 4), dataclasses.replace(RUNS), locked)
    [found] = findings("paris", GROUP, came)
    assert (found.code, found.servers) == (Code.GROUP_RETURNED, ("middle",))
    codes = [each.code for each in findings("paris", GROUP, look(a_marker("paris", 4), RUNS))]
    assert codes == []
    assert findings("paris", GROUP, look(None, RUNS)) == ()


def test_a_lock_that_could_not_be_taken_away_is_told() -> None:
    locked = dataclasses.replace(RUNS, locked=True, reason=reason(a_marker("lyon", 3)))
    [found] = findings("paris", GROUP, look(a_marker("paris", 4), locked, a="refused"))
    assert found.code is Code.STALE_MEMBER
    assert "refused" in found.cause
