"""What an agent must say before another site's endpoint counts; its documents are made by the agent's own code."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from isthmus.agent import reports, sources
from isthmus.plugins.authtoken import proving

AT = 100.0


def database(**changes: Any) -> reports.Report:
    values: dict[str, Any] = {
        "at": AT - 0.25,
        "name": "replica-paris",
        "kind": "replica",
        "serving": True,
        "verdict": "serving",
        "lag_seconds": 0.4,
    }
    return reports.Report(**{**values, **changes})


def site(*databases: reports.Report) -> Any:
    """The document as it comes over the wire."""
    return json.loads(json.dumps({"databases": [each.document(AT) for each in databases]}))


def test_fresh_databases_are_proof() -> None:
    assert proving.unproven_site(site(database(), database(name="replica-lyon")), 5) is None


def test_the_age_of_the_look_counts_too() -> None:
    old = site(database(lag_seconds=4.0, at=AT - 1.5))
    assert proving.unproven_site(old, 5) == "its database replica-paris is 5.5 s old"
    assert proving.unproven_site(old, 6) is None


def test_a_database_that_lags_spoils_the_site_though_another_serves() -> None:
    lagging = database(name="b", serving=False, verdict="lagging", lag_seconds=9.0)
    assert "b is" in str(proving.unproven_site(site(database(), lagging), 5))


def test_a_database_that_does_not_answer_is_not_read() -> None:
    dead = database(name="b", serving=False, verdict="unreachable", lag_seconds=None)
    assert proving.unproven_site(site(database(), dead), 5) is None


@pytest.mark.parametrize(
    "databases",
    [
        [],
        [database(serving=False, verdict="non-primary")],
        [database(lag_seconds=None)],
        # The agent has stopped looking.
        [database(at=AT - 60)],
    ],
)
def test_no_proof_without_a_fresh_database(databases: list[reports.Report]) -> None:
    assert proving.unproven_site(site(*databases), 5)


@pytest.mark.parametrize(
    "document",
    [None, [], "x", {}, {"databases": {}}, {"databases": [1]},
     {"databases": [{"serving": True, "lag_seconds": "0", "observed_age_seconds": 0}]},
     {"databases": [{"serving": True, "lag_seconds": True, "observed_age_seconds": 0}]}],
)  # fmt: skip
def test_a_misshapen_document_proves_nothing(document: Any) -> None:
    assert proving.unproven_site(document, 5)
    assert proving.unproven_queue(document)


def queue(folder: Path, waiting: int) -> Any:
    path = folder / "queue.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE entry (recorded_at REAL, replayed_at REAL, aside INT)")
        connection.executemany("INSERT INTO entry VALUES (1, ?, 0)", [(None,)] * waiting + [(2.0,)])
    return {"queue": sources.queue(path)}


def test_a_queue_must_be_empty(tmp_path: Path) -> None:
    assert proving.unproven_queue(queue(tmp_path, 0)) is None


def test_a_write_that_waits_in_the_queue_may_be_a_revocation(tmp_path: Path) -> None:
    assert proving.unproven_queue(queue(tmp_path, 2)) == "2 writes of this site wait in its queue"


def test_a_queue_that_cannot_be_read_proves_nothing(tmp_path: Path) -> None:
    assert proving.unproven_queue({"queue": sources.queue(tmp_path / "missing")})
    assert proving.unproven_queue({"queue": sources.queue(None)})
