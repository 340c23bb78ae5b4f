"""`/v1/identity/keys`: the keys of all sites for people's tools. An engine sees no key.

Reading is answered from this site's own database, which a cut-off site has too. An operator's word is
written at the site that takes the writes; the agent there carries it out.

A word may carry an `Idempotency-Key` (a UUID; IETF draft-ietf-httpapi-idempotency-key-header): the
connection may break after the word was stored, and whoever then asks another engine does not say it twice.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable
from typing import Annotated, Any

import fastapi
import pydantic

from isthmus import errors
from isthmus.engine.core import Engine
from isthmus.engine.rights import Caller
from isthmus.identity.keys import records, rotating, showing
from isthmus.identity.keys.generations import Kind
from isthmus.network import databases

ATTEMPTS = 10
"""How often a word is said anew when the agent's own step came first."""

Document = dict[str, Any]
Name = Annotated[uuid.UUID | None, fastapi.Header(alias="Idempotency-Key")]
Word = Callable[[records.Seen], rotating.Change]


class _Body(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", str_max_length=200)


class Replace(_Body):
    """What POST .../replace takes."""

    why: str = pydantic.Field(min_length=1)


class Fence(_Body):
    """What POST .../fence takes."""

    node: str
    why: str = pydantic.Field(default="it is silent", min_length=1)
    keep: bool = False


class Unfence(_Body):
    """What POST .../unfence takes."""

    node: str


def router(engine: Engine) -> fastapi.APIRouter:
    """The routes; reading needs `reader` or `admin`, everything else `admin`."""
    routes = fastapi.APIRouter(prefix="/v1/identity/keys", tags=["keys"])
    admin, reader = fastapi.Depends(engine.require_admin), fastapi.Depends(engine.require_reader)

    @routes.get("")
    def list_keys(caller: Caller = reader) -> Document:
        """Generations, acknowledgements and fences of each kind, as this site's database has them."""
        with _local(engine) as session:
            found = [records.look(session, kind) for kind in Kind]
        shown = [each for each in found if each.state.generations or each.acks]
        return {
            "asked": engine.site,
            "kinds": [showing.document(each.state, each.acks, time.time()) for each in shown],
        }

    @routes.get("/{kind}/history")
    def history(kind: Kind, limit: int = 50, caller: Caller = reader) -> Document:
        """What was done, newest first."""
        with _local(engine) as session:
            found = records.events(session, kind, max(1, min(limit, 1000)))
        return {
            "events": [
                {
                    "at": f"{each.at:%Y-%m-%dT%H:%M:%S}.{each.at.microsecond // 1000:03d}Z",
                    "revision": each.revision,
                    "by": each.by,
                    "event": each.event,
                }
                for each in found
            ]
        }

    @routes.post("/{kind}/rotate", status_code=202)
    def rotate(kind: Kind, caller: Caller = admin, name: Name = None) -> Document:
        """Have a new key made, acknowledged by all, and used."""
        return _said(
            engine,
            kind,
            lambda s: rotating.ask_rotation(s.state, caller.user, time.time()),
            name,
        )

    @routes.post("/{kind}/replace", status_code=202)
    def replace(kind: Kind, body: Replace, caller: Caller = admin, name: Name = None) -> Document:
        """Have all keys replaced by a new one at once: all tokens die."""
        return _said(
            engine,
            kind,
            lambda s: rotating.ask_replacement(s.state, caller.user, time.time(), body.why),
            name,
        )

    @routes.post("/{kind}/fence")
    def fence(kind: Kind, body: Fence, caller: Caller = admin, name: Name = None) -> Document:
        """Do not wait for a node."""
        return _said(
            engine,
            kind,
            lambda s: rotating.fence(
                s.state, body.node, caller.user, time.time(), body.why, keep=body.keep
            ),
            name,
        )

    @routes.post("/{kind}/unfence")
    def unfence(kind: Kind, body: Unfence, caller: Caller = admin, name: Name = None) -> Document:
        """Let a node come back whose fence is kept."""
        return _said(
            engine, kind, lambda s: rotating.unfence(s.state, body.node, caller.user), name
        )

    return routes


def _local(engine: Engine) -> contextlib.AbstractContextManager[databases.Session]:
    """A session with this site's own database. Raises UnavailableError."""
    return databases.opened(
        databases.reader,
        engine.reader,
        "the documents of the keys cannot be read",
        unchanged="nothing was changed; Keystone goes on with the keys that it has",
        next_command="isthmus identity status",
    )


def _said(engine: Engine, kind: Kind, word: Word, name: uuid.UUID | None) -> Document:
    """Say an operator's word at the writer, unless it was said before by that name; the document after
    it."""
    with databases.opened(
        databases.Session,
        engine.writer,
        "nothing can be said about the keys now",
        unchanged=databases.PERHAPS_UNCHANGED,
        next_command="isthmus identity key list",
    ) as session:
        for _ in range(ATTEMPTS):
            done = name is not None and records.said(session, kind, name)
            seen = records.look(session, kind)
            if done:
                return {"keys": showing.document(seen.state, seen.acks, time.time())}
            change = word(seen)
            if _first(session, change, name):
                return {"keys": showing.document(change.state, seen.acks, time.time())}
    raise errors.BusyError(
        f"the {kind} keys are changing",
        cause=f"{ATTEMPTS} times somebody else was first",
        unchanged="nothing was changed",
        next_command=f"isthmus identity key watch --kind {kind}",
    )


def _first(session: databases.Session, change: rotating.Change, name: uuid.UUID | None) -> bool:
    try:
        return records.store(session, change, word=name)
    except databases.LostRaceError:
        return False
