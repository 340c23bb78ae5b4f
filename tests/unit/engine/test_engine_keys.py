"""Keys over the HTTP API: rights, an operator's word, races, a writer that cannot be reached."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from engine_bench import Bench

from isthmus.engine.api import keys
from isthmus.identity.keys import records, rotating
from isthmus.identity.keys.generations import Ack, Kind, State
from isthmus.identity.keys.settings import Settings

ROUTE = "/v1/identity/keys"
NODES = ("lyon", "madrid", "paris")
WORDS = [
    ("POST", f"{ROUTE}/token/rotate", None),
    ("POST", f"{ROUTE}/token/replace", {"why": "leaked"}),
    ("POST", f"{ROUTE}/token/fence", {"node": "madrid"}),
    ("POST", f"{ROUTE}/token/unfence", {"node": "madrid"}),
]
READS = [("GET", ROUTE, None), ("GET", f"{ROUTE}/token/history", None)]


@dataclass
class Tables:
    """The document and its history, in place of the tables; `others`: so often somebody else is first."""

    state: State
    said: list[str] = field(default_factory=list)
    others: int = 0
    names: set[uuid.UUID | None] = field(default_factory=set)


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> Tables:
    acks = {node: Ack(node=node, revision=1, digest="d", at=0.0) for node in NODES}
    change = rotating.adopt(State(kind=Kind.TOKEN), acks, NODES, (0, 1), 0.0, Settings())
    assert change is not None
    found = Tables(state=replace(change.state, digest="e"))

    def store(_: Any, change: rotating.Change, *, word: uuid.UUID | None) -> bool:
        if found.others:
            found.others -= 1
            found.state = replace(found.state, revision=found.state.revision + 1)
        if change.state.revision != found.state.revision + 1:
            return False
        found.state = change.state
        found.said.append(f"{change.by}: {change.event}")
        found.names.add(word)
        return True

    @contextlib.contextmanager
    def local(_: Any) -> Iterator[None]:
        yield None

    def look(_: Any, kind: Kind) -> records.Seen:
        if kind is Kind.TOKEN:
            return records.Seen(state=found.state, acks=acks, boxes=())
        return records.Seen(state=State(kind=kind), acks={}, boxes=())

    monkeypatch.setattr(keys, "_local", local)
    monkeypatch.setattr(keys.databases, "Session", lambda _: contextlib.nullcontext())
    monkeypatch.setattr(keys.contextlib, "closing", lambda session: session)
    monkeypatch.setattr(records, "look", look)
    monkeypatch.setattr(records, "store", store)
    monkeypatch.setattr(records, "said", lambda _, kind, word: word in found.names)
    return found


@pytest.mark.parametrize(("method", "path", "body"), WORDS + READS)
def test_nobody_without_a_good_token_is_answered(
    stand: Bench, method: str, path: str, body: Any
) -> None:
    for token in (None, "expired"):
        assert stand.call(method, path, body, token=token).status_code == 401


@pytest.mark.parametrize(("method", "path", "body"), WORDS)
def test_a_reader_may_not_say_anything(stand: Bench, method: str, path: str, body: Any) -> None:
    assert stand.call(method, path, body, token="reader-token").status_code == 403


@pytest.mark.parametrize(("method", "path", "body"), WORDS + READS)
def test_a_database_that_does_not_answer_is_told_in_words(
    stand: Bench, method: str, path: str, body: Any
) -> None:
    answer = stand.call(method, path, body)
    assert answer.status_code == 503
    error = answer.json()["error"]
    assert "keys" in error["what"]
    assert error["unchanged"].startswith("nothing")
    assert error["next_command"].startswith("isthmus identity")


def test_an_operators_word_is_stored_under_his_name(stand: Bench, kept: Tables) -> None:
    answer = stand.call("POST", f"{ROUTE}/token/rotate")
    assert answer.status_code == 202
    assert answer.json()["keys"]["in_flight"]["by"] == "admin"
    assert kept.said == ["admin: asked for a rotation"]
    answer = stand.call("POST", f"{ROUTE}/token/rotate")
    assert answer.status_code == 409
    assert "in flight" in answer.json()["error"]["what"]


def test_a_word_that_is_sent_twice_under_one_name_is_said_once(stand: Bench, kept: Tables) -> None:
    named = {"Idempotency-Key": str(uuid.uuid4())}
    for _ in range(2):
        answer = stand.call("POST", f"{ROUTE}/token/rotate", headers=named)
        assert answer.status_code == 202
        assert answer.json()["keys"]["in_flight"]["by"] == "admin"
    assert kept.said == ["admin: asked for a rotation"]
    odd = {"Idempotency-Key": "again"}
    assert stand.call("POST", f"{ROUTE}/token/rotate", headers=odd).status_code == 400


def test_a_word_that_somebody_was_before_is_said_again(stand: Bench, kept: Tables) -> None:
    kept.others = 3
    assert stand.call("POST", f"{ROUTE}/token/fence", {"node": "madrid"}).status_code == 200
    assert "madrid" in kept.state.fences
    kept.others = 1000
    answer = stand.call("POST", f"{ROUTE}/token/rotate")
    assert answer.status_code == 409
    assert "somebody else was first" in answer.json()["error"]["cause"]


def test_what_cannot_be_is_refused(stand: Bench, kept: Tables) -> None:
    assert stand.call("POST", f"{ROUTE}/token/fence", {"node": "nice"}).status_code == 404
    assert stand.call("POST", f"{ROUTE}/token/unfence", {"node": "paris"}).status_code == 404
    assert stand.call("POST", f"{ROUTE}/receipt/rotate").status_code == 404
    assert stand.call("POST", f"{ROUTE}/token/replace", {}).status_code == 400
    assert stand.call("POST", f"{ROUTE}/jws/rotate").status_code == 400
    assert kept.said == []


def test_a_list_shows_the_kinds_that_are_looked_after(stand: Bench, kept: Tables) -> None:
    [found] = stand.call("GET", ROUTE, token="reader-token").json()["kinds"]
    assert found["kind"] == "token"
    assert found["waiting_for"] == list(NODES)
    assert found["outcome"] == "WARN"
