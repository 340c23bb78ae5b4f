"""Is there one writer, do all votes count, and does every replica follow, closely, what all sites share?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from isthmus.checks import servers
from isthmus.checks.facts import Facts, NotKnownError, Place
from isthmus.checks.values import RENDER, Category, Check, Flaw, differing
from isthmus.identity import config, published, replication, views, writer
from isthmus.identity.findings import Outcome
from isthmus.identity.status import LAG_LIMIT_SECONDS
from isthmus.sites.agent_documents import Database, Kind
from isthmus.sites.inventory import Role

Databases = Mapping[str, tuple[Database, ...]]

_FOUND_APART = {
    replication.Verdict.UNREACHABLE,
    replication.Verdict.LAGGING,
    writer.Verdict.UNREACHABLE,
    writer.Verdict.NON_PRIMARY,
}
"""Verdicts of agents that are findings of other checks."""

LEAST_VOTES = 3
"""With two, the loss of either stops writes."""


def _one_cluster(facts: Facts) -> None:
    if facts.inventory.topology not in views.ONE_CLUSTER:
        raise NotKnownError(f"the writer sites of a {facts.inventory.topology} form no one cluster")


def _answers(place: Place) -> Iterator[Flaw]:
    for each in place.databases:
        if each.verdict == replication.Verdict.UNREACHABLE:
            yield Flaw(cause=f"{each.name}: {each.reason}", names={"database": each.name})


def _serves(place: Place) -> Iterator[Flaw]:
    serving = any(each.serving for each in place.databases)
    for each in place.databases:
        if not each.serving and each.verdict not in _FOUND_APART:
            yield Flaw(
                cause=f"{each.name} is {each.verdict}: {each.reason}",
                severity=Outcome.WARN if serving else Outcome.ERROR,
            )


def _lag(place: Place) -> Iterator[Flaw]:
    serving = any(each.serving for each in place.databases)
    for each in place.databases:
        if each.verdict == replication.Verdict.LAGGING or (
            each.serving and (each.lag_seconds or 0) > LAG_LIMIT_SECONDS
        ):
            known = each.lag_seconds is not None
            behind = views.duration(each.lag_seconds or 0.0) if known else "by an unknown time"
            yield Flaw(
                cause=f"{each.name} lags {behind} behind {each.master or 'its master'}"
                f" (limit {LAG_LIMIT_SECONDS:g} s): {each.reason}",
                severity=Outcome.WARN if serving else Outcome.ERROR,
            )


def _home(place: Place) -> Iterator[Flaw]:
    for each in place.databases:
        if each.master and each.home and each.master != each.home:
            yield Flaw(cause=f"{each.name} follows {each.master} instead of {each.home}")


def _writer(found: Databases, facts: Facts) -> Iterator[Flaw]:
    _one_cluster(facts)
    writing = [site for site, databases in found.items() for each in databases if each.writer]
    silent = [site.name for site in facts.inventory.writers if site.name not in found]
    if len(writing) > 1:
        yield Flaw(cause=f"these say that they take the writes: {', '.join(writing)}")
    elif not writing and silent:
        raise NotKnownError(
            f"no site that was asked takes the writes; not asked: {', '.join(silent)}"
        )
    elif not writing:
        yield Flaw(
            cause="every writer site answers, and none has a database that takes the writes",
            consequence="changes are refused or queued; logins and checks of tokens go on",
        )


def _primary(place: Place) -> Iterator[Flaw]:
    nodes = [each for each in place.databases if each.cluster]
    if not nodes:
        raise NotKnownError("the site has no node of a cluster")
    for each in nodes:
        if each.cluster and each.cluster.status != "Primary":
            yield Flaw(
                cause=f"{each.name}: {each.cluster.status}, it sees {each.cluster.size} members"
            )


def _votes(found: Databases, facts: Facts) -> Iterator[Flaw]:
    _one_cluster(facts)
    clusters = [d.cluster for databases in found.values() for d in databases if d.cluster]
    primary = [each for each in clusters if each.status == "Primary"]
    if not primary:
        raise NotKnownError("no node of the primary part was seen")
    # All nodes of the primary part see the same members, so that one of them tells.
    members = set(primary[0].members)
    absent = sorted({site.name for site in facts.inventory.writers} - members)
    size = primary[0].size
    if absent:
        yield Flaw(
            cause=f"{size} votes; missing: {', '.join(absent)}",
            consequence="the next loss may stop writes at all sites",
        )
    elif size < LEAST_VOTES or size % 2 == 0:
        yield Flaw(cause=f"{size} votes: {', '.join(primary[0].members)}")


def _masters(place: Place) -> Iterator[Flaw]:
    writers = {site.name for site in place.facts.inventory.writers}
    homes = {each.home for each in place.databases if each.home}
    if absent := sorted(writers - homes):
        yield Flaw(cause=f"no replica has its home at {', '.join(absent)}")


def _filters(place: Place) -> Iterator[Flaw]:
    wanted = {f"{schema}.%" for schema in config.REPLICATED_SCHEMAS}
    for server in place.servers(Kind.REPLICA):
        found = {part.strip() for part in server.value("replicate_wild_do_table").split(",")} - {""}
        parts = []
        if found and (absent := sorted(wanted - found)):
            parts.append(f"not replicated: {', '.join(absent)}")
        if more := sorted(found - wanted):
            parts.append(f"replicated besides: {', '.join(more)}")
        if not found:
            parts.append("everything is replicated, other schemas and accounts too")
        for name in published.FILTERS:
            if name != "replicate_wild_do_table" and server.variables.get(name):
                parts.append(f"{name} is {server.variables[name]}")
        if parts:
            yield Flaw(
                cause=f"{server.name}: {'; '.join(parts)}",
                names={"database": server.name, "filter": ",".join(sorted(wanted))},
            )


def _strict(place: Place) -> Iterator[Flaw]:
    for server in place.servers(Kind.REPLICA):
        yield from servers.off(server, "gtid_strict_mode")
        skipped = server.variables.get("slave_skip_errors", "OFF")
        if skipped.upper() not in ("OFF", ""):
            yield Flaw(
                cause=f"{server.name}: slave_skip_errors is {skipped}",
                severity=Outcome.ERROR,
                consequence="changes that fail are left out without a word: sites differ in who exists and who may what",
                remedy=f"take slave_skip_errors out of the replica's file at {place.name} and restart it",
                command="mariadb -e \"SHOW GLOBAL VARIABLES LIKE 'slave_skip_errors'\"",
            )


def _binlog(place: Place) -> Iterator[Flaw]:
    for server in place.servers():
        found = []
        if not server.on("log_bin"):
            found.append("log_bin is OFF")
        if not server.on("log_slave_updates"):
            found.append("log_slave_updates is OFF")
        if server.value("binlog_format").upper() != "ROW":
            found.append(f"binlog_format is {server.value('binlog_format')}")
        if found:
            yield Flaw(cause=f"{server.name}: {', '.join(found)}")


def _stream(found: Mapping[str, Place], _facts: Facts) -> Iterator[Flaw]:
    nodes = {site: servers.node(place) for site, place in found.items()}
    for site, node in nodes.items():
        if not node.on("wsrep_gtid_mode"):
            yield Flaw(site=site, cause=f"{node.name}: wsrep_gtid_mode is OFF")
    for name in ("wsrep_gtid_domain_id", "server_id"):
        if words := differing({site: node.value(name) for site, node in nodes.items()}):
            yield Flaw(cause=f"{name} differs: {words}")


def _server_ids(found: Mapping[str, Place], _facts: Facts) -> Iterator[Flaw]:
    holders: dict[str, list[str]] = {}
    for site, place in found.items():
        for server in place.servers():
            # The nodes of the cluster share one id, because they are one stream.
            who = "the writers" if server.database.kind is Kind.WRITER else f"{site} {server.name}"
            holders.setdefault(server.value("server_id"), []).append(who)
    for number, names in holders.items():
        distinct = list(dict.fromkeys(names))
        if len(distinct) > 1:
            yield Flaw(cause=f"server_id {number}: {', '.join(distinct)}")


def _timers(found: Mapping[str, Place], _facts: Facts) -> Iterator[Flaw]:
    for option in published.PROVIDER_OPTIONS:
        if not option.startswith("evs."):
            continue
        name = f"{published.PROVIDER}.{option}"
        if words := differing({s: servers.node(p).value(name) for s, p in found.items()}):
            yield Flaw(cause=f"{option} differs: {words}")


def _segments(found: Mapping[str, Place], _facts: Facts) -> Iterator[Flaw]:
    name = f"{published.PROVIDER}.gmcast.segment"
    holders: dict[str, list[str]] = {}
    for site, place in found.items():
        holders.setdefault(servers.node(place).value(name), []).append(site)
    for segment, sites in holders.items():
        if len(sites) > 1:
            yield Flaw(cause=f"gmcast.segment {segment}: {', '.join(sites)}")


def _node(place: Place) -> Place:
    servers.node(place)
    return place


def _databases(place: Place) -> tuple[Database, ...]:
    return place.databases


CHECKS = (
    Check(
        id="database-answers",
        title="Every identity database answers its agent",
        category=Category.REPLICATION,
        severity=Outcome.ERROR,
        needs=("agent-answers",),
        consequence="reads fall back to what is left: another replica, or another site across the WAN",
        remedy="start {database} at {site}, or look at its log",
        command="isthmus identity status",
        of_site=_answers,
    ),
    Check(
        id="database-serves",
        title="Every identity database serves",
        category=Category.REPLICATION,
        severity=Outcome.WARN,
        needs=("agent-answers", "database-answers"),
        consequence="the site has no database to spare, or none: then it reads at another site",
        remedy="look at the database and the agent's log at {site}",
        command="isthmus identity status",
        of_site=_serves,
    ),
    Check(
        id="replica-lag",
        title="Replicas follow closely",
        category=Category.REPLICATION,
        severity=Outcome.WARN,
        needs=("agent-answers", "database-answers"),
        consequence="a revocation, a disabled user or a changed role made elsewhere is not known here for as long",
        remedy="look at the link to {site}, and for a long transaction at the writer",
        command="isthmus identity status",
        of_site=_lag,
    ),
    Check(
        id="replica-home",
        title="Replicas follow their own writer site",
        category=Category.REPLICATION,
        severity=Outcome.WARN,
        role=Role.REPLICA,
        needs=("agent-answers", "database-answers"),
        consequence="both replicas of the site hang on one writer site: its loss stops both until one is re-pointed",
        remedy="none while the other site is away: the agent returns it by itself",
        command="isthmus identity status",
        of_site=_home,
    ),
    Check(
        id="one-writer",
        title="One site takes the writes",
        category=Category.REPLICATION,
        severity=Outcome.ERROR,
        needs=("agent-answers",),
        consequence="two writers: changes of the same thing conflict, counters lose updates",
        remedy="look again: while the writes move, answers may be seconds apart; if it stays, look at quorum and links",
        command="isthmus identity status",
        reads=_databases,
        of_all=_writer,
    ),
    Check(
        id="quorum",
        title="Every node belongs to the majority",
        category=Category.REPLICATION,
        severity=Outcome.ERROR,
        role=Role.WRITER,
        needs=("agent-answers", "database-answers"),
        consequence="the node refuses writes, and its data grow old",
        remedy="restore the link of {site} to the other writer site or to the arbitrator",
        command="isthmus identity status",
        of_site=_primary,
    ),
    Check(
        id="votes",
        title="An odd number of votes, at least three, all there",
        category=Category.REPLICATION,
        severity=Outcome.WARN,
        needs=("agent-answers",),
        consequence="when the sites are cut in halves nobody has the majority, and writes stop everywhere",
        remedy="bring the missing member back, or add an arbitrator in a replica site",
        command="isthmus identity status",
        reads=_databases,
        of_all=_votes,
    ),
    Check(
        id="replica-of-each-writer",
        title="A replica site has a replica of each writer site",
        category=Category.REPLICATION,
        severity=Outcome.WARN,
        role=Role.REPLICA,
        needs=("agent-answers",),
        consequence="the loss of one writer site leaves this site with old data until its replica is re-pointed",
        remedy="add a replica at {site} that follows that site",
        command=RENDER,
        of_site=_masters,
    ),
    Check(
        id="replica-filters",
        title="Replicas take what all sites share, and nothing else",
        category=Category.REPLICATION,
        severity=Outcome.ERROR,
        role=Role.REPLICA,
        needs=("agent-answers", "database-answers"),
        consequence="people, roles, heartbeats or keys are missing here; what is too much may be another site's own",
        remedy="set replicate_wild_do_table of {database} at {site} as rendered, in its file too; what was missed needs a new dump",
        command="mariadb -e \"STOP SLAVE; SET GLOBAL replicate_wild_do_table='{filter}'; START SLAVE\"",
        of_site=_filters,
    ),
    Check(
        id="replica-read-only",
        title="Replicas are read-only",
        category=Category.REPLICATION,
        severity=Outcome.ERROR,
        role=Role.REPLICA,
        needs=("agent-answers", "database-answers"),
        consequence="somebody can write here: the replica breaks, or keeps what no other site has",
        remedy="switch it on at {site}, in the replica's file too, and look for transactions that no writer has",
        command='mariadb -e "SET GLOBAL read_only = ON"',
        of_site=servers.switched_on("read_only", Kind.REPLICA),
    ),
    Check(
        id="replica-strict",
        title="Replicas notice when their history differs",
        category=Category.REPLICATION,
        severity=Outcome.WARN,
        role=Role.REPLICA,
        needs=("agent-answers", "database-answers"),
        consequence="a replica that has what its master lacks goes on without a word",
        remedy="switch it on at {site}, in the replica's file too",
        command='mariadb -e "SET GLOBAL gtid_strict_mode = ON"',
        of_site=_strict,
    ),
    Check(
        id="binary-log",
        title="Every database logs rows, its own and those it applies",
        category=Category.REPLICATION,
        severity=Outcome.ERROR,
        needs=("agent-answers", "database-answers"),
        consequence="replicas cannot follow this database, and Keystones are not told what changed",
        remedy="set log_bin, log_slave_updates and binlog_format = ROW in its file at {site}, then restart it, one at a time",
        command=RENDER,
        of_site=_binlog,
    ),
    Check(
        id="one-stream",
        title="The writer sites write one stream",
        category=Category.REPLICATION,
        severity=Outcome.ERROR,
        role=Role.WRITER,
        needs=("agent-answers", "database-answers"),
        consequence="a replica cannot change from one writer site to the other by position: after a loss it needs a new dump",
        remedy="make wsrep_gtid_mode, wsrep_gtid_domain_id and server_id of all nodes equal, one node at a time",
        command=RENDER,
        reads=_node,
        of_all=_stream,
    ),
    Check(
        id="server-ids",
        title="Every replica has a server id of its own",
        category=Category.REPLICATION,
        severity=Outcome.ERROR,
        needs=("agent-answers", "database-answers"),
        consequence="a master drops one of two replicas with one id, again and again; with the master's own id it takes nothing",
        remedy="give each replica an id of its own, in its file, and restart it",
        command=RENDER,
        reads=servers.known,
        of_all=_server_ids,
    ),
    Check(
        id="galera-timers",
        title="All nodes have the same timers",
        category=Category.REPLICATION,
        severity=Outcome.WARN,
        role=Role.WRITER,
        needs=("agent-answers", "database-answers"),
        consequence="members disagree on when one is lost: a short break of a link may stop writes everywhere",
        remedy="make the evs. options of all nodes and of the arbitrator equal",
        command=RENDER,
        reads=_node,
        of_all=_timers,
    ),
    Check(
        id="galera-segments",
        title="Every writer site is a segment of its own",
        category=Category.REPLICATION,
        severity=Outcome.WARN,
        role=Role.WRITER,
        needs=("agent-answers", "database-answers"),
        consequence="every write crosses the WAN once per node, not once per site",
        remedy="give each site a gmcast.segment of its own",
        command=RENDER,
        reads=_node,
        of_all=_segments,
    ),
)
