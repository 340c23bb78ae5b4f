"""Takes what the guest consists of out of Debian packages that are downloaded and unpacked, never installed.

A kernel installed on this machine would ask for boot loaders and initial RAM disks here. The package index's checksum names
the content, and what was downloaded is held against it.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

from isthmus.lab import errors
from isthmus.lab.home import replace
from isthmus.lab.running import run

KERNEL = "linux-image-cloud-amd64"  # names the current kernel's package
NAMES = ("busybox-static", "qemu-guest-agent")

_INDEX = Path("/var/lib/apt/lists")

_DOWNLOAD_SECONDS = 300.0  # 28 MB over a slow line


@dataclass(frozen=True, kw_only=True)
class Package:
    """A Debian package as the index of this machine knows it."""

    name: str
    version: str
    sha256: str


def wanted(memory: Path) -> list[Package]:
    """The packages that a guest is made of today. Raises `errors.BadHost` when the index does not know them.

    The answer is kept in the file `memory` for as long as the index does not change: asking takes seconds where APT has to
    make its cache anew for every question.
    """
    stamp = _INDEX.stat().st_mtime_ns
    try:
        said = json.loads(memory.read_text())
    except (FileNotFoundError, ValueError):
        said = {}
    if said.get("stamp") == stamp:
        return [Package(**fields) for fields in said["packages"]]
    found = _ask()
    text = json.dumps({"stamp": stamp, "packages": [package.__dict__ for package in found]})
    replace(memory, text, mode=0o644)
    return found


def _ask() -> list[Package]:
    shown = _show(KERNEL, *NAMES)
    kernel = re.search(r"^Depends: .*?(linux-image-\S+-cloud-amd64)", shown, re.MULTILINE)
    if kernel is None:
        raise _unavailable(KERNEL, "the package index does not say which kernel is current")
    found = stanzas(shown + "\n" + _show(kernel.group(1)))
    if absent := [name for name in (kernel.group(1), *NAMES) if name not in found]:
        raise _unavailable(absent[0], "the package index does not know it")
    return [found[name] for name in (kernel.group(1), *NAMES)]


def _show(*names: str) -> str:
    return run(["apt-cache", "show", "--no-all-versions", *names], check=False).stdout


def stanzas(shown: str) -> dict[str, Package]:
    """The packages that `apt-cache show` tells of, by name."""
    packages = {}
    for stanza in shown.split("\n\n"):
        fields = dict(re.findall(r"^(Package|Version|SHA256): (\S+)$", stanza, re.MULTILINE))
        if len(fields) == 3:
            name = fields["Package"]
            packages[name] = Package(name=name, version=fields["Version"], sha256=fields["SHA256"])
    return packages


def unpack(package: Package, folder: Path) -> None:
    """Download a package, prove its checksum, and unpack it below `folder`. Raises `errors.BadHost`."""
    fetched = folder / "packages"
    fetched.mkdir(parents=True, exist_ok=True)
    words = ["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download"]
    where = ["sh", "-c", 'cd "$0" && exec "$@"', str(fetched)]
    done = run(
        [*where, *words, f"{package.name}={package.version}"],
        timeout=_DOWNLOAD_SECONDS,
        check=False,
    )
    found = [path for path in fetched.glob(f"{package.name}_*.deb") if _sum(path) == package.sha256]
    if not found:
        raise _unavailable(f"{package.name} {package.version}", done.stderr.strip())
    run(["dpkg-deb", "-x", str(found[0]), str(folder)], timeout=120.0)


def _sum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _unavailable(name: str, cause: str) -> errors.BadHost:
    return errors.BadHost(
        missing=[f"Debian package {name}: {cause}"], remedy="apt-get update, then the same command"
    )
