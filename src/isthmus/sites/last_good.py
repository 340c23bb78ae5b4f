"""The last good answer of each site's agent, kept on disk.

It exists so that the row of a dead site can still show what was last known, with its age. It is a
cache: losing it costs nothing, so reading a broken one and failing to write one are no errors. It
holds no secrets (digests of keys, no keys), but is readable by its owner only.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
import logging
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from isthmus import errors
from isthmus.sites import agent_documents
from isthmus.sites.inventory import Site

LOG = logging.getLogger(__name__)

FORMAT = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kept:
    """An agent's answer and when it was received, by this host's clock, in UTC."""

    status: agent_documents.AgentStatus
    document: Any
    observed_at: datetime.datetime


def place(environment: Mapping[str, str]) -> Path:
    """Where the cache is: below $XDG_CACHE_HOME, else ~/.cache."""
    base = Path(environment.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return base / "isthmus" / "status.json"


def read(path: Path, sites: Iterable[Site]) -> dict[str, Kept]:
    """What is kept of these sites, by name. Whatever cannot be read is left out."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["sites"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        LOG.debug("no last good answers in %s: %r", path, error)
        return {}
    kept = {}
    for site in sites:
        with contextlib.suppress(KeyError, TypeError, ValueError, errors.InputError):
            kept[site.name] = _entry(entries[_key(site)], site)
    return kept


def write(path: Path, sites: Iterable[Site], kept: Mapping[str, Kept]) -> None:
    """Replace the answers of these sites; those of other sites files stay."""
    entries = {}
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        entries = dict(json.loads(path.read_text(encoding="utf-8"))["sites"])
    for site in sites:
        if site.name in kept:
            entries[_key(site)] = _document(kept[site.name])
    try:
        _replace(path, json.dumps({"format": FORMAT, "sites": entries}))
    except OSError as error:
        LOG.info("the last good answers were not kept in %s: %s", path, error.strerror)


def _key(site: Site) -> str:
    """Sites of different sites files may share a name, but not the address of their agents."""
    return f"{site.name} {site.agent}"


def _entry(entry: Any, site: Site) -> Kept:
    observed_at = datetime.datetime.fromisoformat(entry["observed_at"])
    if observed_at.tzinfo is None:
        raise ValueError("a time without a zone")
    document = entry["document"]
    status = agent_documents.parse(document, site=site.name)
    return Kept(status=status, document=document, observed_at=observed_at)


def _document(kept: Kept) -> dict[str, Any]:
    return {"observed_at": kept.observed_at.isoformat(), "document": kept.document}


def _replace(path: Path, text: str) -> None:
    """Write beside and rename: two commands at the same time must not mix their answers."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # mkstemp makes files with mode 0600.
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".status-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(temporary).replace(path)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
        raise
