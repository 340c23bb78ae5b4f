"""Token key repositories on disk: their digest, their validity, and putting a new set in place at
once.

The format is Keystone's: a directory of files named by number, each a Fernet key; 0 is staged, the
highest is primary. Beside them lies a mark, which Keystone does not take for a key (its name is no
number): by which revision of the document they were made, and whether this site is fenced. It changes
in the same step as the keys. When to rotate and how keys travel is not decided here.
"""

import base64
import binascii
import ctypes
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
GRACE_SECONDS = 30.0
"""How long a directory that was replaced is kept. A reader that has opened it and not listed it yet must
not find it half empty: Keystone would sign with the highest index of those that are left."""
MARK = "isthmus.json"
"""The name of the mark; `isthmus.plugins.keystone.fencing` reads it too."""


class KeyRepositoryError(Exception):
    """A key repository cannot be read or replaced; the text says which, why, what was changed and
    what to do."""


@dataclass(frozen=True, kw_only=True)
class Repository:
    """What may be told about a repository: `digest` (sha256, hex) is equal where the keys are equal
    and tells nothing about them (each key has 256 random bits); `keys` is their number, `primary`
    the index of the signing key."""

    digest: str
    keys: int
    primary: int


@dataclass(frozen=True, kw_only=True)
class Mark:
    """What a repository was made by: `revision` of the document (0: it is not looked after); why its
    site is `fenced`, None if it is not."""

    revision: int = 0
    fenced: str | None = None


def describe(keys: Mapping[int, bytes]) -> Repository:
    """Digest, number and primary index of a set of keys; raises `KeyRepositoryError` if one is not
    a Fernet key."""
    check(keys, "the set of keys")
    digest = hashlib.sha256()
    for index in sorted(keys):
        digest.update(b"%d:%s\n" % (index, keys[index]))
    return Repository(digest=digest.hexdigest(), keys=len(keys), primary=max(keys))


def inspect(path: Path) -> Repository:
    """The repository at `path`; raises `KeyRepositoryError`."""
    return describe(load(path))


def load(path: Path) -> dict[int, bytes]:
    """The keys of the repository at `path` by index; files that are not named by a number are not
    keys."""
    try:
        files = {int(p.name): p for p in path.iterdir() if p.name.isascii() and p.name.isdigit()}
        keys = {index: file.read_bytes().strip() for index, file in files.items()}
    except OSError as error:
        raise KeyRepositoryError(
            f"key repository {path} cannot be read: {error.strerror}. Nothing was changed. "
            "Check that it exists and belongs to the user that reads it"
        ) from error
    check(keys, f"key repository {path}")
    return keys


def check(keys: Mapping[int, bytes], where: str) -> None:
    """Raise `KeyRepositoryError` unless there are keys and each is 32 bytes in URL-safe base64
    (Fernet specification)."""
    if not keys:
        raise KeyRepositoryError(
            f"{where} holds no key. Nothing was changed. Copy the keys of another site there"
        )
    for index, key in keys.items():
        if index < 0 or not _valid(key):
            raise KeyRepositoryError(
                f"{where}: key {index} is not a Fernet key (32 bytes in URL-safe base64). "
                "Nothing was changed. Copy the keys of another site there"
            )


def _valid(key: bytes) -> bool:
    try:
        return len(key) == 44 and len(base64.b64decode(key, altchars=b"-_", validate=True)) == 32
    except (binascii.Error, ValueError):
        return False


def mark(path: Path) -> Mark:
    """The mark of the repository at `path`; one that is missing or damaged says nothing."""
    try:
        found = json.loads((path / MARK).read_bytes())
        fenced = found["fenced"]
        return Mark(revision=int(found["revision"]), fenced=fenced and str(fenced))
    except (OSError, ValueError, KeyError, TypeError):
        return Mark()


def sweep(path: Path, age: float = GRACE_SECONDS) -> None:
    """Remove what installations have left beside the repository, if it is older than `age` seconds: the
    directory that was replaced, and the one that a killed installation was filling."""
    try:
        for left in path.parent.glob(f".{path.name}.*"):
            # Its inode changed last when it was moved.
            if time.time() - left.stat().st_ctime >= age:
                shutil.rmtree(left, ignore_errors=True)
    except OSError:
        return


def install(path: Path, keys: Mapping[int, bytes], said: Mark | None = None) -> Repository:
    """Make the repository at `path` hold exactly `keys`, at once: a reader sees the old set or the
    new one. One process at a time does this to a repository.

    The directory gets mode 0700, its files 0600; the owner stays that of the old directory, else
    the parent's. The old directory stays beside it, under a name with a dot, until a `sweep`. Raises
    `KeyRepositoryError`; then the old repository is as it was.
    """
    repository = describe(keys)
    sweep(path)
    try:
        owner = (path if path.exists() else path.parent).stat()
        fresh = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        try:
            _fill(fresh, keys, said, owner)
            _swap(fresh, path)
        except BaseException:
            shutil.rmtree(fresh, ignore_errors=True)
            raise
        _sync(path.parent)
    except OSError as error:
        raise KeyRepositoryError(
            f"key repository {path} could not be replaced: {error.strerror}. The old keys are in place. "
            f"Check the rights on {path.parent} and its free space, then try again"
        ) from error
    return repository


def _fill(
    folder: Path, keys: Mapping[int, bytes], said: Mark | None, owner: os.stat_result
) -> None:
    contents = {str(index): key for index, key in keys.items()}
    if said is not None:
        text = json.dumps({"revision": said.revision, "fenced": said.fenced})
        contents[MARK] = text.encode()
    for name, content in contents.items():
        file = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(file, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.chown(folder / name, owner.st_uid, owner.st_gid)
    folder.chmod(0o700)
    os.chown(folder, owner.st_uid, owner.st_gid)
    _sync(folder)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _swap(fresh: Path, path: Path) -> None:
    """Exchange two directories in one step (renameat2); what was at `path` is at `fresh`
    afterwards."""
    if not path.exists():
        fresh.rename(path)
        return
    libc = ctypes.CDLL(None, use_errno=True)
    ends = (os.fsencode(fresh), os.fsencode(path))
    if libc.renameat2(_AT_FDCWD, ends[0], _AT_FDCWD, ends[1], _RENAME_EXCHANGE) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(path))
