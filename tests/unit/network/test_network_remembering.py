"""What is known never goes back, whatever replica is read and however far it lags."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from isthmus.network import remembering
from isthmus.network.remembering import Documents, Kind, Own

STEP = st.one_of(
    st.tuples(st.just("create"), st.booleans()),
    st.tuples(st.just("change"), st.booleans()),
    st.tuples(st.just("remove"), st.booleans()),
    st.tuples(st.just("read"), st.integers(0, 8)),
)


@given(st.lists(STEP, max_size=30))
def test_own_writes_and_newer_revisions_are_never_unseen(steps: list[tuple[str, int]]) -> None:
    """One document. Each step is a write (ours or another engine's) or a read of a replica that
    lags by some writes."""
    own, known = Own(), Documents()
    history: list[dict[str, dict[str, int]]] = [{}]
    revision, ours, removed_by_us, highest = 0, 0, False, 0
    for what, argument in steps:
        current = history[-1]
        if what == "create" and revision == 0:
            revision = 1
        elif what == "change" and current:
            revision += 1
        elif what == "remove" and current:
            history.append({})
            if argument:
                known, removed_by_us = own.removed(known, Kind.NETWORK, "n"), True
            continue
        elif what == "read":
            at = max(len(history) - 1 - argument, 0)
            known = own.merged(known, Documents({Kind.NETWORK: dict(history[at])}))
            seen = known.revision(Kind.NETWORK, "n")
            if removed_by_us:
                assert seen is None, "what we removed stays away"
            if seen is not None:
                assert seen >= highest, "a revision never falls"
                highest = max(highest, seen)
            if ours and current and ours == current["n"]["revision"]:
                assert seen == ours or (seen is None and argument), "our own write is there"
            continue
        else:
            continue
        document = {"revision": revision}
        history.append({"n": document})
        if argument and not removed_by_us:
            known, ours = own.wrote(known, Kind.NETWORK, "n", document), revision
            highest = max(highest, ours)


def test_what_was_just_created_is_there_before_the_replica_has_it() -> None:
    own = Own()
    known = own.wrote(Documents(), Kind.NETWORK, "n", {"revision": 1})
    empty = Documents({Kind.NETWORK: {}})
    assert own.merged(known, empty).revision(Kind.NETWORK, "n") == 1
    arrived = own.merged(known, Documents({Kind.NETWORK: {"n": {"revision": 1}}}))
    assert own.merged(arrived, empty).revision(Kind.NETWORK, "n") is None, "somebody removed it"


def test_what_is_kept_in_a_file_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "state" / "declarations.json"
    documents = Documents({Kind.SITE: {"lyon": {"lost": True, "revision": 3}}})
    remembering.write(file, documents, read_at=7.0)
    kept = remembering.read(file)
    assert kept is not None
    assert (kept.documents, kept.read_at) == (documents, 7.0)
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(file.parent.iterdir()) == [file], "nothing is left beside it"


def test_a_broken_file_is_no_error(tmp_path: Path) -> None:
    file = tmp_path / "declarations.json"
    for content in ("", "{", "[]", '{"format": 99}', '{"format": 1, "documents": {"x": {}}}'):
        file.write_text(content)
        assert remembering.read(file) is None
    assert remembering.read(tmp_path / "none") is None


def test_a_directory_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    remembering.write(file / "declarations.json", Documents(), read_at=1.0)
