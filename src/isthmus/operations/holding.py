"""Leases in the database: taken, renewed while work is done, asked before every side effect."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator

import sqlalchemy as sa
from sqlalchemy import orm

from isthmus import errors
from isthmus.operations import leases
from isthmus.operations.leases import Claim, FencedError, Lease
from isthmus.store import databases, tables
from isthmus.store import leases as rows

LOG = logging.getLogger(__name__)


class Held:
    """A lease that this process has. For several threads.

    `database` is the site's database behind the fence: every transaction of it (TaskFlow's too)
    begins by looking whether the lease stands, and raises FencedError if it does not.
    """

    def __init__(self, plain: databases.Database, lease: Lease, lasts: float) -> None:
        self._plain, self._lease, self._lasts = plain, lease, lasts
        self.lost = threading.Event()
        self.database = plain.fenced(self._check)

    @property
    def epoch(self) -> int:
        return self._lease.epoch

    def guard(self) -> int:
        """To be called before every side effect: renews the lease and returns its epoch.

        Raises FencedError when it is somebody else's, UnavailableError when that cannot be known.
        """
        if self.lost.is_set() or not self._plain.write(self._renewed):
            self.lost.set()
            raise self._fenced()
        return self._lease.epoch

    def release(self) -> None:
        """Give it back, so that the next one need not wait. Never raises: it expires anyway."""
        with contextlib.suppress(errors.IsthmusError):
            self._plain.write(self._released)

    @contextlib.contextmanager
    def kept(self) -> Iterator[Held]:
        """Renew it in the background as long as the block runs, then give it back."""
        ended = threading.Event()
        thread = threading.Thread(target=self._keep, args=(ended,), name="lease", daemon=True)
        thread.start()
        try:
            yield self
        finally:
            ended.set()
            thread.join()
            self.release()

    def _keep(self, ended: threading.Event) -> None:
        while not ended.wait(self._lasts / 3):
            try:
                self.guard()
            except FencedError:
                LOG.warning("the lease of %s is somebody else's now", self._lease.subject)
                return
            except errors.UnavailableError as error:
                # It may expire, and then somebody else goes on; until then it is worth trying.
                LOG.warning("the lease of %s is not renewed: %s", self._lease.subject, error)

    def _renewed(self, session: orm.Session) -> bool:
        longer = leases.renewed(self._lease, self._lease, databases.now(session), self._lasts)
        assert longer is not None  # noqa: S101 - it is the same as itself
        return rows.replace(session, _row(longer), epoch=longer.epoch, owner=longer.owner)

    def _released(self, session: orm.Session) -> bool:
        given = leases.released(self._lease)
        return rows.replace(session, _row(given), epoch=given.epoch, owner=given.owner)

    def _check(self, connection: sa.Connection) -> None:
        mine = self._lease
        if not rows.stands(connection, mine.subject, epoch=mine.epoch, owner=mine.owner):
            self.lost.set()
            raise self._fenced()

    def _fenced(self) -> FencedError:
        return FencedError(
            f"this engine may not act on {self._lease.subject} any more",
            cause=f"its lease of epoch {self._lease.epoch} has been taken over",
            unchanged="nothing was done without the lease",
        )


def take(
    database: databases.Database,
    subject: str,
    *,
    owner: str,
    operation_id: str,
    lasts: float = leases.SECONDS,
    above: int = 0,
) -> Held | None:
    """The lease of a subject, or None when somebody else has it. Raises UnavailableError."""

    def attempt(session: orm.Session) -> Lease | None:
        found = rows.row(session, subject)
        claim = Claim(
            subject=subject,
            owner=owner,
            operation_id=operation_id,
            now=databases.now(session),
            lasts=lasts,
            above=above,
        )
        wanted = leases.taken(_value(found) if found else None, claim)
        if wanted is None:
            return None
        if found is None:
            rows.insert(session, _row(wanted))
            return wanted
        seen = (found.epoch, found.owner)
        session.expunge(found)
        won = rows.replace(session, _row(wanted), epoch=seen[0], owner=seen[1])
        return wanted if won else None

    try:
        lease = database.write(attempt)
    except databases.TakenError:
        return None
    return Held(database, lease, lasts) if lease else None


def _value(row: tables.Lease) -> Lease:
    return Lease(
        subject=row.subject,
        epoch=row.epoch,
        owner=row.owner,
        operation_id=row.operation_id,
        expires_at=row.expires_at,
    )


def _row(lease: Lease) -> tables.Lease:
    return tables.Lease(
        subject=lease.subject,
        epoch=lease.epoch,
        owner=lease.owner,
        operation_id=lease.operation_id,
        expires_at=lease.expires_at,
    )
