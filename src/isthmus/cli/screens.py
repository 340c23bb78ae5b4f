"""What a person sees: reports drawn as text.

Pure: values in, text out, so that screens are tested letter by letter. Colours only add; nothing is
said by a colour alone. Formats for programs (JSON, CSV ...) are not drawn here.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence

from isthmus.identity import findings, status, views
from isthmus.identity.findings import Code, Outcome
from isthmus.sites.inventory import Role

UNKNOWN = "-"

DATABASE_TROUBLE = {
    Code.NOT_PRIMARY,
    Code.DATABASE_OUT,
    Code.REPLICA_LAGS,
    Code.AWAY_FROM_HOME,
}


class Colour(enum.StrEnum):
    """ANSI sequences for the three outcomes."""

    OK = "\033[32m"
    WARN = "\033[33m"
    ERROR = "\033[31m"


PLAIN = "\033[0m"


def overview(report: status.Report, *, colour: bool = False) -> str:
    """`isthmus status`: headline, one row per site, findings."""
    header = ["SITE", "REGION", "API", "IDENTITY", "KEYS", "QUEUE", "AGE"]
    rows = [_overview_row(row, report) for row in report.sites]
    parts = [
        headline("isthmus", report, number_of(len(report.sites), "site"), colour=colour),
        table(header, rows),
        *described(report.findings, colour=colour),
    ]
    return "\n\n".join(parts) + "\n"


def replication(report: status.Report, *, colour: bool = False) -> str:
    """`isthmus identity status`: headline, databases, keys and queues, findings."""
    databases = ["SITE", "DATABASE", "VERDICT", "LAG", "FOLLOWS", "POSITION", "QUORUM", "AGE"]
    keys = ["SITE", "TOKEN KEYS", "CREDENTIAL KEYS", "QUEUE", "OLDEST", "AGE"]
    subject = number_of(len(report.databases), "database")
    parts = [
        headline("identity", report, subject, colour=colour),
        table(databases, [row for site in report.sites for row in _database_rows(site, report)]),
        table(keys, [_keys_row(site) for site in report.sites]),
        *described(report.findings, colour=colour),
    ]
    return "\n\n".join(parts) + "\n"


def headline(subject: str, report: status.Report, counted: str, *, colour: bool) -> str:
    """Verdict, what was looked at, how many findings, when."""
    number = {
        outcome: sum(each.outcome is outcome for each in report.findings) for outcome in Outcome
    }
    counts = [counted]
    if number[Outcome.ERROR]:
        counts.append(number_of(number[Outcome.ERROR], "error"))
    if number[Outcome.WARN]:
        counts.append(number_of(number[Outcome.WARN], "warning"))
    moment = report.document()["time"].replace("T", " ")
    left = f"{subject}: {report.outcome}   {', '.join(counts)}"
    # Padded before it is coloured: the sequences have no width.
    line = f"{left:<58} {moment}"
    return line.replace(str(report.outcome), coloured(report.outcome, colour), 1)


def described(found: Iterable[findings.Finding], *, colour: bool) -> list[str]:
    """Each finding with its cause and what to try."""
    return [_described(finding, colour=colour) for finding in found]


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns aligned to the left, two spaces apart, without trailing blanks."""
    lines = [list(header), *(list(row) for row in rows)]
    widths = [max(len(line[n]) for line in lines) for n in range(len(header))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _described(finding: findings.Finding, *, colour: bool) -> str:
    place = f"  {finding.site}" if finding.site else ""
    pad = " " * (len(finding.outcome) + 1)
    return "\n".join(
        [
            f"{coloured(finding.outcome, colour)} {finding.code}{place}  {finding.summary}",
            f"{pad}cause  {finding.cause}",
            f"{pad}try    {finding.remedy}",
        ]
    )


def coloured(outcome: Outcome, colour: bool) -> str:
    return f"{Colour[outcome.name]}{outcome}{PLAIN}" if colour else str(outcome)


def number_of(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _overview_row(row: status.SiteRow, report: status.Report) -> list[str]:
    troubled = any(
        each.site == row.site and each.code in DATABASE_TROUBLE for each in report.findings
    )
    return [
        row.site,
        row.region,
        _api(row),
        _marked(_kept(_identity(row), row.stale), troubled),
        _marked(_kept(row.keys.get("token", UNKNOWN), row.stale), row.keys_agree is False),
        _pending(row),
        _age(row.age_seconds, row.stale),
    ]


def _api(row: status.SiteRow) -> str:
    if row.api_latency_ms is None:
        return _marked(row.api, True)
    return f"{row.api} {row.api_latency_ms:.0f} ms"


def _identity(row: status.SiteRow) -> str:
    """Writer and standby say their quorum, replicas how many serve and how far behind they are."""
    if row.database is None:
        return UNKNOWN
    if row.role is Role.REPLICA:
        lag = f", lag {views.duration(row.lag_seconds)}" if row.lag_seconds is not None else ""
        return f"replica {row.database}{lag}"
    name = "writer" if row.writer else "standby"
    return f"{name} {row.database}" + (f", {row.quorum}" if row.quorum else "")


def _pending(row: status.SiteRow) -> str:
    if row.queue_pending is None:
        return UNKNOWN
    return _marked(_kept(str(row.queue_pending), row.stale), row.queue_pending > 0)


def _marked(text: str, troubled: bool) -> str:
    return f"{text} !" if troubled else text


def _kept(text: str, stale: bool) -> str:
    """Values of an earlier look stand in parentheses: they may no longer be true."""
    return f"({text})" if stale else text


def _age(seconds: float | None, stale: bool) -> str:
    if seconds is None:
        return UNKNOWN
    return views.duration(seconds) + (" old" if stale else "")


def _database_rows(site: status.SiteRow, report: status.Report) -> list[list[str]]:
    rows = [_database_row(row) for row in report.databases if row.site == site.site]
    reason = site.reason or "no agent"
    return rows or [[site.site, UNKNOWN, f"not known ({reason})", *[UNKNOWN] * 5]]


def _database_row(row: status.DatabaseRow) -> list[str]:
    lag = UNKNOWN if row.lag_seconds is None else views.duration(row.lag_seconds)
    writer = ", writer" if row.writer else ""
    return [
        row.site,
        row.database,
        _marked(_kept(f"{row.verdict}{writer}", row.stale), not row.serving),
        lag,
        row.master or UNKNOWN,
        row.position or UNKNOWN,
        row.quorum or UNKNOWN,
        _age(row.age_seconds, row.stale),
    ]


def _keys_row(row: status.SiteRow) -> list[str]:
    oldest = row.queue_oldest_seconds
    return [
        row.site,
        _marked(_kept(row.keys.get("token", UNKNOWN), row.stale), row.keys_agree is False),
        _kept(row.keys.get("credential", UNKNOWN), row.stale),
        _pending(row),
        UNKNOWN if oldest is None else views.duration(oldest),
        _age(row.age_seconds, row.stale),
    ]
