"""What a daemon of a site or a host sees of the machine's directories: its own sockets and settings in the usual places.

libvirt, Open vSwitch and Ceph look into fixed directories, and so do all who talk to them. Each daemon that needs it gets a
mount namespace in which these are the host's own; since they are the same directories underneath, daemons started at different
times meet. A host name of its own comes with it.
"""

from collections.abc import Mapping
from pathlib import Path

# The first word is the host's name, or nothing.
_ENTER = """\
[ -z "$1" ] || hostname "$1" || exit 71
shift
while [ "$1" != -- ]; do mount --bind "$1" "$2" || exit 71; shift 2; done
shift
exec "$@"
"""


def enter(argv: list[str], *, mounts: Mapping[Path, Path], hostname: str = "") -> list[str]:
    """The words that run `argv` where each target of `mounts` (source -> target) shows its source.

    Targets must be on the machine: `prepare` makes them.
    """
    pairs = [str(path) for pair in mounts.items() for path in pair]
    return [
        "unshare",
        "--mount",
        "--uts",
        "sh",
        "-c",
        _ENTER,
        "room",
        hostname,
        *pairs,
        "--",
        *argv,
    ]


def prepare(mounts: Mapping[Path, Path]) -> None:
    """Make what has to be there on both sides; a target stays an empty directory on the machine."""
    for source, target in mounts.items():
        if not source.is_file():
            source.mkdir(parents=True, exist_ok=True)
            target.mkdir(parents=True, exist_ok=True)
