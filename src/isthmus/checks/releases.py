"""Does every site run releases that are safe, and that fit together?

The least safe releases are those that fix what an attacker could use against a cloud of several sites: one old site lets in for
all. Sources: MariaDB's advisory on CVE-2026-49261 (June 2026); OpenStack's advisories OSSA-2025-002 and those of May 2026
(CVE-2026-42998 to 43001, 44394), OSSA-2026-001 for keystonemiddleware.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from isthmus.checks import servers
from isthmus.checks.facts import Facts, Place
from isthmus.checks.values import Category, Check, Flaw, differing
from isthmus.identity.findings import Outcome
from isthmus.sites.agent_documents import Kind
from isthmus.sites.inventory import Role

Release = tuple[int, ...]

MARIADB = ((10, 6, 27), (10, 11, 18), (11, 4, 12), (11, 8, 8), (12, 3, 2))
"""The first safe release of each series that is looked after; releases of any other series get no corrections."""

MARIADB_SERIES_PARTS = 2
KEYSTONE = ((27, 0, 2), (28, 0, 2), (29, 0, 2))
MIDDLEWARE = ((10, 7, 2), (10, 9, 1), (10, 12, 1))


def parse(text: str) -> Release:
    """The numbers at the front of a release: 10.11.19-MariaDB-log is (10, 11, 19); empty if there are none."""
    found = re.match(r"\d+(\.\d+)*", text)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def safe(release: Release, floors: Sequence[Release], *, parts: int) -> bool:
    """Whether a release is safe. `floors`: the first safe release of each series; `parts`: how many numbers name a series.

    A series newer than all of them began after the faults were known; any other is not looked after.
    """
    series = release[:parts]
    for floor in floors:
        if floor[:parts] == series:
            return release >= floor
    return series > max(floor[:parts] for floor in floors)


def _text(release: Release) -> str:
    return ".".join(str(part) for part in release)


def _floors(floors: Sequence[Release]) -> str:
    return ", ".join(_text(floor) for floor in floors)


def _mariadb(place: Place) -> Iterator[Flaw]:
    for server in place.servers():
        version = server.value("version")
        if not safe(parse(version), MARIADB, parts=MARIADB_SERIES_PARTS):
            notified = server.variables.get("wsrep_notify_cmd")
            worse = f", and wsrep_notify_cmd is {notified}" if notified else ""
            yield Flaw(
                cause=f"{server.name} runs {version}; safe from: {_floors(MARIADB)}{worse}",
                severity=Outcome.ERROR if notified else None,
                names={"database": server.name},
            )


def _keystone(place: Place) -> Iterator[Flaw]:
    version = place.package("keystone")
    if not safe(parse(version), KEYSTONE, parts=1):
        yield Flaw(cause=f"Keystone is {version}; safe from: {_floors(KEYSTONE)}, or any of 30")


def _middleware(place: Place) -> Iterator[Flaw]:
    version = place.package("keystonemiddleware")
    found = parse(version)
    # The fault came with 10.5 and was mended in three series of 10; later ones have it mended.
    if (10, 5) <= found < MIDDLEWARE[-1] and not any(
        found[:2] == floor[:2] and found >= floor for floor in MIDDLEWARE
    ):
        yield Flaw(cause=f"keystonemiddleware is {version}; safe from: {_floors(MIDDLEWARE)}")


def _alike(releases: Mapping[str, str], _facts: Facts) -> Iterator[Flaw]:
    if words := differing(releases):
        yield Flaw(cause=words)


def _provider(place: Place) -> str:
    return servers.node(place).value("wsrep_provider_version")


def _order(found: Mapping[str, Place], _facts: Facts) -> Iterator[Flaw]:
    """A replica of an older series cannot read every event of a newer master (MariaDB documentation, replication)."""
    servers = [(site, server) for site, place in found.items() for server in place.servers()]
    masters = [parse(s.value("version"))[:2] for _, s in servers if s.database.kind is Kind.WRITER]
    for site, server in servers:
        series = parse(server.value("version"))[:2]
        if masters and server.database.kind is Kind.REPLICA and series < max(masters):
            yield Flaw(
                site=site,
                cause=f"{server.name} runs {_text(series)}, a writer {_text(max(masters))}",
                names={"database": server.name},
            )


CHECKS = (
    Check(
        id="mariadb-release",
        title="MariaDB is a safe release",
        category=Category.RELEASES,
        severity=Outcome.WARN,
        needs=("agent-answers",),
        consequence="a member of the cluster may run commands on the others' hosts (CVE-2026-49261, CVE-2026-44168)",
        remedy="upgrade {database} at {site}, one node at a time",
        command="apt-get install --only-upgrade mariadb-server",
        of_site=_mariadb,
    ),
    Check(
        id="keystone-release",
        title="Keystone is a safe release",
        category=Category.RELEASES,
        severity=Outcome.ERROR,
        needs=("agent-answers",),
        consequence="a token got here by a known fault is good at every site (CVE-2025-65073, CVE-2026-42998, CVE-2026-44394)",
        remedy="upgrade Keystone at {site}",
        command="pip show keystone",
        of_site=_keystone,
    ),
    Check(
        id="middleware-release",
        title="keystonemiddleware is a safe release",
        category=Category.RELEASES,
        severity=Outcome.ERROR,
        needs=("agent-answers",),
        consequence="headers may be forged past the filter external_oauth2_token (CVE-2026-22797)",
        remedy="upgrade keystonemiddleware at {site}",
        command="pip show keystonemiddleware",
        of_site=_middleware,
    ),
    Check(
        id="agent-releases",
        title="All agents are of one release",
        category=Category.RELEASES,
        severity=Outcome.WARN,
        needs=("agent-answers",),
        consequence="a rule that one agent knows and another does not holds in some sites only",
        remedy="finish the upgrade of the agents",
        command="isthmus check --only agent-releases",
        reads=lambda place: place.status.version,
        of_all=_alike,
    ),
    Check(
        id="galera-releases",
        title="All nodes run one release of Galera",
        category=Category.RELEASES,
        severity=Outcome.WARN,
        role=Role.WRITER,
        needs=("agent-answers",),
        consequence="the cluster keeps to the older protocol, and a fault of one release may stop both nodes",
        remedy="finish the upgrade of the nodes, one at a time, and of the arbitrator",
        command="mariadb -e \"SHOW GLOBAL STATUS LIKE 'wsrep_provider_version'\"",
        reads=_provider,
        of_all=_alike,
    ),
    Check(
        id="replica-release",
        title="No replica is older than its writers",
        category=Category.RELEASES,
        severity=Outcome.ERROR,
        needs=("agent-answers",),
        consequence="the replica stops at the first event that it does not know, and its data grow old",
        remedy="upgrade replicas before writers: {database} at {site} now",
        command="isthmus identity status",
        reads=servers.known,
        of_all=_order,
    ),
)
