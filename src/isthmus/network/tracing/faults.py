"""What can keep one port from reaching another: codes, and the order in which one explains others.

Pure. A fault says what, where, why and what to do about it; the first in the order is the verdict,
because what stands above makes what stands below: without a remote port there is no FDB entry,
without an entry nothing arrives.
"""

from __future__ import annotations

import dataclasses
import enum

from isthmus.outcomes import Outcome


class Code(enum.StrEnum):
    """What kind of fault; stable, for scripts. In the order of explanation."""

    SITE_SILENT = "site-silent"
    NETWORK_MISSING = "network-missing"
    VNI_DIFFERS = "vni-differs"
    PORT_DISABLED = "port-disabled"
    PORT_UNBOUND = "port-unbound"
    NO_ADDRESS = "no-address"
    PORT_NOT_PLUGGED = "port-not-plugged"
    PORT_DOWN = "port-down"
    REMOTE_PORT_MISSING = "remote-port-missing"
    REMOTE_PORT_DIFFERS = "remote-port-differs"
    REMOTE_PORT_DOWN = "remote-port-down"
    ENTRY_MISSING = "fdb-entry-missing"
    ENTRY_WRONG = "fdb-entry-wrong"
    ARP_WRONG = "arp-entry-wrong"
    ARP_MISSING = "arp-entry-missing"
    FLOOD_MISSING = "flood-entry-missing"
    TUNNEL_MISSING = "tunnel-port-missing"
    VNI_NOT_RECEIVED = "vni-not-received"
    UNDERLAY_DOWN = "underlay-down"
    GROUP_BLOCKS = "security-group-blocks"
    MTU_HOLE = "mtu-hole"
    MTU_DIFFERS = "mtu-differs"
    AGENT_DEAD = "agent-dead"
    HOST_SILENT = "host-silent"

    @property
    def rank(self) -> int:
        return list(Code).index(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fault:
    """One thing that is wrong. `place`: `site` or `site/host`. `remedy`: what to type or do."""

    code: Code
    outcome: Outcome
    place: str
    summary: str
    cause: str
    remedy: str


def first(faults: tuple[Fault, ...]) -> Fault | None:
    """The fault that explains most: the worst, and of these the first in the order."""
    return min(faults, key=lambda each: (-each.outcome.exit_code, each.code.rank), default=None)
