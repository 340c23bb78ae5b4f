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


def test_what_newer_agents_tell_is_typed() -> None:
    document = copy.deepcopy(GOOD)
    document["agent"]["packages"] = {"keystone": "30.0.0"}
    document["databases"][0]["variables"] = {"read_only": "ON"}
    document["settings"] = {
        "keystone": {"options": {"token.provider": "fernet"}},
        "x": {"error": "no"},
    }
    document["key_rotation"] = {"token": {"revision": 3, "trouble": "disk full", "fenced": None}}
    document["key_settings"] = {"token": {
        "expiration": 3600, "allow_expired_window": 172800, "clock_skew": 60, "max_active_keys": 6,
        "interval": 0, "jitter": 0.1,
    }}  # fmt: skip
    document["coherence"] = {
        "a": {"followed": True, "error": None},
        "b": {"followed": False, "error": "denied"},
    }
    status = agent_documents.parse(document, site="madrid")
    assert status.time == datetime.datetime(2026, 11, 22, 18, 40, 7, tzinfo=datetime.UTC)
    assert status.packages == {"keystone": "30.0.0"}
    assert status.databases[0].variables == {"read_only": "ON"}
    assert status.settings == {
        "keystone": {"token.provider": "fernet"},
        "x": agent_documents.Unreadable(error="no"),
    }
    assert status.followers == {"token": agent_documents.Follower(fenced=None, trouble="disk full")}
    assert status.rotated == {"token"}
    assert status.key_settings is not None
    assert status.key_settings["token"].max_active_keys == 6
    assert status.coherence == {"a": None, "b": "denied"}


def test_what_older_agents_do_not_tell_is_not_known() -> None:
    status = agent_documents.parse({n: v for n, v in GOOD.items() if n != "time"}, site="madrid")
    assert (status.time, status.packages, status.settings) == (None, None, None)
    assert (status.key_settings, status.coherence) == (None, None)
    assert (status.followers, status.databases[0].variables) == ({}, None)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (["time"], "yesterday", "time should be a time"),
        (["time"], "2026-11-22T18:40:07", "time should be a time with its zone"),
        (
            ["databases", 0, "variables"],
            {"read_only": 1},
            "databases[0].variables.read_only should be text",
        ),
        (["settings"], {"keystone": {}}, "settings.keystone.options should be there"),
        (["agent", "packages"], [], "agent.packages should be an object"),
        (["coherence"], {"a": {"followed": "yes"}}, "coherence.a.followed should be true or false"),
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
