"""A voter keeps its word over its own death; the history is written down at last."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from isthmus import errors
from isthmus.network.addresses import recording, voters, voting
from isthmus.network.addresses.voters import Ask, Release


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def voter(tmp_path: Path, clock: Clock) -> voting.Voter:
    """A voter whose first silence, for what it may have promised before, is over."""
    made = voting.Voter("madrid", tmp_path, clock)
    assert made.active
    clock.now += voters.LONGEST_LEASE
    return made


def ask(claim: str = "c1", owner: str = "paris/h", epoch: int = 1) -> Ask:
    return Ask(address="a", claim=claim, owner=owner, epoch=epoch, lease=1.0, round=1)


def test_a_voter_without_a_file_promises_nothing_until_every_old_promise_has_ended(
    tmp_path: Path, clock: Clock
) -> None:
    voter = voting.Voter("madrid", tmp_path, clock)
    assert not voter.ask(ask()).granted
    clock.now += voters.LONGEST_LEASE - 0.01
    assert not voter.ask(ask()).granted
    clock.now += 0.01
    assert voter.ask(ask()).granted


def test_a_restarted_voter_keeps_its_promise_for_a_whole_lease(
    voter: voting.Voter, tmp_path: Path, clock: Clock
) -> None:
    assert voter.ask(ask()).granted
    voter.close()
    clock.now = 5.0  # another boot: the clock began anew
    again = voting.Voter("madrid", tmp_path, clock)
    other = ask("c2", "lyon/h", 2)
    assert again.ask(other).reason == "promised to paris/h"
    assert again.ask(ask()).granted
    clock.now += 1.0
    assert again.ask(other).granted


def test_an_address_that_is_new_to_a_voter_with_memory_is_promised_at_once(
    voter: voting.Voter, tmp_path: Path, clock: Clock
) -> None:
    voter.ask(ask())
    voter.close()
    again = voting.Voter("madrid", tmp_path, clock)
    fresh = Ask(address="b", claim="c9", owner="lyon/h", epoch=1, lease=1.0, round=1)
    assert again.ask(fresh).granted


def test_the_promise_is_on_disk_when_the_word_is_said_and_renewals_write_nothing(
    voter: voting.Voter, tmp_path: Path, clock: Clock
) -> None:
    voter.ask(ask())
    file = tmp_path / "votes.json"
    assert json.loads(file.read_text())["a"]["promise"]["claim"] == "c1"
    file.unlink()
    clock.now += 0.25
    assert voter.ask(ask()).granted
    assert not file.exists()


def test_a_second_engine_of_the_site_does_not_vote_until_the_first_has_ended(
    voter: voting.Voter, tmp_path: Path, clock: Clock
) -> None:
    voter.ask(ask())
    second = voting.Voter("madrid", tmp_path, clock)
    assert not second.active
    assert second.ask(ask("c2", "lyon/h", 2)).reason == "another engine of this site votes"
    voter.close()
    assert second.active
    assert second.know("a").owner == "paris/h"


def test_what_is_known_says_who_held_it_last_and_for_how_long_it_is_free(
    voter: voting.Voter, clock: Clock
) -> None:
    voter.ask(ask())
    assert voter.know("a").owner == "paris/h"
    clock.now += 3.0
    known = voter.know("a")
    assert (known.owner, known.last, known.free_for) == (None, "paris/h", 2.0)
    voter.ask(ask("c2", "lyon/h", 2))
    voter.release(Release(address="a", claim="c2", epoch=2))
    assert voter.know("a").owner is None


@pytest.mark.parametrize("text", ["", "[]", '{"a": 3}', "{"])
def test_a_broken_file_counts_as_a_lost_memory(tmp_path: Path, clock: Clock, text: str) -> None:
    (tmp_path / "votes.json").write_text(text)
    voter = voting.Voter("madrid", tmp_path, clock)
    assert not voter.ask(ask()).granted


# -- history -----------------------------------------------------------------------------------


class Table:
    """A table of events that can be out of reach."""

    def __init__(self) -> None:
        self.rows: dict[str, Any] = {}
        self.away = True

    def add_event(self, subject: str, subject_id: str, document: Any, **more: Any) -> None:
        if self.away:
            raise errors.UnavailableError("the writer cannot be reached")
        self.rows.setdefault(more["identity"], (subject, subject_id, document))


def test_an_event_waits_for_the_writer_also_over_a_restart_and_is_written_once(
    tmp_path: Path,
) -> None:
    table = Table()
    recorder = recording.Recorder(table, tmp_path)
    recorder.add("a", {"kind": "takeover", "to": "lyon/h"})
    assert not recorder._write()
    again = recording.Recorder(table, tmp_path)
    assert [each["document"]["to"] for each in again.waiting] == ["lyon/h"]
    table.away = False
    assert again._write()
    assert recorder._write()
    assert len(table.rows) == 1
    assert recording.Recorder(table, tmp_path).waiting == ()
