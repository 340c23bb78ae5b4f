"""What a person sees of `isthmus network trace` and `isthmus network verify`.

Pure: documents of the engine in, text out. Nothing is said by a colour alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from isthmus.cli import screens

Document = Mapping[str, Any]

TRACE_COLUMNS = ("direction", "place", "part", "outcome", "text")
PAIR_COLUMNS = (
    "source", "target", "mark", "sent", "received", "min_ms", "avg_ms", "max_ms", "whole", "beyond"
)  # fmt: skip

_SIGNS = {"INFO": "ok", "WARN": "WARN", "ERROR": "ERROR", "UNKNOWN": "?"}
_COLOURS = {"INFO": "OK", "WARN": "WARN", "ERROR": "ERROR"}


def trace(found: Document, *, colour: bool = False) -> str:
    """The verdict, both directions hop by hop, and what else is wrong."""
    a, b = found["a"], found["b"]
    head = f"{found['network']}, VNI {found['vni']}, MTU {found['mtu']}, {found['packet']}"
    parts = [
        f"{_mark(found['outcome'], colour)} {found['summary']}",
        *([_remedy(found["root"])] if found["root"] else []),
        f"{head}: from {_end(a)} to {_end(b)}",
        _hops(found["there"]),
        "replies",
        _hops(found["back"]),
        *(_fault(each, colour=colour) for each in found["faults"] if each != found["root"]),
    ]
    return "\n\n".join(parts) + "\n"


def trace_rows(found: Document) -> list[tuple[Any, ...]]:
    """One row per hop, for CSV and the like."""
    return [
        (direction, hop["place"], hop["part"], hop["outcome"], hop["text"])
        for direction in ("there", "back")
        for hop in found[direction]
    ]


def verification(report: Document, *, colour: bool = False) -> str:
    """The verdict, the matrix of sites, the pairs that fail, and why."""
    good = sum(each["reached"] for each in report["matrix"])
    outcome = "INFO" if report["reached"] else "ERROR"
    pairs, probes = len(report["pairs"]), len(report["probes"])
    head = (
        f"{_mark(outcome, colour)} {report['network']}: {good} of {pairs} pairs of {probes} probes "
        f"reach each other with packets of {report['mtu']} bytes ({report['seconds']:g} s)"
    )
    failed = [each for each in report["pairs"] if each["mark"] not in ("reached", "lossy")]
    lossy = [each for each in report["pairs"] if each["mark"] == "lossy"]
    parts = [
        head,
        *(["milliseconds, min / median / max\n" + _matrix(report)] if report["matrix"] else []),
        *([_pairs(failed + lossy)] if failed or lossy else []),
        *(_why(each, colour=colour) for each in report["traces"]),
        *(f"{_mark('ERROR', colour)} {line}" for line in report["problems"]),
        *(f"{_mark('WARN', colour)} not removed yet: {line}" for line in report["left"]),
    ]
    if any(each["beyond"] for each in report["pairs"]):
        parts.append(
            f"packets of {report['mtu'] + 1} bytes arrive too: the network could have more"
        )
    return "\n\n".join(parts) + "\n"


def pair_rows(report: Document) -> list[tuple[Any, ...]]:
    """One row per pair, for CSV and the like."""
    return [tuple(each[name] for name in PAIR_COLUMNS) for each in report["pairs"]]


def _hops(hops: Iterable[Document]) -> str:
    rows = [[each["place"], each["part"], _SIGNS[each["outcome"]], each["text"]] for each in hops]
    return screens.table(["WHERE", "WHAT", "", ""], rows)


def _end(end: Document) -> str:
    return f"{end['name'] or end['port_id']} {end['ip']} ({end['site']}/{end['host'] or '-'})"


def _remedy(fault: Document) -> str:
    return f"cause  {fault['cause']}\ntry    {fault['remedy']}"


def _fault(fault: Document, *, colour: bool) -> str:
    head = f"{_mark(fault['outcome'], colour)} {fault['code']}  {fault['summary']}"
    return f"{head}\n{_remedy(fault)}"


def _why(found: Document, *, colour: bool) -> str:
    head = f"{_mark(found['outcome'], colour)} {found['summary']}"
    return f"{head}\n{_remedy(found['root'])}" if found["root"] else head


def _matrix(report: Document) -> str:
    cells = {(each["source"], each["target"]): each for each in report["matrix"]}
    sites = sorted({site for key in cells for site in key})
    rows = [[site, *(_cell(cells.get((site, other))) for other in sites)] for site in sites]
    return screens.table(["FROM / TO", *sites], rows)


def _cell(cell: Document | None) -> str:
    if cell is None:
        return screens.UNKNOWN
    if cell["median_ms"] is None:
        return f"unreached ({cell['pairs']} pairs)"
    times = f"{cell['min_ms']:.1f} / {cell['median_ms']:.1f} / {cell['max_ms']:.1f}"
    missing = cell["pairs"] - cell["reached"]
    return f"{times} ({missing} of {cell['pairs']} fail)" if missing else times


def _pairs(pairs: Iterable[Document]) -> str:
    rows = [
        [each["source"], each["target"], each["mark"], f"{each['received']}/{each['sent']}"]
        for each in pairs
    ]
    return screens.table(["FROM", "TO", "VERDICT", "ARRIVED"], rows)


def _mark(outcome: str, colour: bool) -> str:
    name = "OK" if outcome == "INFO" else outcome
    return f"{screens.Colour[_COLOURS[outcome]]}{name}{screens.PLAIN}" if colour else name
