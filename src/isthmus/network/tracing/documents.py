"""Traces and reports as JSON documents: what the API answers and the faces show."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from isthmus.network.tracing import matrix
from isthmus.network.tracing.facts import End, Facts
from isthmus.network.tracing.faults import Fault
from isthmus.network.tracing.verdicts import Trace
from isthmus.network.tracing.walking import Hop


def trace(facts: Facts, found: Trace) -> dict[str, Any]:
    """A trace: the verdict first, then both directions hop by hop."""
    return {
        "network": facts.network,
        "vni": facts.vni,
        "mtu": facts.mtu,
        "packet": str(facts.packet),
        "a": _end(facts.a),
        "b": _end(facts.b),
        "outcome": str(found.outcome),
        "summary": found.summary,
        "root": fault(found.root) if found.root else None,
        "faults": [fault(each) for each in found.faults],
        "there": [_hop(each) for each in found.there],
        "back": [_hop(each) for each in found.back],
    }


def fault(each: Fault) -> dict[str, Any]:
    """A fault: code, outcome, place, summary, cause, remedy."""
    return {name: str(value) for name, value in dataclasses.asdict(each).items()}


def report(
    network: str,
    mtu: int,
    pairs: Iterable[matrix.Pair],
    problems: Iterable[str],
    traces: Iterable[dict[str, Any]],
) -> dict[str, Any]:
    """What a verification found. `reached`: every pair, and no host was left out."""
    found, trouble = tuple(pairs), list(problems)
    probes = {each.source.port_id: each.source for each in found}
    return {
        "network": network,
        "mtu": mtu,
        "reached": not trouble and all(pair.good for pair in found) and bool(found),
        "probes": [dataclasses.asdict(each) for each in probes.values()],
        "pairs": [_pair(each) for each in found],
        "matrix": [dataclasses.asdict(each) for each in matrix.cells(found)],
        "problems": trouble,
        "traces": list(traces),
    }


def _pair(pair: matrix.Pair) -> dict[str, Any]:
    numbers = ("sent", "received", "min_ms", "avg_ms", "max_ms", "whole", "beyond")
    return {
        "source": pair.source.place,
        "target": pair.target.place,
        "mark": str(pair.mark),
        **{name: getattr(pair, name) for name in numbers},
    }


def _end(end: End) -> dict[str, Any]:
    return {
        "site": end.site,
        "host": end.port.host,
        "port_id": end.port.id,
        "name": end.port.name,
        "ip": end.ip,
        "mac": end.port.mac,
        "vtep": end.port.vtep_ip,
    }


def _hop(hop: Hop) -> dict[str, Any]:
    return {
        "place": hop.place,
        "part": hop.part,
        "text": hop.text,
        "outcome": str(hop.outcome) if hop.outcome else "UNKNOWN",
        "fault": str(hop.fault.code) if hop.fault else None,
    }
