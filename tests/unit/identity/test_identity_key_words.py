"""Settings that cannot be safe, and what is said to operators: refusals with their reasons."""

from __future__ import annotations

from dataclasses import replace

import pytest

from isthmus import errors
from isthmus.identity.keys import following, generations, rotating
from isthmus.identity.keys.following import Act, Installed
from isthmus.identity.keys.generations import Ack, Generation, Kind, Phase, State, layout
from isthmus.identity.keys.settings import Settings

NODES = ("lyon", "madrid", "paris")
WEEKLY = Settings(interval=604_800.0)


def acks(digest: str, *nodes: str, revision: int = 0) -> dict[str, Ack]:
    return {n: Ack(node=n, revision=revision, digest=digest, at=0) for n in nodes or NODES}


@pytest.fixture
def state() -> State:
    change = rotating.adopt(
        State(kind=Kind.TOKEN), acks("same"), NODES, (0, 1, 2), 1000.0, Settings()
    )
    assert change is not None
    return replace(change.state, digest="one")


def test_stock_lifetimes_and_a_weekly_rotation_are_safe() -> None:
    assert WEEKLY.refusal() is None
    assert (WEEKLY.lifetime, WEEKLY.keys_needed) == (176_520.0, 3)
    assert Settings(interval=86_400.0, max_active_keys=5).refusal() is None


def test_a_rotation_that_outruns_the_tokens_is_refused_with_the_arithmetic() -> None:
    refusal = Settings(interval=86_400.0, max_active_keys=3).refusal()
    assert refusal is not None
    for part in (
        "expiration 3600 + allow_expired_window 172800 + 2 x clock_skew 60 = 176520 s",
        "176520 / 86400 = 2.04",
        "5 keys, and max_active_keys is 3",
        "Set max_active_keys to 5 or interval to at least 176520",
    ):
        assert part in refusal


@pytest.mark.parametrize(
    "unsafe",
    [
        Settings(clock_skew=0),
        Settings(expiration=0),
        Settings(allow_expired_window=-1),
        Settings(max_active_keys=2),
        Settings(interval=-1),
        Settings(jitter=1.5),
    ],
)
def test_other_settings_that_make_no_sense_are_refused(unsafe: Settings) -> None:
    assert unsafe.refusal()


def test_nothing_is_taken_over_before_every_site_has_shown_the_same(state: State) -> None:
    empty = State(kind=Kind.TOKEN)
    some = acks("same", "paris", "lyon")
    assert rotating.adopt(empty, some, NODES, (0, 1), 0.0, Settings()) is None
    assert "madrid has not shown" in str(rotating.disagreement(some, NODES))
    other = {**some, **acks("other", "madrid")}
    assert rotating.adopt(empty, other, NODES, (0, 1), 0.0, Settings()) is None
    assert (
        rotating.disagreement(other, NODES) == "the sites have different keys: lyon, paris / madrid"
    )
    assert rotating.disagreement(acks("same"), NODES) is None
    assert layout(state.generations) == {0: 3, 1: 1, 2: 2}
    again = rotating.adopt(empty, acks("same", revision=40), NODES, (0, 1), 0.0, Settings())
    assert again is not None
    assert again.state.revision == 41, "a document that was lost is followed by a later one"


def test_a_second_rotation_is_refused_while_one_is_in_flight(state: State) -> None:
    asked = rotating.ask_rotation(state, "ada", 0.0).state
    with pytest.raises(
        errors.BusyError, match="a rotation of the token keys is in flight"
    ) as found:
        rotating.ask_rotation(asked, "bob", 0.0)
    assert "asked for by ada" in found.value.describe()
    assert "isthmus identity key watch --kind token" in found.value.describe()


def test_an_emergency_goes_before_a_rotation_and_not_before_another_one(state: State) -> None:
    asked = rotating.ask_rotation(state, "ada", 0.0).state
    replacing = rotating.ask_replacement(asked, "bob", 0.0, "leaked").state
    change = rotating.step(replacing, {}, NODES, 1.0, Settings(), 0.0)
    assert change is not None
    assert change.make == 4
    assert layout(change.state.generations) == {0: 4, 4: 4}
    with pytest.raises(errors.BusyError, match="a replacement"):
        rotating.ask_replacement(change.state, "ada", 0.0, "leaked")


def test_a_silent_node_holds_a_rotation_until_it_is_fenced_and_comes_back_by_itself(
    state: State,
) -> None:
    asked = rotating.ask_rotation(state, "ada", 0.0).state
    held = rotating.step(asked, {}, NODES, 1.0, Settings(), 0.0)
    assert held is not None
    assert held.state.wanted is not None
    two = acks("one", "paris", "lyon")
    assert rotating.step(held.state, two, NODES, 9999.0, Settings(), 0.0) is None
    fenced = rotating.fence(held.state, "madrid", "ada", 2.0, "link cut").state
    promoted = rotating.step(fenced, two, NODES, 3.0, Settings(), 0.0)
    assert promoted is not None
    assert promoted.event == "generation 3 is primary"
    now = replace(promoted.state, digest="two")
    early = {**acks("two", "paris", "lyon"), **acks("two", "madrid", revision=fenced.revision - 1)}
    done = rotating.step(now, early, NODES, 4.0, Settings(), 0.0)
    assert done is not None
    assert "madrid" in done.state.fences, "a word from before the fence does not lift it"
    back = rotating.step(
        now, {**early, **acks("two", "madrid", revision=now.revision)}, NODES, 4.0, Settings(), 0.0
    )
    assert back is not None
    assert back.event == "madrid has the keys again: no longer fenced"


def test_fences_that_make_no_sense_are_refused(state: State) -> None:
    with pytest.raises(errors.UsageError, match="there is no node 'nice'"):
        rotating.fence(state, "nice", "ada", 0.0, "silent")
    kept = rotating.fence(state, "madrid", "ada", 0.0, "stolen", keep=True).state
    assert kept.sealed_to == ("lyon", "paris")
    with pytest.raises(errors.UsageError, match="fenced already"):
        rotating.fence(kept, "madrid", "ada", 0.0, "stolen", keep=True)
    two = rotating.fence(kept, "lyon", "ada", 0.0, "silent").state
    with pytest.raises(errors.UsageError, match="the last node"):
        rotating.fence(two, "paris", "ada", 0.0, "silent")
    with pytest.raises(errors.UsageError, match="comes back by itself"):
        rotating.unfence(two, "lyon", "ada")
    with pytest.raises(errors.UsageError, match="is not fenced"):
        rotating.unfence(two, "paris", "ada")
    assert rotating.unfence(two, "madrid", "ada").state.sealed_to == NODES


def test_a_kept_fence_holds_however_well_the_node_answers(state: State) -> None:
    kept = rotating.fence(state, "madrid", "ada", 0.0, "stolen", keep=True).state
    said = acks("one", revision=kept.revision)
    assert rotating.step(kept, said, NODES, 1.0, Settings(), 0.0) is None


def test_a_node_that_is_new_is_fenced_until_it_has_the_keys(state: State) -> None:
    more = (*NODES, "nice")
    change = rotating.step(state, acks("one"), more, 1.0, Settings(), 0.0)
    assert change is not None
    assert change.state.active == NODES
    assert change.state.sealed_to == ("lyon", "madrid", "nice", "paris")
    said = {**acks("one"), **acks("one", "nice", revision=change.state.revision)}
    joined = rotating.step(change.state, said, more, 2.0, Settings(), 0.0)
    assert joined is not None
    assert "nice" in joined.state.active


def test_the_schedule_asks_never_earlier_than_the_interval(state: State) -> None:
    said = acks("one")
    planned = rotating.step(state, said, NODES, 1000.0, WEEKLY, 1.0)
    assert planned is not None
    assert planned.state.next_at == pytest.approx(1000.0 + 604_800 * 1.1)
    early = rotating.step(planned.state, said, NODES, 1000.0 + 604_800, WEEKLY, 0.0)
    assert early is None or early.state.wanted is None
    late = rotating.step(planned.state, said, NODES, 1000.0 + 604_800 * 1.2, WEEKLY, 0.0)
    assert late is not None
    assert "retired" in late.event, "the key that was unused at the beginning goes first"
    asked = rotating.step(
        replace(late.state, digest="two"), said, NODES, 1000.0 + 604_800 * 1.2, WEEKLY, 0.0
    )
    assert asked is not None
    assert asked.state.wanted is not None
    assert asked.state.wanted.by == "schedule"
    off = rotating.step(planned.state, said, NODES, 1001.0, Settings(), 0.0)
    assert off is not None
    assert off.state.next_at is None


def test_a_shorter_life_of_tokens_does_not_shorten_that_of_keys_in_use(state: State) -> None:
    shorter = Settings(allow_expired_window=0.0)
    at = 1000.0 + shorter.lifetime + 1
    assert rotating.step(state, acks("one"), NODES, at, shorter, 0.0) is None
    longer = Settings(allow_expired_window=200_000.0)
    change = rotating.step(state, acks("one"), NODES, at, longer, 0.0)
    assert change is not None
    assert change.state.lifetime == longer.lifetime


def test_no_key_is_staged_beyond_the_limit(state: State) -> None:
    tight = Settings(max_active_keys=3)
    used = tuple(
        Generation(number=n, phase=p, since=0.0)
        for n, p in ((1, Phase.SECONDARY), (2, Phase.SECONDARY), (3, Phase.PRIMARY))
    )
    asked = rotating.ask_rotation(replace(state, generations=used), "ada", 0.0).state
    assert rotating.step(asked, {}, NODES, 1.0, tight, 0.0) is None
    assert "there are 3 keys and max_active_keys is 3" in str(rotating.full(asked, tight))


@pytest.mark.parametrize(
    ("installed", "act"),
    [
        (Installed(digest="one", revision=1), Act.NOTHING),
        (Installed(digest="old", revision=0), Act.INSTALL),
        (Installed(digest="", revision=0), Act.INSTALL),
        (Installed(digest="newer", revision=2), Act.NOTHING),
        (Installed(digest="one", revision=1, fenced=True), Act.MARK),
    ],
)
def test_a_node_installs_what_is_newer_and_never_goes_back(
    state: State, installed: Installed, act: Act
) -> None:
    assert following.decide(state, "madrid", installed) is act


def test_nobody_waits_for_a_later_revision_of_the_same_keys_but_for_that_of_a_fenced_node(
    state: State,
) -> None:
    shown = Ack(node="madrid", revision=1, digest="one", at=5.0)
    later = replace(shown, revision=2, at=0.0)
    assert not following.awaited(state, shown, later)
    assert following.awaited(state, None, later), "it was never heard"
    assert following.awaited(state, shown, replace(later, digest="two"))
    assert following.awaited(state, shown, replace(later, trouble="no room"))
    fenced = rotating.fence(state, "madrid", "ada", 1.0, "silent").state
    assert following.awaited(fenced, shown, later), "it comes back by its revision"


def test_a_node_that_is_kept_out_gets_a_mark_and_no_keys(state: State) -> None:
    kept = rotating.fence(state, "madrid", "ada", 0.0, "stolen", keep=True).state
    kept = replace(kept, digest="two")
    assert following.decide(kept, "madrid", Installed(digest="one", revision=1)) is Act.MARK
    marked = Installed(digest="one", revision=kept.revision, fenced=True)
    assert following.decide(kept, "madrid", marked) is Act.NOTHING


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"kind": "token"}', '{"kind": 7}'])
def test_what_is_no_document_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"document|Expecting"):
        generations.load(text)


def test_credential_keys_stay_while_something_is_encrypted_with_them(state: State) -> None:
    kept = replace(state, kind=Kind.CREDENTIAL)
    at = 1000.0 + Settings().lifetime + 1
    assert rotating.due(kept, at, Settings()) == (1,)
    assert rotating.step(kept, acks("one"), NODES, at, Settings(), 0.0, used=(1,)) is None
    gone = rotating.step(kept, acks("one"), NODES, at, Settings(), 0.0, used=(2,))
    assert gone is not None
    assert layout(gone.state.generations) == {0: 3, 2: 2}
    with pytest.raises(errors.UsageError, match="cannot be replaced at once"):
        rotating.ask_replacement(kept, "ada", at, "leaked")
