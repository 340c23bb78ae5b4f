"""The history of addresses: written down here at once, and in the replicated table when it can be.

It exists because an address moves most often when the writer of the declarations cannot be reached.
Events have their identity from the beginning, so that writing one again adds nothing.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import logging
import threading
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from isthmus import errors

LOG = logging.getLogger(__name__)

SUBJECT = "address"
RETRY_SECONDS = 3.0
KEPT = 500
"""Events that wait at most; the oldest are forgotten first."""


class Store(Protocol):
    """What is needed of the store."""

    def add_event(
        self,
        subject: str,
        subject_id: str,
        document: Mapping[str, Any],
        *,
        at: datetime.datetime | None = None,
        identity: str | None = None,
    ) -> None: ...


class Recorder(threading.Thread):
    """Writes events, the oldest first, again and again until each is written."""

    def __init__(self, store: Store, directory: Path) -> None:
        super().__init__(name="history of addresses", daemon=True)
        self._store, self._file = store, directory / "events.json"
        self._changed = threading.Condition()
        self._waiting: list[dict[str, Any]] = []
        self._stopping = False
        with contextlib.suppress(OSError, ValueError):
            self._waiting = list(json.loads(self._file.read_text(encoding="utf-8")))

    @property
    def waiting(self) -> tuple[dict[str, Any], ...]:
        """Events that are not in the table yet."""
        return tuple(self._waiting)

    def add(self, address: str, document: Mapping[str, Any]) -> None:
        """Have an event written."""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        event = {"id": str(uuid.uuid4()), "address": address, "document": {"at": now, **document}}
        with self._changed:
            self._waiting = [*self._waiting, event][-KEPT:]
            self._keep()
            self._changed.notify()

    def stop(self) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify()

    def run(self) -> None:
        while not self._stopping:
            written = self._write()
            with self._changed:
                if not self._stopping and not (written and self._waiting):
                    self._changed.wait(RETRY_SECONDS if self._waiting else None)

    def _write(self) -> bool:
        """Write the oldest; False if there is none, or if it cannot be written now."""
        if not self._waiting:
            return False
        event = self._waiting[0]
        document = event["document"]
        at = datetime.datetime.fromisoformat(document["at"]) if "at" in document else None
        try:
            self._store.add_event(SUBJECT, event["address"], document, at=at, identity=event["id"])
        except errors.IsthmusError as error:
            LOG.info("an event of %s waits: %s", document.get("address"), error)
            return False
        with self._changed:
            self._waiting = [each for each in self._waiting if each["id"] != event["id"]]
        self._keep()
        return True

    def _keep(self) -> None:
        try:
            draft = self._file.with_suffix(".draft")
            draft.write_text(json.dumps(self._waiting), encoding="utf-8")
            draft.rename(self._file)
        except OSError as error:
            LOG.warning("events that wait are not kept over a restart: %s", error)
