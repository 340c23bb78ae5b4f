"""Reads and writes the files of `isthmus identity config`: secrets are read strictly, nothing is overwritten silently."""

from __future__ import annotations

import contextlib
import enum
import os
import stat
import tempfile
from collections.abc import Sequence
from pathlib import Path

from isthmus import errors
from isthmus.identity import comparing
from isthmus.identity.comparing import Deployed, Difference
from isthmus.identity.rendering import File, Kind


class State(enum.StrEnum):
    """What becomes of a file."""

    WRITTEN = "written"
    UNCHANGED = "unchanged"
    TIGHTENED = "mode tightened"
    REPLACED = "replaced"


def read(path: Path) -> str:
    """The text of a file that a person named. Raises ConfigurationError."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        cause = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise errors.ConfigurationError(
            "cannot read the file", where=str(path), cause=cause, unchanged="nothing was written"
        ) from error


def read_secrets(path: Path) -> str:
    """The text of the file with the secrets, which must be its owner's alone. Raises ConfigurationError."""
    text = read(path)
    if path.stat().st_mode & 0o077:
        raise errors.ConfigurationError(
            "the file with the secrets is open to others",
            where=str(path),
            cause=f"mode {stat.S_IMODE(path.stat().st_mode):04o}",
            unchanged="nothing was written",
            next_command=f"chmod 0600 {path}",
        )
    return text


def look(path: Path) -> Deployed:
    """A deployed file as it is, or why it cannot be read."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        return Deployed(text=path.read_text(encoding="utf-8"), mode=mode)
    except FileNotFoundError:
        return Deployed(text=None, reason=f"there is no {path}")
    except UnicodeDecodeError:
        return Deployed(text=None, reason=f"{path} is not UTF-8 text")
    except OSError as error:
        return Deployed(text=None, reason=f"{path}: {error.strerror}")


def names(folder: Path) -> list[str]:
    """What is in a folder; nothing, if it is not there or cannot be read (its files then say so)."""
    try:
        return [each.name for each in folder.iterdir()]
    except OSError:
        return []


def differences(deployed: Path, files: Sequence[File], *, with_secrets: bool) -> list[Difference]:
    """What is deployed below a directory, held against what is rendered. Notes for firewalls are deployed nowhere."""
    compared = [file for file in files if file.kind is not Kind.FIREWALL]
    folders = {file.path.rpartition("/")[0] for file in compared if file.kind is Kind.PUBLIC_KEY}
    found = [
        difference
        for file in compared
        for difference in comparing.compare(
            file, look(deployed / file.path), with_secrets=with_secrets
        )
    ]
    there = {each: names(deployed / each) for each in folders}
    return [*found, *comparing.strangers(compared, there)]


def write(out: Path, files: Sequence[File], *, replace: bool) -> list[State]:
    """Write all files below `out`, or none: a file that is there and differs is replaced only if asked for.

    Raises IsthmusError that names the files which differ, HostError if the disk refuses.
    """
    try:
        states = [_state(out / file.path, file) for file in files]
        differ = [
            file.path for file, state in zip(files, states, strict=True) if state is State.REPLACED
        ]
        if differ and not replace:
            raise errors.IsthmusError(
                f"{len(differ)} files are there already and differ",
                where="\n".join(str(out / path) for path in differ),
                unchanged="nothing was written",
                next_command=f"isthmus identity config check --deployed {out} ... (what differs), or render with --replace",
            )
        for file, state in zip(files, states, strict=True):
            _apply(out / file.path, file, state)
    except OSError as error:
        raise errors.HostError(
            "cannot write", where=str(error.filename or out), cause=error.strerror
        ) from error
    return states


def _state(path: Path, file: File) -> State:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return State.WRITTEN
    if not stat.S_ISREG(found.st_mode):
        raise errors.IsthmusError(
            "it is there and is no plain file", where=str(path), unchanged="nothing was written"
        )
    if path.read_bytes() != file.text.encode():
        return State.REPLACED
    return State.TIGHTENED if stat.S_IMODE(found.st_mode) & ~file.mode else State.UNCHANGED


def _apply(path: Path, file: File, state: State) -> None:
    if state is State.UNCHANGED:
        return
    if state is State.TIGHTENED:
        path.chmod(file.mode)
        return
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
    # Made with mode 0600, so that nobody can read a secret in between.
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            os.fchmod(stream.fileno(), file.mode)
            stream.write(file.text.encode())
            stream.flush()
            os.fsync(stream.fileno())
        if state is State.REPLACED:
            Path(temporary).replace(path)
        else:
            # Unlike a rename this fails if somebody has made the file meanwhile.
            os.link(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            Path(temporary).unlink()
