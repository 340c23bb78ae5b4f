"""`isthmus identity key` against little engines: what is sent, what is shown, how it leaves."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import yaml
from loopback_cloud import Ended
from loopback_engines import Engines

from isthmus.identity.keys import rotating, showing
from isthmus.identity.keys.generations import Ack, Kind, State
from isthmus.identity.keys.settings import Settings

Isthmus = Callable[..., Ended]
NODES = ("lyon", "madrid", "paris")
KEYS = "/v1/identity/keys"


def acks(*nodes: str) -> dict[str, Ack]:
    return {n: Ack(node=n, revision=9, digest="d" * 64, at=995.0) for n in nodes or NODES}


def state() -> State:
    change = rotating.adopt(State(kind=Kind.TOKEN), acks(), NODES, (0, 1, 2), 900.0, Settings())
    assert change is not None
    return replace(change.state, digest="d" * 64, revision=1)


def shown(one: State, *heard: str) -> dict[str, Any]:
    return showing.document(one, acks(*heard), 1000.0)


def listed(*states: dict[str, Any]) -> tuple[int, Any]:
    return 200, {"asked": "paris", "kinds": list(states)}


ASKED = rotating.ask_rotation(state(), "ada", 950.0).state
REPLACING = rotating.ask_replacement(state(), "ada", 950.0, "leaked").state
FENCED = rotating.fence(state(), "madrid", "ada", 950.0, "link cut").state


@pytest.mark.parametrize("form", ["table", "json", "yaml", "csv", "value"])
def test_list_shows_generations_and_what_each_site_said(
    engines: Engines, isthmus: Isthmus, form: str
) -> None:
    engines.answers[f"GET {KEYS}"] = listed(shown(state()))
    ended = isthmus("identity", "key", "list", "-f", form)
    assert (ended.code, ended.err) == (0, "")
    assert "madrid" in ended.out
    readers: dict[str, Callable[[str], Any]] = {"json": json.loads, "yaml": yaml.safe_load}
    assert readers.get(form, len)(ended.out)
    if form == "table":
        assert "OK  token keys: generation 2 signs" in ended.out
        assert (
            "generation 1    secondary since 1970-01-01T00:15:00Z, retires 1970-01-03" in ended.out
        )
        assert "paris           acknowledged, said so 5 s ago" in ended.out


@pytest.mark.parametrize(
    ("found", "code", "text"),
    [
        (shown(state(), "paris", "lyon"), 1, "waits for madrid"),
        (shown(FENCED), 1, "fenced: link cut"),
        (shown(REPLACING, "paris"), 2, "replacement of all keys"),
        (shown(State(kind=Kind.TOKEN)), 1, "have to show the same keys first"),
    ],
)
def test_list_leaves_with_the_verdict(
    engines: Engines, isthmus: Isthmus, found: dict[str, Any], code: int, text: str
) -> None:
    engines.answers[f"GET {KEYS}"] = listed(found)
    ended = isthmus("identity", "key", "list")
    assert ended.code == code
    assert text in ended.out


def test_where_nobody_looks_after_keys_it_says_what_is_missing(
    engines: Engines, isthmus: Isthmus
) -> None:
    engines.answers[f"GET {KEYS}"] = listed()
    ended = isthmus("identity", "key", "list")
    assert ended.code == 1
    assert "section `keys`" in ended.out
    engines.answers[f"POST {KEYS}/receipt/rotate"] = (202, {"keys": shown(ASKED)})
    ended = isthmus("identity", "key", "rotate", "--kind", "receipt", "--wait")
    assert ended.code == 64
    assert "nobody looks after receipt keys" in ended.err


def test_rotate_waits_tells_its_progress_and_says_how_long_it_took(
    engines: Engines, isthmus: Isthmus
) -> None:
    staged = rotating.step(ASKED, acks(), NODES, 951.0, Settings(), 0.0)
    assert staged is not None
    done = replace(state(), revision=staged.state.revision + 3)
    engines.answers[f"POST {KEYS}/token/rotate"] = (202, {"keys": shown(ASKED)})
    engines.answers[f"GET {KEYS}"] = [
        listed(shown(state())),  # a replica that does not show the word yet
        listed(shown(staged.state, "paris")),
        listed(shown(done)),
    ]
    engines.answers[f"GET {KEYS}/token/history?limit=1"] = (
        200,
        {"events": [{"at": "t", "revision": 9, "by": "ada", "event": "complete, 1.2 s after"}]},
    )
    ended = isthmus("identity", "key", "rotate", "--wait", "--timeout", "30", "-f", "json")
    assert ended.code == 0, ended.err
    assert "rotation: generation 3 is staged; waits for lyon, madrid" in ended.err
    assert "complete, 1.2 s after" in ended.err
    assert json.loads(ended.out)["revision"] == done.revision


def test_a_rotation_that_is_held_leaves_with_a_warning_and_names_who_holds_it(
    engines: Engines, isthmus: Isthmus
) -> None:
    staged = rotating.step(ASKED, acks(), NODES, 951.0, Settings(), 0.0)
    assert staged is not None
    engines.answers[f"POST {KEYS}/token/rotate"] = (202, {"keys": shown(ASKED)})
    engines.answers[f"GET {KEYS}"] = listed(shown(staged.state, "paris", "lyon"))
    ended = isthmus("identity", "key", "rotate", "--wait", "--timeout", "0.1")
    assert ended.code == 1
    assert "not complete in time; it waits for madrid and goes on" in ended.err
    ended = isthmus("identity", "key", "watch", "--timeout", "0.1")
    assert ended.code == 1
    assert "waits for madrid" in ended.out


def test_a_replacement_has_to_be_meant(engines: Engines, isthmus: Isthmus) -> None:
    words = ["identity", "key", "replace", "--why", "leaked"]
    ended = isthmus(*words)
    assert ended.code == 64
    assert "ends every token at once" in ended.err
    assert engines.asked == []
    engines.answers[f"POST {KEYS}/token/replace"] = (202, {"keys": shown(REPLACING)})
    ended = isthmus(*words, "--yes-all-tokens-die")
    assert ended.code == 0, ended.err
    assert engines.asked == [("paris", f"POST {KEYS}/token/replace", {"why": "leaked"})]


def test_fence_and_unfence_send_the_site_and_the_reason(engines: Engines, isthmus: Isthmus) -> None:
    engines.answers[f"POST {KEYS}/token/fence"] = (200, {"keys": shown(FENCED)})
    engines.answers[f"POST {KEYS}/token/unfence"] = (200, {"keys": shown(state())})
    assert isthmus("identity", "key", "fence", "madrid", "--why", "stolen", "--keep").code == 0
    assert isthmus("identity", "key", "unfence", "madrid").code == 0
    assert [body for _, _, body in engines.asked] == [
        {"node": "madrid", "why": "stolen", "keep": True},
        {"node": "madrid"},
    ]


def test_a_refusal_is_told_whole(engines: Engines, isthmus: Isthmus) -> None:
    error = {
        "kind": "BusyError",
        "what": "a rotation is in flight",
        "unchanged": "nothing was changed",
    }
    engines.answers[f"POST {KEYS}/token/rotate"] = (409, {"error": error})
    ended = isthmus("identity", "key", "rotate")
    assert ended.code == 75
    assert "nothing was changed" in ended.err


def test_history_has_a_line_for_each_event(engines: Engines, isthmus: Isthmus) -> None:
    events = [{"at": "2026-11-23T01:00:00.000Z", "revision": 4, "by": "ada", "event": "asked"}]
    engines.answers[f"GET {KEYS}/token/history?limit=5"] = (200, {"events": events})
    ended = isthmus("identity", "key", "history", "--limit", "5", "-f", "json")
    [row] = json.loads(ended.out)
    assert (row["Revision"], row["By"], row["Event"]) == (4, "ada", "asked")
