"""Flows of an Open vSwitch bridge as values, parsed from what `ovs-ofctl dump-flows` prints.

Pure. It understands the dumps of OpenFlow 1.0, 1.3 and 1.4, which word the same action differently
(`load:0xfa1->NXM_NX_TUN_ID[]`, `set_field:0xfa1->tun_id`). What a flow means is not decided here.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

_BETWEEN = re.compile(r"[,\s]+")
# Commas inside parentheses belong to an action, as in learn(table=20,priority=1).
_ACTIONS = re.compile(r"(?:[^,(]|\([^)]*\))+")
# These stand before the match; dumps of OpenFlow 1.3 and later have more of them.
_PROPERTIES = frozenset({
    "cookie", "duration", "table", "n_packets", "n_bytes", "idle_timeout", "hard_timeout",
    "idle_age", "hard_age", "importance", "send_flow_rem", "check_overlap", "reset_counts",
    "no_packet_counts", "no_byte_counts",
})  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Flow:
    """One flow. `match` has the fields as printed; a protocol word (`arp`) has the value ''."""

    table: int
    priority: int
    match: Mapping[str, str]
    actions: tuple[str, ...]
    packets: int | None = None

    def outputs(self) -> tuple[str, ...]:
        """The ports that it sends to, numbers or names, in the order of the flow."""
        texts = (each for each in self.actions if each.startswith("output:"))
        return tuple(text.removeprefix("output:").strip('"') for text in texts)

    def sets(self, *names: str) -> str | None:
        """The last value that it writes into a field; `names`: all names the field goes by."""
        written = [_written(action) for action in self.actions]
        values = [each[1] for each in written if each and each[0] in names]
        return values[-1] if values else None

    @property
    def vlan(self) -> int | None:
        """The VLAN that it matches. Learned flows match it inside the tag control field."""
        if "dl_vlan" in self.match:
            return int(self.match["dl_vlan"], 0)
        value, _, mask = self.match.get("vlan_tci", "").partition("/")
        return int(value, 16) & 0x0FFF if value and int(mask or "0", 16) & 0x0FFF else None

    @property
    def tunnel_id(self) -> int | None:
        """The tunnel id that it sends with."""
        text = self.sets("tun_id", "NXM_NX_TUN_ID[]")
        return int(text, 16) if text else None


def parse(dump: str) -> tuple[Flow, ...]:
    """All flows of a dump; lines that are no flow (the reply's header) are skipped."""
    return tuple(_flow(line) for line in dump.splitlines() if " actions=" in line)


def _flow(line: str) -> Flow:
    head, _, actions = line.strip().partition(" actions=")
    parts = (word.partition("=") for word in _BETWEEN.split(head) if word)
    words = {name: value for name, _, value in parts}
    packets = words.get("n_packets")
    return Flow(
        table=int(words.get("table", "0")),
        priority=int(words.pop("priority", "32768")),
        match={name: value for name, value in words.items() if name not in _PROPERTIES},
        actions=tuple(text.strip() for text in _ACTIONS.findall(actions)),
        packets=int(packets) if packets is not None else None,
    )


def _written(action: str) -> tuple[str, str] | None:
    """The field that an action writes, and the value."""
    kind, _, rest = action.partition(":")
    if kind not in ("load", "set_field"):
        return None
    value, _, name = rest.rpartition("->")
    return name, value
