"""The report as one HTML page that needs nothing else: no script, no font, no network.

It is what is kept as evidence of a drill, mailed and printed. Everything in it is escaped: names of
groups and servers come from people.
"""

from __future__ import annotations

import html
from collections.abc import Iterable

from isthmus.operations import reporting
from isthmus.operations.reporting import Report, StepLine

_STYLE = """
body{font:15px/1.45 system-ui,sans-serif;color:#1c2430;background:#fff;margin:2rem auto;max-width:60rem;padding:0 1rem}
h1{font-size:1.4rem;margin:0 0 .3rem}h2{font-size:1.05rem;margin:1.8rem 0 .5rem}
.outcome{display:inline-block;padding:.1rem .6rem;border-radius:.8rem;font-weight:600;background:#e6e9ee}
.succeeded,.done{background:#d8f0dd}.failed,.ERROR{background:#f9d9d6}
.rolled-back,.refused,.not-approved,.skipped,.WARN{background:#fbeecb}
table{border-collapse:collapse;width:100%}
td,th{text-align:left;padding:.25rem .6rem;border-bottom:1px solid #e3e6ea;vertical-align:top}
th{font-weight:600}td.number{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.bar{background:#eef1f5;height:.7rem;position:relative;min-width:10rem}
.bar i{position:absolute;top:0;bottom:0;background:#4a78b5;min-width:2px}
.error{color:#9b1c12}.note{font-size:.9em}@media(prefers-color-scheme:dark){body{background:#14181d;color:#dfe5ec}
td,th{border-color:#2c333c}.bar{background:#222a33}.outcome,.succeeded,.failed,.rolled-back{color:#14181d}.error{color:#ff9c92}}
"""


def to_html(found: Report) -> str:
    """The page."""
    title = html.escape(reporting.headline(found))
    outcome = str(found.outcome or found.phase)
    parts = [
        "<!doctype html>",
        f'<html lang="en"><head><meta charset="utf-8"><title>{title}</title>',
        '<meta name="viewport" content="width=device-width,initial-scale=1">',
        f"<style>{_STYLE}</style></head><body>",
        f'<h1>{title}</h1><p class="outcome {html.escape(outcome)}">{html.escape(outcome)}</p>',
        _pairs("Operation", reporting.people(found)),
        _pairs("Reached", reporting.figure_lines(found.figures)),
        _steps(found),
        _list("Skipped", (f"{each.step}: {each.reason} ({each.by.name})" for each in found.skips)),
        _list("Prechecks", (f"{each.level}: {each.summary}" for each in found.findings)),
        _list("Left behind", found.left),
        "</body></html>",
    ]
    return "\n".join(part for part in parts if part) + "\n"


def _pairs(title: str, pairs: list[tuple[str, str]]) -> str:
    rows = "".join(
        f"<tr><th>{html.escape(name)}</th><td>{html.escape(text)}</td></tr>" for name, text in pairs
    )
    return f"<h2>{title}</h2><table>{rows}</table>" if rows else ""


def _list(title: str, lines: Iterable[str]) -> str:
    items = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
    return f"<h2>{title}</h2><ul>{items}</ul>" if items else ""


def _steps(found: Report) -> str:
    steps = found.steps
    if not steps:
        return ""
    begin = min(each.began_at for each in steps)
    span = max((each.began_at - begin + (each.seconds or 0.0) for each in steps), default=0.0)
    rows = "".join(_row(each, reporting.counted(found, each), begin, span or 1.0) for each in steps)
    head = "<tr><th>Step</th><th>State</th><th>Tries</th><th>Time</th><th>When</th></tr>"
    return f"<h2>Steps</h2><table>{head}{rows}</table>"


def _row(step: StepLine, numbers: str, begin: float, span: float) -> str:
    left = 100 * (step.began_at - begin) / span
    width = 100 * (step.seconds or 0.0) / span
    error = f'<div class="error">{html.escape(step.error)}</div>' if step.error else ""
    notes = "".join(
        f'<div class="{"error" if note.error else "note"}">{html.escape(note.line)}</div>'
        for note in step.notes
    )
    if numbers:
        notes += f'<div class="note">{html.escape(numbers)}</div>'
    bar = f'<div class="bar"><i style="left:{left:.2f}%;width:{width:.2f}%"></i></div>'
    return (
        f"<tr><td>{html.escape(step.title)}{error}{notes}</td>"
        f'<td><span class="outcome {step.state}">{step.state}</span></td>'
        f'<td class="number">{step.attempts}</td>'
        f'<td class="number">{reporting.duration(step.seconds)}</td><td>{bar}</td></tr>'
    )
