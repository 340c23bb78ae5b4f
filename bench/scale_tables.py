"""What `bench.scale` found so far, as rows; as tables whenever somebody wants them, be it in the middle of a run."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.metering import Reading
from bench.results import Cell, Table
from bench.scaling import ENGINE, PEERS

_RECONCILE = ("what", "ports", "until the first request", "in Neutron's bulk creates",
              "ms per port", "cheapest", "dearest", "after the last one", "in all")  # fmt: skip
_SHARE = ("what", "unit", "CPU s", "CPU ms per port", "% of all cores")
_HOST = ("what", "host", "entries", "first", "all", "all after Neutron's last answer")
_ROUND = ("what", "p50 s", "min", "max", "not converged", "requests to peers a round",
          "MiB from peers", "engine CPU s")  # fmt: skip
_STEADY = ("unit", "with", "CPU s a minute", "PSS MiB")

Rows = list[list[Cell]]


@dataclass(kw_only=True)
class Tables:
    """Rows by table. `steady`: by unit, (with what, CPU seconds a minute, PSS in MiB)."""

    reconciles: Rows = field(default_factory=list)
    shares: Rows = field(default_factory=list)
    hosts: Rows = field(default_factory=list)
    rounds: Rows = field(default_factory=list)
    steady: dict[str, list[tuple[str, float, float]]] = field(default_factory=dict)

    def used(self, label: str, used: Reading, count: int) -> None:
        """CPU of a reconcile of `count` ports by unit, the dearest first: what bounds it."""
        cores = os.cpu_count() or 1
        found = sorted(used.cpu.items(), key=lambda item: -item[1])[:8]
        for unit, seconds in [*found, ("all of the lab", sum(used.cpu.values()))]:
            share = 100 * seconds / (used.at * cores)
            self.shares.append([label, unit, seconds, 1000 * seconds / count, share])

    def tables(self) -> list[Table]:
        """Those that have rows."""
        columns: dict[str, tuple[Sequence[str], list[list[Cell]]]] = {
            "Full reconcile, seconds": (_RECONCILE, self.reconciles),
            "What bounds it: CPU during the reconcile": (_SHARE, self.shares),
            "Entries on hosts, seconds from the poke (from the plug for a host that joins)": (
                _HOST,
                self.hosts,
            ),
            "Rounds that find nothing to do": (_ROUND, self.rounds),
            "Steady cost": (_STEADY, self._steady_rows()),
        }
        return [
            Table(title=title, columns=names, rows=rows)
            for title, (names, rows) in columns.items()
            if rows
        ]

    def _steady_rows(self) -> list[list[Cell]]:
        """Those who use more than a thousandth of a core, ourselves included."""
        return [
            [unit, label, cpu, memory]
            for unit, found in sorted(self.steady.items())
            if max(cpu for _, cpu, _ in found) > 0.06 or unit in (ENGINE, PEERS)
            for label, cpu, memory in found
        ]
