"""What a program measured: figures and tables, as JSON and as a section of bench/RESULTS.md. Pure but for reading a file's text."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.distributions import Spread
from bench.machine import Facts

Cell = str | float | None


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One number with its unit, and whatever says how sure it is or what it was meant to be (`p99`, `min`, `max`, `aim`)."""

    value: float
    unit: str
    details: Mapping[str, str | float | bool] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """The figure as JSON."""
        return {"value": tidy(self.value), "unit": self.unit} | {
            key: tidy(value) if isinstance(value, float) else value
            for key, value in self.details.items()
        }


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table for people; every cell is text or a number (None: was not measured)."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]


@dataclass(kw_only=True)
class Result:
    """Everything that one program found. `about` says in a sentence or two how it was measured."""

    name: str
    about: str
    figures: dict[str, Figure] = field(default_factory=dict)
    tables: list[Table] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def figure(self, name: str, value: float, unit: str, **details: str | float | bool) -> None:
        """Record a number; its name is prefixed with the program's."""
        self.figures[f"{self.name}.{name}"] = Figure(value=value, unit=unit, details=details)

    def spread(self, name: str, spread: Spread, unit: str, **details: str | float | bool) -> None:
        """Record a median with its spread."""
        shown = {
            "p99": spread.p99,
            "min": spread.low,
            "max": spread.high,
            "count": spread.count,
        }
        self.figure(name, spread.p50, unit, **shown, **details)

    def aim(self, name: str, value: float, unit: str, *, at_most: float, **details: float) -> None:
        """Record a number that has an aim, and whether it was met."""
        self.figure(name, value, unit, aim_at_most=at_most, met=value <= at_most, **details)


def tidy(value: float) -> float:
    """Four significant digits: more would pretend."""
    return float(f"{value:.4g}")


def document(
    results: Sequence[Result], *, machine: Facts, command: str, date: str
) -> dict[str, Any]:
    """The JSON object of a run."""
    figures = {name: figure.document() for r in results for name, figure in r.figures.items()}
    return {"figures": figures, "machine": machine, "command": command, "date": date}


def section(result: Result, *, machine: Facts, command: str, date: str) -> str:
    """The Markdown section of one program, without its heading."""
    facts = (
        f"{machine['cores']} cores ({machine['processor']}), {machine['memory_mib']} MiB, Linux {machine['kernel']}, "
        f"Python {machine['python']}, load {machine['load']} when it began"
    )
    lines = [
        result.about,
        "",
        f"- machine: {facts}",
        f"- run: `{command}` on {date}, commit {machine['commit']}",
        *(f"- {note}" for note in result.notes),
        "",
    ]
    for table in result.tables:
        lines += [*markdown(table), ""]
    return "\n".join(lines)


def markdown(table: Table) -> list[str]:
    """A table's lines in Markdown, with its title in bold above."""
    lines = [f"**{table.title}**", "", _row(table.columns), _row("---" for _ in table.columns)]
    return [*lines, *(_row(map(shown, row)) for row in table.rows)]


def shown(cell: Cell) -> str:
    """A cell as text: numbers with four significant digits, `-` for what was not measured."""
    if cell is None:
        return "-"
    if isinstance(cell, str):
        return cell.replace("|", "\\|").replace("\n", " ")
    return f"{tidy(cell):g}" if abs(cell) < 1e6 else f"{cell:.0f}"


def _row(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"


def replace_section(text: str, name: str, body: str) -> str:
    """`text` with the section of program `name` replaced by `body`; everything else stays as it is.

    A section stands between `<!-- begin NAME -->` and `<!-- end NAME -->`. A file without them gets the section at its end.
    """
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    block = f"{begin}\n{body.strip()}\n{end}"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if pattern.search(text):
        return pattern.sub(lambda _: block, text, count=1)
    return f"{text.rstrip()}\n\n## {name}\n\n{block}\n".lstrip()
