"""What is known of the declarations between two reads: own writes, and a file for restarts.

It exists because the local database is a replica: it may not yet have what this engine has just
written, and it may be down when the engine starts. Both are decided here without any I/O but one
file. Losing the file costs nothing while the database answers.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

LOG = logging.getLogger(__name__)

FORMAT = 1


class Kind(enum.StrEnum):
    """The kinds of document; each is the name of its table."""

    NETWORK = "network"
    ADDRESS = "service_address"
    SITE = "site"


class Documents(dict[Kind, dict[str, dict[str, Any]]]):
    """All documents by kind and id."""

    def of(self, kind: Kind) -> Mapping[str, dict[str, Any]]:
        return self.get(kind, {})

    def revision(self, kind: Kind, identity: str) -> int | None:
        """The revision that is known, None if there is no such document."""
        found = self.of(kind).get(identity)
        return None if found is None else int(found["revision"])

    def copied(self) -> Documents:
        return Documents({kind: dict(found) for kind, found in self.items()})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kept:
    """What a file held. `read_at`: when it was read from the database, seconds since 1970."""

    documents: Documents
    read_at: float


class Own:
    """The writes of this process that the local database may not show yet.

    Invariant: for every document, the revisions that come out of `merged` never fall, what was
    written is there until it is removed, and what was removed stays away; whatever replica was
    read, and however far it lags.
    """

    def __init__(self) -> None:
        self._unseen: set[tuple[Kind, str]] = set()
        # Identities are never used twice, so a removal need never be forgotten.
        self._removed: set[tuple[Kind, str]] = set()
        # What another engine removed may come back, older, from a replica that lags more than the one before.
        self._highest: dict[tuple[Kind, str], int] = {}

    def wrote(self, known: Documents, kind: Kind, i: str, document: Mapping[str, Any]) -> Documents:
        """What is known after a write that was acknowledged."""
        self._unseen.add((kind, i))
        result = known.copied()
        result.setdefault(kind, {})[i] = dict(document)
        return result

    def removed(self, known: Documents, kind: Kind, i: str) -> Documents:
        """What is known after a removal that was acknowledged."""
        self._removed.add((kind, i))
        self._unseen.discard((kind, i))
        result = known.copied()
        result.get(kind, {}).pop(i, None)
        return result

    def merged(self, known: Documents, found: Documents) -> Documents:
        """What is known after reading `found` from some replica."""
        self._unseen -= {(kind, i) for kind, documents in found.items() for i in documents}
        result = found.copied()
        for kind, i in self._removed:
            result.get(kind, {}).pop(i, None)
        for kind, documents in known.items():
            for i, document in documents.items():
                read = result.revision(kind, i)
                newer = read is not None and int(document["revision"]) > read
                if newer or (kind, i) in self._unseen:
                    result.setdefault(kind, {})[i] = document
        for kind, documents in result.items():
            for i in list(documents):
                revision = int(documents[i]["revision"])
                if revision < self._highest.get((kind, i), 0):
                    del documents[i]
                else:
                    self._highest[kind, i] = revision
        return result


def read(path: Path) -> Kept | None:
    """What was kept; None when there is nothing that can be used."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            return None
        documents = Documents(
            {
                Kind(kind): {str(i): dict(d) for i, d in found.items()}
                for kind, found in content["documents"].items()
            }
        )
        return Kept(documents=documents, read_at=float(content["read_at"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        LOG.info("no declarations are kept in %s: %r", path, error)
        return None


def write(path: Path, documents: Documents, *, read_at: float) -> None:
    """Replace what is kept. Failing is logged only: the database has everything."""
    content = json.dumps({"format": FORMAT, "read_at": read_at, "documents": documents})
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Written beside and renamed, so that a crash leaves the old or the new. One name per
        # process, so that crashes leave at most one file.
        beside = path.with_suffix(f".{os.getpid()}")
        beside.touch(mode=0o600)
        beside.write_text(content, encoding="utf-8")
        beside.replace(path)
    except OSError as error:
        LOG.warning("the declarations are not kept in %s: %s", path, error.strerror)
