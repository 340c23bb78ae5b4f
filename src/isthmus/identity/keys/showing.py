"""What is told about the keys of one kind: the document that faces show. It holds no key.

The ages are counted at the database that was read, which may be a replica.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from isthmus.identity.keys.generations import Ack, Generation, Phase, State, What

OK, WARN, ERROR = "OK", "WARN", "ERROR"


def document(state: State, acks: Mapping[str, Ack], now: float) -> dict[str, Any]:
    """One kind of keys. `outcome`: OK, WARN (somebody is waited for or fenced, or is in trouble), ERROR
    (a replacement is in flight: a node that has not acknowledged it accepts the old tokens)."""
    nodes = state.nodes or tuple(sorted(acks))
    waiting = state.missing(acks)
    told = {
        "kind": state.kind.value,
        "revision": state.revision,
        "generations": [_generation(each, state) for each in state.generations],
        "nodes": [_node(state, acks.get(node), node, now) for node in nodes],
        "in_flight": _in_flight(state),
        "waiting_for": list(waiting),
        "next_rotation_at": _time(state.next_at),
        "kept_seconds": state.lifetime,
    }
    return {**told, "outcome": _outcome(state, acks, waiting), "summary": summary(state, waiting)}


def summary(state: State, waiting: tuple[str, ...]) -> str:
    """One sentence."""
    primary = state.primary
    if primary is None:
        return "not looked after: all nodes have to show the same keys first"
    heard = f"waits for {', '.join(waiting)}" if waiting else "everybody has acknowledged"
    if state.wanted is None:
        text = f"generation {primary.number} signs"
        return f"{text}; {heard}" if waiting else text
    if state.wanted.what is What.REPLACE:
        return f"replacement of all keys by generation {state.wanted.generation or 'a new one'}: {heard}"
    wanted = state.wanted.generation
    if wanted is None:
        return "rotation: waits until a key may be staged"
    step = "is primary" if wanted == primary.number else "is staged"
    return f"rotation: generation {wanted} {step}; {heard}"


def _outcome(state: State, acks: Mapping[str, Ack], waiting: tuple[str, ...]) -> str:
    if state.wanted is not None and state.wanted.what is What.REPLACE:
        return ERROR if waiting or state.fences else WARN
    troubled = any(ack.trouble for ack in acks.values())
    return WARN if waiting or state.fences or troubled or not state.generations else OK


def _generation(found: Generation, state: State) -> dict[str, Any]:
    retires = None
    if found.phase is Phase.SECONDARY and found.unused_since is not None:
        retires = found.unused_since + state.lifetime
    return {
        "generation": found.number,
        "phase": found.phase.value,
        "since": _time(found.since),
        "retires_at": _time(retires),
    }


def _node(state: State, ack: Ack | None, node: str, now: float) -> dict[str, Any]:
    fence = state.fences.get(node)
    return {
        "node": node,
        "acknowledged": ack is not None and state.has({node: ack}, node),
        "digest": ack.digest[:12] if ack else None,
        "revision": ack.revision if ack else None,
        "heard_age_seconds": round(max(0.0, now - ack.at), 1) if ack else None,
        "fenced": {**asdict(fence), "since": _time(fence.since)} if fence else None,
        "trouble": ack.trouble if ack else "nothing was heard of it",
    }


def _in_flight(state: State) -> dict[str, Any] | None:
    wanted = state.wanted
    if wanted is None:
        return None
    return {
        "what": wanted.what.value,
        "by": wanted.by,
        "asked_at": _time(wanted.at),
        "generation": wanted.generation,
    }


def _time(seconds: float | None) -> str | None:
    """RFC 3339, UTC."""
    if seconds is None:
        return None
    at = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}Z"
