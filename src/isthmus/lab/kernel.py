"""What the kernel is told about networks, and what it is asked: `ip`, `nft` and `ethtool` inside a namespace.

Only the words that several modules of the lab share. What is built with them is decided in `network` and `hosts`.
"""

import json
from typing import Any

from isthmus.lab.running import run


def batch(namespace: str | None, lines: list[str]) -> None:
    """Run `ip` commands in one process; None is the host's own namespace."""
    where = ["-n", namespace] if namespace else []
    run(["ip", *where, "-batch", "-"], stdin="\n".join(lines) + "\n")


def has_interface(namespace: str | None, name: str) -> bool:
    """Whether the namespace has an interface of that name."""
    where = ["-n", namespace] if namespace else []
    return run(["ip", *where, "link", "show", "dev", name], check=False).code == 0


def nft(namespace: str, lines: list[str]) -> None:
    """Apply nftables commands in one transaction."""
    run(["nft", "-f", "-"], namespace=namespace, stdin="\n".join(lines) + "\n")


def nft_listed(namespace: str, what: str, key: str) -> list[dict[str, Any]]:
    """Objects of one kind that nftables has, for example `counters`/`counter`."""
    done = run(["nft", "-j", "list", what], namespace=namespace)
    return [item[key] for item in json.loads(done.stdout)["nftables"] if key in item]


def veth(namespace: str, name: str, peer_namespace: str, peer: str) -> bool:
    """Make a veth pair between two namespaces; False if it is there already."""
    if has_interface(namespace, name):
        return False
    run(
        f"ip -n {namespace} link add {name} type veth peer name {peer} netns {peer_namespace}".split()
    )
    return True


def plain_frames(namespace: str, name: str) -> None:
    """Let an interface send finished frames: whole checksums, nothing for hardware to cut up.

    A veth passes frames on without a checksum because a real network card would add it. The user-space switch reads them
    as they are, and the receiver drops them: ping works, TCP stands still.
    """
    run(["ethtool", "-K", name, "tx", "off", "tso", "off", "gso", "off"], namespace=namespace)


def switch_port(namespace: str, name: str) -> None:
    """Leave what arrives at an interface to the user-space switch alone.

    The switch reads a copy of each frame; the kernel would go on to answer it as well, so that a ping comes back twice and
    every packet of a tunnel is refused with an ICMP error. The switch's copy is taken before this chain drops the frame.
    """
    batch(namespace, [f"link set {name} addrgenmode none"])
    hook = f'{{ type filter hook ingress device "{name}" priority 0; policy drop; }}'
    nft(namespace, ["add table netdev isthmus", f"add chain netdev isthmus switch_{name} {hook}"])


def forward(namespace: str) -> None:
    """Let the namespace route packets that are not for itself."""
    run(["tee", "/proc/sys/net/ipv4/ip_forward"], stdin="1\n", namespace=namespace)
