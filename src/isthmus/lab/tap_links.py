"""Heals one race on a compute host: a guest's interface that stays administratively down although Neutron and Nova call it active.

libvirt sets a new interface up while the switch, which was told of it before, reads and writes its flags; now and then (one in
sixty when it was tried) the switch wins, and the guest never gets a packet. This program follows the switch's database and sets
such an interface up. Runs as a process of its own on each host: `python -m isthmus.lab.tap_links DATABASE`.
"""

import json
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

_COLUMNS = "name,admin_state,external_ids"
_GONE = ("delete", "old")


@dataclass(frozen=True, kw_only=True)
class Interface:
    """One interface of the switch: its name, whether it is a port of Neutron's, its administrative state."""

    name: str
    plugged: bool
    admin_state: str | None


def rows(text: str) -> list[Interface]:
    """Read a table as `ovs-vsctl` and `ovsdb-client monitor` print it with `--format=json`; what is gone is left out."""
    table = json.loads(text)
    named = [dict(zip(table["headings"], row, strict=True)) for row in table["data"]]
    return [_interface(row) for row in named if row.get("action") not in _GONE]


def _interface(row: dict[str, Any]) -> Interface:
    ids = dict(row["external_ids"][1]) if isinstance(row["external_ids"], list) else {}
    state = row["admin_state"] if isinstance(row["admin_state"], str) else None
    return Interface(name=str(row["name"]), plugged="iface-id" in ids, admin_state=state)


def down(interfaces: Iterable[Interface]) -> list[str]:
    """Names of guests' interfaces that are down and must not be."""
    return [
        i.name
        for i in interfaces
        if i.plugged and i.name.startswith("tap") and i.admin_state == "down"
    ]


def main() -> None:
    """Follow the database for ever; ends when the database does, and whoever started it sees that."""
    words = ["ovsdb-client", "--format=json", "monitor", sys.argv[1], "Open_vSwitch", "Interface"]
    with subprocess.Popen([*words, _COLUMNS], stdout=subprocess.PIPE, text=True) as monitor:
        for line in monitor.stdout or ():
            for name in down(rows(line)):
                # One that is being deleted is gone meanwhile: no matter.
                subprocess.run(["ip", "link", "set", name, "up"], check=False, timeout=10)
                print(f"set {name} up", flush=True)


if __name__ == "__main__":
    main()
