"""The declarations as this site knows them, and the one way to change them.

It exists so that the engine knows its networks at any moment, whatever the databases do: reads are
answered from memory, which a thread refreshes from the site's local database and which a file
carries over restarts; only writes go over the WAN, to the writer, and fail when it cannot be reached.
It decides nothing about declarations: `isthmus.network.declarations` does.

Every declaration is a document with a revision. A write says the next revision and wins only if the
stored one is its predecessor, so that two people cannot undo each other unseen.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import enum
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from isthmus import errors
from isthmus.network import databases, records, remembering
from isthmus.network.declarations import StretchedNetwork
from isthmus.network.records import Event
from isthmus.network.remembering import Documents, Kind

LOG = logging.getLogger(__name__)

T = TypeVar("T")

ATTEMPTS = 3
"""How often a site is declared lost anew when somebody else's word about it came first."""


class Taken(enum.StrEnum):
    """What of a new declaration somebody else has already; names of columns."""

    NAME = "name"
    VNI = "vni"
    IDENTITY = "id"


class ConflictError(errors.IsthmusError):
    """The stored declaration is not what the writer thought: nothing was changed. `taken` says what
    is not free, None when the declaration was changed or removed meanwhile."""

    def __init__(self, what: str, *, taken: Taken | None = None, **parts: str | None) -> None:
        super().__init__(what, **parts)
        self.taken = taken


@dataclasses.dataclass(frozen=True, kw_only=True)
class Freshness:
    """How the last attempt to read went. `read_at`: the last good one, seconds since 1970; None if
    there was none and nothing was kept either."""

    read_at: float | None
    error: str | None


class Store:
    """Declarations of networks, service addresses and lost sites. For several threads.

    `reader` is the site's local database, `writer` where writes are taken, `site` the own site,
    `state` the directory that the last good documents are kept in (None: nowhere). The methods that
    read never wait for a database and never raise because of one, except `latest_networks` and
    `events`. Those that write raise UnavailableError when the writer cannot be reached, and
    ConflictError when somebody else was first.

    Invariant: what this process has written is never followed by reading something older, though
    the local database lags behind the writer (kept by `remembering.Own`).
    """

    def __init__(
        self,
        *,
        reader: databases.Listener,
        writer: databases.Listener,
        site: str,
        state: Path | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._reader, self._writer, self._site, self._clock = reader, writer, site, clock
        self._file = state / "declarations.json" if state else None
        self._lock = threading.Lock()
        self._reading = threading.Lock()
        self._session: databases.Session | None = None
        self._own = remembering.Own()
        kept = remembering.read(self._file) if self._file else None
        self._documents = kept.documents if kept else Documents()
        self._networks = _networks(self._documents)
        self._freshness = Freshness(read_at=kept.read_at if kept else None, error="not read yet")

    @property
    def freshness(self) -> Freshness:
        return self._freshness

    def networks(self) -> tuple[StretchedNetwork, ...]:
        """All declared networks, those being deleted included, by name."""
        return self._networks

    def network(self, name: str) -> StretchedNetwork:
        """The network with this name or id. Raises UsageError that lists those that exist."""
        return find(self._networks, name)

    def addresses(self) -> tuple[Mapping[str, Any], ...]:
        """The documents of all service addresses, by name."""
        found = self._documents.of(Kind.ADDRESS).values()
        return tuple(sorted(found, key=lambda each: str(each.get("name"))))

    def lost_sites(self) -> frozenset[str]:
        """The sites that an operator declared lost."""
        found = self._documents.of(Kind.SITE).items()
        return frozenset(site for site, document in found if document.get("lost"))

    def refresh(self) -> bool:
        """Read everything from the local database; whether anything differs from before.

        Never raises because of a database: the last good documents stay, `freshness` says why.
        """
        with self._reading:
            try:
                found = self._read()
            except (errors.UnavailableError, databases.LostRaceError) as error:
                self._freshness = dataclasses.replace(self._freshness, error=str(error))
                return False
        self._freshness = Freshness(read_at=self._clock(), error=None)
        return self._know(lambda known: self._own.merged(known, found))

    def _read(self) -> Documents:
        """Over the connection of the last read; one that broke since then is replaced once."""
        session, self._session = self._session, None
        if session is not None:
            with contextlib.suppress(errors.UnavailableError):
                return self._read_over(session)
        return self._read_over(databases.reader(self._reader))

    def _read_over(self, session: databases.Session) -> Documents:
        try:
            found = records.everything(session)
        except BaseException:
            session.close()
            raise
        self._session = session
        return found

    def latest_networks(self) -> tuple[StretchedNetwork, ...]:
        """All networks as the writer has them now: what a new VNI is chosen against.

        Raises UnavailableError.
        """
        return _networks(self._written(records.everything))

    def put(self, network: StretchedNetwork) -> StretchedNetwork:
        """Store a declaration: a new one has revision 1, a change the successor of the stored one.

        Raises ConflictError (with `taken` for a name or VNI that somebody has), UnavailableError.
        """
        columns = {"name": network.name, "vni": network.vni}
        self._put(Kind.NETWORK, network.id, network.to_document(), columns)
        return network

    def remove(self, network: StretchedNetwork) -> None:
        """Forget a declaration; nothing happens if it is not there. Raises ConflictError if it was
        changed meanwhile, UnavailableError."""
        self._remove(Kind.NETWORK, network.id, network.revision)

    def put_address(self, document: Mapping[str, Any]) -> None:
        """Store a service address; the document has id, name and revision, as for `put`."""
        self._put(Kind.ADDRESS, str(document["id"]), document, {"name": document["name"]})

    def remove_address(self, document: Mapping[str, Any]) -> None:
        """Forget a service address, as `remove` does a network."""
        self._remove(Kind.ADDRESS, str(document["id"]), int(document["revision"]))

    def declare_lost(self, site: str, *, by: str, lost: bool = True) -> bool:
        """Declare a site lost, or (`lost` False) returned. False: it was so already.

        May be repeated when it is not known whether it was written. Raises UnavailableError, and
        ConflictError if others say something else about the site again and again.
        """
        for attempt in range(1, ATTEMPTS + 1):
            found = self._written(records.everything).of(Kind.SITE).get(site)
            if bool(found and found.get("lost")) == lost:
                return False
            revision = int(found["revision"]) + 1 if found else 1
            at = datetime.datetime.now(datetime.UTC).isoformat()
            document = {"site": site, "lost": lost, "by": by, "at": at, "revision": revision}
            try:
                self._put(Kind.SITE, site, document, {})
            except ConflictError:
                if attempt == ATTEMPTS:
                    raise
                continue
            return True
        raise AssertionError("the last attempt returns or raises")

    def add_event(
        self,
        subject: str,
        subject_id: str,
        document: Mapping[str, Any],
        *,
        at: datetime.datetime | None = None,
        identity: str | None = None,
    ) -> None:
        """Write down what was done, now unless `at` says when. Writing an event with the same
        `identity` again adds nothing. Raises UnavailableError."""
        event = Event(
            id=identity or str(uuid.uuid4()),
            at=at or datetime.datetime.now(datetime.UTC),
            site=self._site,
            subject=subject,
            subject_id=subject_id,
            document=document,
        )
        self._written(lambda session: records.add_event(session, event))

    def events(
        self, subject: str, subject_id: str | None = None, *, limit: int = 100
    ) -> tuple[Event, ...]:
        """The newest events of a subject, newest first, from the local database.

        Raises UnavailableError.
        """
        with contextlib.closing(databases.reader(self._reader)) as session:
            return records.events(session, subject, subject_id, limit=limit)

    def _put(
        self, kind: Kind, identity: str, document: Mapping[str, Any], columns: Mapping[str, Any]
    ) -> None:
        with _worded_conflicts(kind, columns):
            self._written(lambda session: records.put(session, kind, identity, document, columns))
        self._know(lambda known: self._own.wrote(known, kind, identity, document))

    def _remove(self, kind: Kind, identity: str, revision: int) -> None:
        with _worded_conflicts(kind, {}):
            self._written(lambda session: records.remove(session, kind, identity, revision))
        self._know(lambda known: self._own.removed(known, kind, identity))

    def _know(self, change: Callable[[Documents], Documents]) -> bool:
        """Take over what is known now, in memory and in the file; whether it differs."""
        with self._lock:
            documents = change(self._documents)
            if documents == self._documents:
                return False
            self._documents, self._networks = documents, _networks(documents)
            if self._file:
                read_at = self._freshness.read_at
                remembering.write(self._file, documents, read_at=read_at or self._clock())
        return True

    def _written(self, action: Callable[[databases.Session], T]) -> T:
        """Do something at the writer, once more if another site's change came first."""
        with databases.opened(
            databases.Session,
            self._writer,
            "the declarations cannot be changed now",
            unchanged=databases.PERHAPS_UNCHANGED,
            next_command="isthmus status      (which site is the writer; try again then)",
        ) as session:
            return _twice(session, action)


def find(networks: Iterable[StretchedNetwork], name: str) -> StretchedNetwork:
    """The network with this name or id. Raises UsageError that lists those that exist."""
    listed = list(networks)
    for each in listed:
        if name in (each.name, each.id):
            return each
    raise errors.UsageError(
        f"there is no stretched network {name!r}",
        cause=f"declared are: {', '.join(each.name for each in listed) or 'none'}",
        next_command="isthmus network list",
    )


def _twice(session: databases.Session, action: Callable[[databases.Session], T]) -> T:
    with contextlib.suppress(databases.LostRaceError):
        return action(session)
    try:
        return action(session)
    except databases.LostRaceError as error:
        raise errors.BusyError(
            "another site changes the same declarations",
            cause=str(error),
            unchanged="nothing was changed",
            next_command="the same command again",
        ) from error


@contextlib.contextmanager
def _worded_conflicts(kind: Kind, columns: Mapping[str, Any]) -> Iterator[None]:
    try:
        yield
    except records.OvertakenError:
        raise ConflictError(
            "somebody else changed it meanwhile",
            unchanged="nothing was changed",
            next_command="look at it, then the same command again",
        ) from None
    except databases.DuplicateError as error:
        taken = Taken(error.key) if error.key in columns else Taken.IDENTITY
        raise ConflictError(
            f"the {taken} {columns.get(taken, 'of the declaration')} is taken",
            taken=taken,
            cause=f"another {kind.replace('_', ' ')} has it",
            unchanged="nothing was changed",
        ) from None


def _networks(documents: Documents) -> tuple[StretchedNetwork, ...]:
    """The networks by name. One that cannot be read must not hide the others."""
    found = _readable(documents.of(Kind.NETWORK).values())
    return tuple(sorted(found, key=lambda network: network.name))


def _readable(documents: Iterable[Mapping[str, Any]]) -> Iterator[StretchedNetwork]:
    for document in documents:
        try:
            yield StretchedNetwork.from_document(document)
        except errors.InputError as error:
            LOG.warning("a declaration cannot be read and is left alone: %s", error)
