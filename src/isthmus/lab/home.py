"""The lab's one directory: where things are, who is at work on them, and what is recorded about the lab that is up.

Under `/var/lib/isthmus` (or `$ISTHMUS_HOME`), not under the user's home: MariaDB runs as user `mysql` and must reach its data.
The record holds only what the kernel cannot tell (the environment's text, the template): which processes live is read from the
process table, which links are cut from nftables.
"""

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from isthmus.lab import environment as environments
from isthmus.lab import errors
from isthmus.lab.environment import Environment


def default_home() -> Path:
    """`$ISTHMUS_HOME`, else `/var/lib/isthmus`."""
    return Path(os.environ.get("ISTHMUS_HOME", "/var/lib/isthmus"))


@dataclass(frozen=True, kw_only=True)
class Home:
    """Paths of one lab."""

    root: Path

    @property
    def lab(self) -> Path:
        return self.root / "lab"

    @property
    def templates(self) -> Path:
        return self.root / "templates"

    @property
    def logs(self) -> Path:
        return self.lab / "logs"

    @property
    def record(self) -> Path:
        return self.lab / "lab.json"

    @property
    def clouds(self) -> Path:
        return self.lab / "clouds.yaml"

    @property
    def approver(self) -> Path:
        """clouds.yaml of the person who approves what others ask for."""
        return self.lab / "approver.yaml"

    @property
    def sites(self) -> Path:
        return self.lab / "sites.yaml"

    def unit_directory(self, unit: str) -> Path:
        return self.lab / "units" / unit

    def log(self, unit: str) -> Path:
        return self.logs / f"{unit}.log"


@dataclass(frozen=True, kw_only=True)
class Record:
    """What is known of the lab that is up: its environment (whole text), its template, when it was begun (UTC seconds)."""

    environment_text: str
    template: str
    begun: float

    @property
    def environment(self) -> Environment:
        return environments.parse(self.environment_text, source="the lab's record")


def read_record(home: Home) -> Record | None:
    """The record, or None if no lab was begun (or it was taken down)."""
    try:
        return Record(**json.loads(home.record.read_text()))
    except FileNotFoundError:
        return None


def write_record(home: Home, record: Record) -> None:
    """Write the record at once or not at all."""
    home.lab.mkdir(parents=True, exist_ok=True)
    replace(home.record, json.dumps(record.__dict__, indent=1), mode=0o600)


def require_record(home: Home) -> Record:
    """The record of the lab that is up; raises `errors.NoLab`."""
    record = read_record(home)
    if record is None:
        raise errors.NoLab(home.lab)
    return record


def replace(path: Path, text: str, *, mode: int) -> None:
    """Put `text` at `path` atomically with exactly `mode`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "w") as stream:
        os.fchmod(descriptor, mode)
        stream.write(text)
    temporary.replace(path)


# Names and addresses of the lab are the machine's: this file names the home whose lab has them.
OWNER = Path("/run/isthmus-lab.home")


def own_machine(home: Home) -> None:
    """Note that this home's lab has the machine's names; raises `errors.BadRequest` if another home's lab has them."""
    other = owner()
    if other is not None and other != home.root and read_record(Home(root=other)) is not None:
        raise errors.BadRequest(
            what="another lab holds this machine's namespaces and addresses",
            where=str(other),
            cause=f"one lab at a time. First: ISTHMUS_HOME={other} isthmus lab down",
        )
    replace(OWNER, str(home.root), mode=0o644)


def disown_machine(home: Home) -> None:
    """Forget it again."""
    if owner() == home.root:
        OWNER.unlink()


def owner() -> Path | None:
    """The home that has noted itself, if any."""
    try:
        return Path(OWNER.read_text())
    except FileNotFoundError:
        return None


@contextlib.contextmanager
def locked(home: Home, purpose: str) -> Iterator[None]:
    """Hold the lock of this home; a second command refuses politely and says who holds it.

    The lock lives as long as the process that took it, so a `kill -9` frees it.
    """
    home.root.mkdir(parents=True, exist_ok=True)
    path = home.root / "lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "r+") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise errors.Busy(
                holder=stream.read().strip() or "it did not say what", home=home.root
            ) from None
        stream.truncate(0)
        stream.write(f"pid {os.getpid()}, `{purpose}`, since {time.strftime('%H:%M:%S')}")
        stream.flush()
        yield
        stream.truncate(0)
