"""Logs of records are judged line by line; three logs tell whether they can be of one instant."""

import hashlib
from collections.abc import Sequence

import pytest
from hypothesis import find, given
from hypothesis import strategies as st

from isthmus.lab.guest_image import building, packages, records
from isthmus.lab.guest_image.records import Cut


def log(length: int) -> str:
    previous, lines = "0", []
    for number in range(1, length + 1):
        said = f"{number} {1_700_000_000 + number} {previous}"
        previous = hashlib.sha256(f"{said}\n".encode()).hexdigest()
        lines.append(f"{said} {previous}\n")
    return "".join(lines)


@given(length=st.integers(0, 30))
def test_a_whole_log_has_no_bad_record(length: int) -> None:
    verdict = records.judge(log(length))
    assert (verdict.records, verdict.bad, verdict.torn) == (length, 0, False)
    assert verdict.last == (1_700_000_000 + length if length else None)


@given(length=st.integers(1, 30), data=st.data())
def test_no_changed_byte_stays_unseen(length: int, data: st.DataObject) -> None:
    text = log(length)
    place = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.sampled_from("0123456789abcdef x").filter(lambda c: c != text[place]))
    verdict = records.judge(text[:place] + other + text[place + 1 :])
    assert verdict.bad or verdict.torn


@given(length=st.integers(1, 30), data=st.data())
def test_a_log_cut_anywhere_keeps_its_whole_records_and_says_that_it_is_torn(
    length: int, data: st.DataObject
) -> None:
    text = log(length)
    end = data.draw(st.integers(0, len(text)))
    verdict = records.judge(text[:end])
    assert verdict.records == text[:end].count("\n")
    assert (verdict.bad, verdict.torn) == (0, end > 0 and text[end - 1] != "\n")


def test_a_lost_record_in_the_middle_breaks_the_chain_once_and_the_numbers_after_it() -> None:
    lines = log(5).splitlines(keepends=True)
    assert records.judge("".join(lines[:2] + lines[3:])).bad == 2


@given(steps=st.lists(st.integers(0, 2), max_size=60))
def test_what_three_guests_can_reach_is_never_called_impossible(steps: list[int]) -> None:
    done = [0, 0, 0]
    for who in steps:
        if who == 0 or done[who] < done[who - 1]:
            done[who] += 1
    cut = Cut(issued=done[0], acknowledged=done[1], persisted=done[2])
    assert records.impossible(cut) is None
    assert cut.unfinished == done[1] - done[2]


def test_a_later_guest_that_is_ahead_is_called_impossible_with_both_figures() -> None:
    assert (
        records.impossible(Cut(issued=4, acknowledged=5, persisted=5))
        == "5 acknowledged, only 4 issued"
    )
    assert (
        records.impossible(Cut(issued=9, acknowledged=5, persisted=7))
        == "7 persisted, only 5 acknowledged"
    )


ISSUES, ACKNOWLEDGES, PERSISTS = "client", "middle", "database"
FREEZE_ORDER = (ISSUES, ACKNOWLEDGES, PERSISTS)
RUNS = st.lists(st.sampled_from(FREEZE_ORDER), max_size=60)
MOMENTS = st.tuples(*[st.integers(0, 60)] * 3).map(sorted)


def taken(run: Sequence[str], moments: Sequence[int], order: Sequence[str], *, held: bool) -> Cut:
    """The protocol played in the order of `run`, its guests frozen at `moments` of it in `order`. Who is frozen stands still
    until all volumes are taken if it is `held`; else its volume is taken at once and it goes on."""
    done = dict.fromkeys(FREEZE_ORDER, 0)
    volumes: dict[str, int] = {}
    frozen = dict(zip(order, moments, strict=True))
    for moment in range(61):
        for who in order:
            if frozen[who] == moment:
                volumes[who] = done[who]
        if moment < len(run):
            who = run[moment]
            asked = {
                ISSUES: done[ISSUES] + 1,
                ACKNOWLEDGES: done[ISSUES],
                PERSISTS: done[ACKNOWLEDGES],
            }
            if done[who] < asked[who] and not (held and who in volumes):
                done[who] += 1
    return Cut(
        issued=volumes[ISSUES], acknowledged=volumes[ACKNOWLEDGES], persisted=volumes[PERSISTS]
    )


@given(run=RUNS, moments=MOMENTS)
def test_guests_frozen_in_order_and_held_are_of_one_point_in_time(
    run: list[str], moments: list[int]
) -> None:
    assert records.impossible(taken(run, moments, FREEZE_ORDER, held=True)) is None


@given(run=RUNS, moments=MOMENTS)
def test_guests_taken_one_by_one_from_the_database_to_the_client_are_never_called_impossible(
    run: list[str], moments: list[int]
) -> None:
    assert records.impossible(taken(run, moments, FREEZE_ORDER[::-1], held=False)) is None


def test_taken_one_by_one_in_the_reverse_order_there_is_a_run_that_is_called_impossible() -> None:
    run, moments = find(
        st.tuples(RUNS, MOMENTS),
        lambda drawn: records.impossible(taken(*drawn, FREEZE_ORDER, held=False)) is not None,
    )
    assert records.impossible(taken(run, moments, FREEZE_ORDER, held=True)) is None


FIGURES = [
    {"tested": True, "records_verified": 90, "records_bad": 0, "issued_at_boot": 12},
    {"tested": True, "acknowledged_at_boot": 11},
    {"tested": True, "persisted_at_boot": 10},
]


def test_what_restored_guests_had_when_they_booted_is_read_from_what_their_tests_printed() -> None:
    assert records.restored(FIGURES) == Cut(issued=12, acknowledged=11, persisted=10)


@pytest.mark.parametrize("missing", range(3))
def test_without_a_word_of_each_guest_nothing_is_said(missing: int) -> None:
    assert records.restored(FIGURES[:missing] + FIGURES[missing + 1 :]) is None


def test_drivers_load_after_what_they_need_and_built_in_ones_are_left_out() -> None:
    needs = {"net": ("failover", "ring"), "failover": ("core",), "core": (), "ring": ()}
    assert building.load_order(("net", "ext4"), needs) == ["core", "failover", "ring", "net"]


def test_a_driver_tells_what_it_needs() -> None:
    assert building.depends(b"x\0license=GPL\0depends=virtio_ring,net-failover\0name=v\0") == (
        "virtio_ring",
        "net_failover",
    )
    assert building.depends(b"\0depends=\0") == ()


def test_the_package_index_is_read_by_stanza() -> None:
    shown = (
        "Package: a\nVersion: 1:2-3\nSHA256: ff\nDepends: b\n\nPackage: b\nVersion: 4\nSHA256: ee\n"
    )
    assert packages.stanzas(shown) == {
        "a": packages.Package(name="a", version="1:2-3", sha256="ff"),
        "b": packages.Package(name="b", version="4", sha256="ee"),
    }
