"""GTID positions of MariaDB: how far a database has come, per replication domain. Values only.

Source: MariaDB documentation, "Global Transaction ID": a position is a list
`domain-server-sequence`, one element per domain; within a domain the sequence only grows.
"""

from collections.abc import Iterable
from dataclasses import dataclass


class InvalidPosition(ValueError):
    """The text is not a GTID position of MariaDB."""


@dataclass(frozen=True, order=True)
class Gtid:
    """The last transaction of one domain."""

    domain: int
    server: int
    sequence: int

    def __str__(self) -> str:
        return f"{self.domain}-{self.server}-{self.sequence}"


@dataclass(frozen=True)
class Position:
    """A set of GTIDs, one per domain, in order of the domains; empty: nothing was ever
    replicated."""

    gtids: tuple[Gtid, ...] = ()

    def __str__(self) -> str:
        return ",".join(str(gtid) for gtid in self.gtids)

    def __bool__(self) -> bool:
        return bool(self.gtids)

    @property
    def by_domain(self) -> dict[int, Gtid]:
        return {gtid.domain: gtid for gtid in self.gtids}

    def includes(self, other: "Position") -> bool:
        """Whether everything up to `other` is also here; a domain that is missing here is not
        included."""
        mine = self.by_domain
        return all(
            gtid.domain in mine and mine[gtid.domain].sequence >= gtid.sequence
            for gtid in other.gtids
        )

    def ahead_of(self, other: "Position") -> bool:
        """Whether all of `other` is here and something more."""
        return self.includes(other) and not other.includes(self)

    def joined(self, other: "Position") -> "Position":
        """The smallest position that includes both."""
        return of([*self.gtids, *other.gtids])


def of(gtids: Iterable[Gtid]) -> Position:
    """The position made of these GTIDs: the highest sequence of each domain."""
    highest: dict[int, Gtid] = {}
    for gtid in gtids:
        known = highest.get(gtid.domain)
        if known is None or gtid.sequence > known.sequence:
            highest[gtid.domain] = gtid
    return Position(tuple(highest[domain] for domain in sorted(highest)))


def parse(text: str) -> Position:
    """Read what MariaDB shows, for example `100-100-512,11-100-3`; raises `InvalidPosition`."""
    return of(_gtid(part) for part in text.replace("\n", "").split(",") if part.strip())


def _gtid(text: str) -> Gtid:
    numbers = text.strip().split("-")
    if len(numbers) != 3 or not all(n.isascii() and n.isdigit() for n in numbers):
        raise InvalidPosition(f"{text.strip()!r} is not a GTID (domain-server-sequence)")
    domain, server, sequence = (int(n) for n in numbers)
    return Gtid(domain, server, sequence)
