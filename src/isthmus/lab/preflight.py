"""Whether this machine can hold the lab: asked before anything is started, answered in one message."""

import os
import shutil
import sys
from pathlib import Path

from isthmus.errors import PrivilegeError
from isthmus.lab import errors, network, templates
from isthmus.lab.environment import Environment
from isthmus.lab.running import run
from isthmus.lab.template_build import free_bytes

# Commands that the lab calls, and the Debian package that brings each.
COMMANDS = {
    "ip": "iproute2",
    "bridge": "iproute2",
    "nft": "nftables",
    "mariadbd": "mariadb-server",
    "mariadb-install-db": "mariadb-server",
    "mariabackup": "mariadb-backup",
    "garbd": "galera-arbitrator-4",
    "haproxy": "haproxy",
    "memcached": "memcached",
    "socat": "socat",
}
# The same for environments with compute hosts.
HOST_COMMANDS = {
    "ethtool": "ethtool",
    "ovs-vsctl": "openvswitch-switch",
    "ovs-vswitchd": "openvswitch-switch",
    "ovsdb-server": "openvswitch-switch",
    "ping": "iputils-ping",
    "rabbitmq-server": "rabbitmq-server",
    "setpriv": "util-linux",
}
# The same for environments with computing.
COMPUTE_COMMANDS = {
    "apt-cache": "apt",
    "ceph": "ceph-common",
    "ceph-mgr": "ceph-mgr",
    "ceph-mon": "ceph-mon",
    "ceph-osd": "ceph-osd",
    "extlinux": "extlinux",
    "genisoimage": "genisoimage",
    "libvirtd": "libvirt-daemon",
    "qemu-img": "qemu-utils",
    "qemu-system-x86_64": "qemu-system-x86",
    "rbd": "ceph-common",
    "sfdisk": "fdisk",
    "virsh": "libvirt-clients",
}
FILES = {"/usr/lib/galera/libgalera_smm.so": "galera-4"}

ROOM_BYTES = 3 << 30
NAMESPACE = "isthmus-try"


def check(root: Path, environment: Environment) -> None:
    """Raise `PrivilegeError` or `errors.BadHost` that names everything that is missing, with the remedy."""
    require_root()
    if packages := missing_packages(environment):
        raise errors.BadHost(
            missing=[f"{what}: package {package}" for what, package in packages.items()],
            remedy=f"make setup   (or: apt-get install {' '.join(sorted(set(packages.values())))})",
        )
    if features := missing_features():
        raise errors.BadHost(
            missing=features,
            remedy="use a kernel with these features (Debian's has them all), or a virtual machine",
        )
    if clash := overlapping(environment):
        raise errors.BadHost(
            missing=clash,
            remedy="change `network` in a copy of the environment: isthmus lab up ./copy.yaml",
        )
    existing = next(path for path in (root, *root.parents) if path.exists())
    if (free := free_bytes(existing)) < ROOM_BYTES:
        raise errors.BadHost(
            missing=[f"{existing}: {free >> 20} MiB free, the lab needs {ROOM_BYTES >> 20}"],
            remedy="free some space or set ISTHMUS_HOME to a directory on another disk",
        )


def require_root() -> None:
    """Raise `PrivilegeError` unless this is root."""
    if os.geteuid() != 0:
        raise PrivilegeError(
            "the lab needs root: it makes network namespaces",
            unchanged="nothing was started; isthmus status, isthmus site list and the unit tests work without root",
            next_command=f"sudo {Path(sys.executable).parent}/isthmus lab up",
        )


def missing_packages(environment: Environment) -> dict[str, str]:
    """What the environment needs and is not installed, with the package that brings it."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    wanted = dict(COMMANDS)
    if any(site.hosts for site in environment.sites):
        wanted |= HOST_COMMANDS
    if templates.computing(environment):
        wanted |= COMPUTE_COMMANDS
    absent = {
        name: package for name, package in wanted.items() if shutil.which(name, path=path) is None
    }
    return absent | {name: package for name, package in FILES.items() if not Path(name).exists()}


def missing_features() -> list[str]:
    """Kernel features that do not work here, each tried in a namespace that is deleted again."""
    name = NAMESPACE
    network.remove([name])
    if (made := run(["ip", "netns", "add", name], check=False)).code != 0:
        return [f"network namespaces: {made.stderr.strip()}"]
    try:
        tried = {
            "veth": ["ip", "-n", name, "link", "add", "v0", "type", "veth", "peer", "name", "v1"],
            "bridge": ["ip", "-n", name, "link", "add", "b0", "type", "bridge"],
            "tun": ["ip", "-n", name, "tuntap", "add", "t0", "mode", "tap"],
            "vxlan": [
                "ip",
                "-n",
                name,
                "link",
                "add",
                "x0",
                "type",
                "vxlan",
                "id",
                "1",
                "dstport",
                "4789",
            ],
            "nftables (netdev)": [
                "ip",
                "netns",
                "exec",
                name,
                "nft",
                "add",
                "table",
                "netdev",
                "t",
            ],
        }
        results = {feature: run(argv, check=False) for feature, argv in tried.items()}
    finally:
        run(["ip", "netns", "delete", name])
    return [
        f"{feature}: {done.stderr.strip()}" for feature, done in results.items() if done.code != 0
    ]


def overlapping(environment: Environment) -> list[str]:
    """Routes of the host that the lab's management network would hide."""
    done = run(["ip", "-o", "route", "show", "root", str(environment.management)])
    foreign = [line for line in done.stdout.splitlines() if "isthmus-mgmt" not in line]
    return [
        f"the management network {environment.management} is in use: {line.strip()}"
        for line in foreign
    ]
