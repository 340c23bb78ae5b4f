"""What another site's agent says is checked like any input; the last good of it is kept."""

from __future__ import annotations

import contextlib
import copy
import datetime
import json
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus import errors
from isthmus.sites import agent_documents, last_good
from isthmus.sites.inventory import Role, Site

GOOD: dict[str, Any] = {
    "site": "madrid",
    "time": "2026-11-22T18:40:07Z",
    "agent": {"pid": 1, "started_at": "2026-11-22T18:00:00Z", "version": "0.1.0"},
    "databases": [
        {
            "name": "replica-paris",
            "kind": "replica",
            "serving": True,
            "verdict": "serving",
            "reason": "fresh",
            "writer": False,
            "position": "100-100-123",
            "lag_seconds": 0.2,
            "master": "paris",
            "home": "paris",
            "observed_age_seconds": 0.1,
            "cluster": {"status": "Primary", "size": 1, "members": ["paris"], "state": "Synced"},
            "last_event": None,
        }
    ],
    "keys": {"token": {"digest": "ab" * 32, "keys": 3, "primary": 2}, "x": {"error": "gone"}},
    "queue": {"pending": 0, "oldest_age_seconds": None},
}


def changed(path: list[Any], value: Any) -> Any:
    document = copy.deepcopy(GOOD)
    inner: Any = document
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    return document


def test_a_good_document_is_typed():
    status = agent_documents.parse(GOOD, site="madrid")
    assert status.databases[0].kind is agent_documents.Kind.REPLICA
    assert status.databases[0].lag_seconds == 0.2
    assert status.keys["x"] == agent_documents.Unreadable(error="gone")
    assert status.queue == agent_documents.Queue(pending=0, oldest_age_seconds=None)


def test_fields_of_a_newer_agent_are_ignored():
    assert agent_documents.parse({**GOOD, "more": 1}, site="madrid").site == "madrid"


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (["site"], "lyon", "answers for site 'lyon', not for 'madrid'"),
        (["databases"], {}, "databases should be a list"),
        (["databases", 0], 7, "databases[0] should be an object"),
        (["databases", 0, "lag_seconds"], "0.2", "databases[0].lag_seconds should be seconds"),
        (["databases", 0, "lag_seconds"], float("inf"), "finite"),
        (["databases", 0, "serving"], 1, "databases[0].serving should be true or false"),
        (["databases", 0, "kind"], "tape", "one of: writer, replica"),
        (["databases", 0, "cluster", "size"], -1, "databases[0].cluster.size"),
        (["databases", 0, "cluster", "members"], [1], "cluster.members[0] should be text"),
        (["keys", "token", "digest"], "x", "keys.token.digest should be a SHA-256"),
        (["queue"], None, "queue should be an object"),
        (["queue", "pending"], True, "queue.pending should be a number"),
    ],
)
def test_a_wrong_shape_is_told_by_its_field(path: list[Any], value: Any, words: str):
    with pytest.raises(errors.InputError) as caught:
        agent_documents.parse(changed(path, value), site="madrid")
    assert words in str(caught.value)


def test_a_missing_field_is_named():
    document = copy.deepcopy(GOOD)
    del document["databases"][0]["writer"]
    with pytest.raises(errors.InputError, match=r"databases\[0\].writer should be there"):
        agent_documents.parse(document, site="madrid")


def test_a_site_cannot_write_to_the_terminal_of_whoever_reads_its_reason():
    document = changed(["databases", 0, "reason"], "\x1b[2Jall\nwell \u202e" + "x" * 9000)
    reason = agent_documents.parse(document, site="madrid").databases[0].reason
    assert reason.startswith(" [2Jall well  xxx")
    assert len(reason) == agent_documents.LONGEST_TEXT


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
PATHS = st.sampled_from(
    [
        ["databases"],
        ["databases", 0],
        ["databases", 0, "cluster"],
        ["databases", 0, "cluster", "members"],
        ["databases", 0, "kind"],
        ["keys"],
        ["keys", "token"],
        ["queue"],
        ["agent"],
    ]
)


@given(PATHS, JSON)
def test_whatever_stands_anywhere_is_typed_or_refused(path: list[Any], value: Any):
    with contextlib.suppress(errors.InputError):
        status = agent_documents.parse(changed(path, value), site="madrid")
        assert status.site == "madrid"


SITE = Site(name="madrid", region="madrid", role=Role.REPLICA, cloud="madrid", agent="http://a:1")
THEN = datetime.datetime(2026, 11, 22, 18, 40, tzinfo=datetime.UTC)


def kept() -> dict[str, last_good.Kept]:
    status = agent_documents.parse(GOOD, site="madrid")
    return {"madrid": last_good.Kept(status=status, document=GOOD, observed_at=THEN)}


def test_the_last_good_answer_is_kept_for_its_owner_only(tmp_path: Path):
    path = tmp_path / "deep" / "status.json"
    last_good.write(path, [SITE], kept())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert last_good.read(path, [SITE]) == kept()
    assert list(path.parent.iterdir()) == [path]


def test_answers_of_another_sites_file_stay(tmp_path: Path):
    path = tmp_path / "status.json"
    last_good.write(path, [SITE], kept())
    other = Site(name="madrid", region="m", role=Role.REPLICA, cloud="m", agent="http://b:1")
    last_good.write(path, [other], kept())
    assert last_good.read(path, [SITE]) == kept()
    assert len(json.loads(path.read_text())["sites"]) == 2


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"sites": 3}', '{"sites": {"madrid http://a:1": 5}}']
)
def test_a_broken_cache_is_as_good_as_none(tmp_path: Path, text: str):
    path = tmp_path / "status.json"
    path.write_text(text)
    assert last_good.read(path, [SITE]) == {}
    last_good.write(path, [SITE], kept())
    assert last_good.read(path, [SITE]) == kept()


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path):
    (tmp_path / "file").write_text("")
    last_good.write(tmp_path / "file" / "status.json", [SITE], kept())
