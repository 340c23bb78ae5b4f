"""What a host's tunnel bridge would do with packets of each network: its FDB, from flows.

Pure. It reads the tables that Neutron's Open vSwitch agent writes with L2 population: 4 (tunnel id
to local VLAN), 20 (unicast), 21 (ARP responder), 22 (flood). It tells what is there; what should be
there is decided in `isthmus.network`.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from isthmus.agent.host import flows, ovsdb

FROM_VXLAN = 4
UNICAST = 20
ARP_RESPONDER = 21
FLOOD = 22

_LEARNED_PRIORITY = 1  # Entries of L2 population have 2; the bridge learns with 1 for 300 s.


@dataclass(kw_only=True)
class Entries:
    """Entries of one network, addressed by VNI. VTEPs that have no tunnel show as `port N`."""

    unicast: dict[str, list[str]] = field(default_factory=dict)
    learned: dict[str, list[str]] = field(default_factory=dict)
    flood: list[str] = field(default_factory=list)
    arp: dict[str, str] = field(default_factory=dict)
    local_vlan: int | None = None
    """None: packets may leave with this VNI, and packets that come with it are dropped."""


@dataclass(frozen=True, kw_only=True)
class Fdb:
    """All entries of a host by VNI, and its tunnels as remote VTEP -> number of the port."""

    networks: Mapping[int, Entries]
    tunnels: Mapping[str, int]
    local: str | None

    def document(self, vni: int | None = None) -> dict[str, Any]:
        """As `GET /fdb` tells it, of all networks or of one."""
        wanted = {key: each for key, each in self.networks.items() if vni in (None, key)}
        networks = {str(key): vars(entries) for key, entries in sorted(wanted.items())}
        return {"vtep": self.local, "tunnels": dict(self.tunnels), "networks": networks}


def assemble(
    dumped: Iterable[flows.Flow], interfaces: Iterable[ovsdb.Interface], *, vtep: str | None = None
) -> Fdb:
    """The FDB of a host; `vtep` stands in when there is no tunnel yet to say the own address."""
    tunnels = [each for each in interfaces if each.type == "vxlan" and each.ofport]
    names = {str(each.ofport): each.options.get("remote_ip", each.name) for each in tunnels}
    networks = _networks(tuple(dumped), names)
    locals_ = {each.options["local_ip"] for each in tunnels if "local_ip" in each.options}
    return Fdb(
        networks=networks,
        tunnels={names[str(each.ofport)]: each.ofport for each in tunnels if each.ofport},
        local=min(locals_) if locals_ else vtep,
    )


def _networks(dumped: tuple[flows.Flow, ...], names: Mapping[str, str]) -> dict[int, Entries]:
    networks: dict[int, Entries] = defaultdict(Entries)
    vnis = _local_vlans(dumped)
    for vlan, vni in vnis.items():
        networks[vni].local_vlan = vlan
    for flow in dumped:
        # An entry belongs to the network that its packets arrive in, right or wrong.
        sent = flow.tunnel_id
        target = sent if sent is not None else vnis.get(flow.vlan or 0)
        if target is not None:
            _enter(networks[target], flow, names)
    return dict(networks)


def _enter(entries: Entries, flow: flows.Flow, names: Mapping[str, str]) -> None:
    vteps = [names.get(port, f"port {port}") for port in flow.outputs()]
    if flow.table == UNICAST and "dl_dst" in flow.match:
        learned = flow.priority <= _LEARNED_PRIORITY
        (entries.learned if learned else entries.unicast)[flow.match["dl_dst"]] = vteps
    elif flow.table == FLOOD:
        entries.flood = sorted({*entries.flood, *vteps})
    elif flow.table == ARP_RESPONDER and "arp_tpa" in flow.match:
        entries.arp[flow.match["arp_tpa"]] = _answered(flow)


def _answered(flow: flows.Flow) -> str:
    """The MAC address in the answer of the ARP responder."""
    text = flow.sets("arp_sha", "NXM_NX_ARP_SHA[]") or ""
    if ":" in text:
        return text
    digits = f"{int(text or '0', 16):012x}"
    return ":".join(digits[at : at + 2] for at in range(0, 12, 2))


def _local_vlans(dumped: Iterable[flows.Flow]) -> dict[int, int]:
    """Local VLAN -> VNI, by what the bridge does with packets that come out of tunnels."""
    found = {}
    for flow in dumped:
        if flow.table == FROM_VXLAN and "tun_id" in flow.match and (vlan := _pushed(flow)):
            found[vlan] = int(flow.match["tun_id"], 16)
    return found


def _pushed(flow: flows.Flow) -> int | None:
    """The VLAN that a flow puts on a packet; OpenFlow 1.3 sets the bit "present" (0x1000) too."""
    text = flow.sets("vlan_vid")
    if text:
        return int(text, 0) & 0x0FFF
    words = (each for each in flow.actions if each.startswith("mod_vlan_vid:"))
    return next((int(word.partition(":")[2]) for word in words), None)
