"""Findings on the identity of all sites: what is not as it should be, why, and what to do.

It exists apart from the rows so that every finding is one small function over values. It is no
registry of checks: it judges only what one look at the sites tells. One dead site makes one
finding, not one for each thing that could not be asked of it.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable, Iterator, Sequence

from isthmus.identity import views
from isthmus.identity.views import View
from isthmus.sites import agent_documents
from isthmus.sites.inventory import Inventory, Role, Site


class Outcome(enum.StrEnum):
    """How bad it is. Worst first is the order of findings."""

    OK = "OK"
    WARN = "WARN"
    ERROR = "ERROR"

    @property
    def exit_code(self) -> int:
        return list(Outcome).index(self)


class Code(enum.StrEnum):
    """What kind of finding; stable, for scripts and documentation."""

    SITE_DOWN = "site-down"
    API_DOWN = "api-down"
    LOGIN_FAILED = "login-failed"
    REGION_MISSING = "region-missing"
    AGENT_SILENT = "agent-silent"
    NO_WRITER = "no-writer"
    WRITER_UNKNOWN = "writer-unknown"
    TWO_WRITERS = "two-writers"
    NOT_PRIMARY = "not-primary"
    QUORUM_THIN = "quorum-thin"
    DATABASE_OUT = "database-out"
    REPLICA_LAGS = "replica-lags"
    AWAY_FROM_HOME = "away-from-home"
    KEYS_DIFFER = "keys-differ"
    KEYS_UNREADABLE = "keys-unreadable"
    QUEUE_WAITING = "queue-waiting"
    QUEUE_UNREADABLE = "queue-unreadable"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """Something that is not as it should be, why, and what to do."""

    code: Code
    outcome: Outcome
    site: str | None
    summary: str
    cause: str
    remedy: str


def judge(
    inventory: Inventory,
    known: Sequence[View],
    voters: frozenset[str] | None,
    *,
    lag_limit_seconds: float,
) -> list[Finding]:
    """All findings, the worst first."""
    found = [
        *_reachability(known),
        *_writer(inventory, known),
        *_quorum(known, voters),
        *_databases(known, lag_limit_seconds),
        *_keys(known),
        *_queues(known),
    ]
    return sorted(found, key=lambda finding: -finding.outcome.exit_code)


def _reachability(known: Iterable[View]) -> Iterator[Finding]:
    for view in known:
        identity, agent, login = view.answers.identity, view.answers.agent, view.answers.login
        if identity.error and (agent is None or agent.error):
            yield _site_down(view, identity.error)
        elif identity.error:
            yield _api_down(view.site.name, identity.error)
        elif agent and agent.error:
            yield _agent_silent(view, agent.error)
        if identity.ok and login and login.error:
            yield _login_failed(view.site.name, login.error)
        if login and login.value and view.site.region not in login.value.regions:
            yield _region_missing(view.site, login.value.regions)


def _last_known(view: View) -> str:
    if view.status is None or view.age is None:
        return ""
    return f"; its agent last answered {views.duration(view.age)} ago"


def _site_down(view: View, error: str) -> Finding:
    return Finding(
        code=Code.SITE_DOWN,
        outcome=Outcome.ERROR,
        site=view.site.name,
        summary=f"nothing answers at {view.site.name}",
        cause=f"{error}{_last_known(view)}",
        remedy=f"check the link to {view.site.name} and its identity front, then: "
        f"isthmus site show {view.site.name}",
    )


def _api_down(site: str, error: str) -> Finding:
    return Finding(
        code=Code.API_DOWN,
        outcome=Outcome.ERROR,
        site=site,
        summary="the identity API cannot be used, though the site's agent answers",
        cause=error,
        remedy=f"look at the logs of Keystone and its front at {site}; isthmus site show {site}",
    )


def _agent_silent(view: View, error: str) -> Finding:
    return Finding(
        code=Code.AGENT_SILENT,
        outcome=Outcome.WARN,
        site=view.site.name,
        summary="the agent does not answer: replication, keys and queue are not known now",
        cause=f"{error}{_last_known(view)}",
        remedy=f"start isthmus-agent at {view.site.name}, or correct its address in the sites file",
    )


def _login_failed(site: str, error: str) -> Finding:
    return Finding(
        code=Code.LOGIN_FAILED,
        outcome=Outcome.ERROR,
        site=site,
        summary="the identity API answers, but one cannot log in",
        cause=error,
        remedy=f"check the credentials in clouds.yaml, then: isthmus site show {site}",
    )


def _region_missing(site: Site, regions: Sequence[str]) -> Finding:
    return Finding(
        code=Code.REGION_MISSING,
        outcome=Outcome.ERROR,
        site=site.name,
        summary=f"the catalog at {site.name} has no region {site.region!r}",
        cause=f"it has: {', '.join(regions) or 'no endpoints at all'}",
        remedy="correct the region in the sites file, or add the region's endpoints to the catalog",
    )


def _writer(inventory: Inventory, known: Sequence[View]) -> Iterator[Finding]:
    """One writer node at a time, where the writer sites form one cluster."""
    if inventory.topology not in views.ONE_CLUSTER or not any(view.live for view in known):
        return
    writing = [v.site.name for v in known if v.live for each in v.databases if each.writer]
    silent = [v.site.name for v in known if v.site.role is Role.WRITER and not v.live]
    if len(writing) > 1:
        yield _two_writers(writing)
    elif not writing and silent:
        yield _writer_unknown(silent, known)
    elif not writing:
        yield _no_writer()


def _two_writers(writing: Sequence[str]) -> Finding:
    return Finding(
        code=Code.TWO_WRITERS,
        outcome=Outcome.ERROR,
        site=None,
        summary=f"more than one writer: {', '.join(writing)}",
        cause="these answers may be seconds apart while the writes move; if it stays, the sites hold "
        "two primary components, and writes will conflict",
        remedy="isthmus identity status again; if it stays, compare wsrep_cluster_state_uuid and the "
        "links between these sites",
    )


def _writer_unknown(silent: Sequence[str], known: Iterable[View]) -> Finding:
    last = [v.site.name for v in known if not v.live for each in v.databases if each.writer]
    before = f"; last seen: {', '.join(last)}" if last else ""
    return Finding(
        code=Code.WRITER_UNKNOWN,
        outcome=Outcome.WARN,
        site=None,
        summary="no site that answers is the writer",
        cause=f"not known about {', '.join(silent)}{before}",
        remedy=f"isthmus site show {silent[0]}",
    )


def _no_writer() -> Finding:
    return Finding(
        code=Code.NO_WRITER,
        outcome=Outcome.ERROR,
        site=None,
        summary="no writer: changes are refused or queued, logins and validation go on",
        cause="every writer site answers, and none has a database that takes writes",
        remedy="isthmus identity status shows why each refuses",
    )


def _quorum(known: Iterable[View], voters: frozenset[str] | None) -> Iterator[Finding]:
    nodes = [
        (view.site.name, each.cluster)
        for view in known
        if view.live
        for each in view.databases
        if each.cluster
    ]
    for site, cluster in nodes:
        if cluster.status != "Primary":
            yield _not_primary(site, cluster)
    if voters:
        # All nodes of the primary part see the same members, so one finding is enough.
        primary = [cluster for _, cluster in nodes if cluster.status == "Primary"]
        yield from (_quorum_thin(c, voters) for c in primary[:1] if c.size < len(voters))


def _not_primary(site: str, cluster: agent_documents.Cluster) -> Finding:
    return Finding(
        code=Code.NOT_PRIMARY,
        outcome=Outcome.ERROR,
        site=site,
        summary=f"the database of {site} has lost its quorum and refuses writes",
        cause=f"cluster status {cluster.status}, it sees {cluster.size} members",
        remedy="restore the link to the other writer site or to the arbitrator",
    )


def _quorum_thin(cluster: agent_documents.Cluster, voters: frozenset[str]) -> Finding:
    missing = sorted(voters - set(cluster.members)) or ["a member"]
    return Finding(
        code=Code.QUORUM_THIN,
        outcome=Outcome.WARN,
        site=None,
        summary=f"the cluster has {cluster.size} of {len(voters)} votes",
        cause=f"missing: {', '.join(missing)}",
        remedy=f"bring back {', '.join(missing)}: the next loss may stop writes",
    )


def _databases(known: Iterable[View], lag_limit_seconds: float) -> Iterator[Finding]:
    for view in known:
        if not view.live:
            continue
        # As long as one database of the site is fresh, nobody who reads there notices.
        serves = any(each.serving for each in view.databases)
        outcome = Outcome.WARN if serves else Outcome.ERROR
        for each in view.databases:
            # The agent's word counts, not the seconds alone: those depend on two clocks.
            if not each.serving and (each.lag_seconds or 0.0) > lag_limit_seconds:
                yield _replica_lags(view.site.name, each, lag_limit_seconds, outcome)
            elif not each.serving:
                yield _database_out(view.site.name, each, outcome)
            if each.master and each.home and each.master != each.home:
                yield _away_from_home(view.site.name, each)


def _replica_lags(
    site: str, database: agent_documents.Database, limit: float, outcome: Outcome
) -> Finding:
    lag = views.duration(database.lag_seconds or 0.0)
    behind = database.master or "its master"
    return Finding(
        code=Code.REPLICA_LAGS,
        outcome=outcome,
        site=site,
        summary=f"{database.name} lags {lag} behind {behind} (limit {limit:g} s)",
        cause=database.reason,
        remedy=f"check the link from {behind} to {site}; isthmus identity status",
    )


def _database_out(site: str, database: agent_documents.Database, outcome: Outcome) -> Finding:
    return Finding(
        code=Code.DATABASE_OUT,
        outcome=outcome,
        site=site,
        summary=f"{database.name} is out of service ({database.verdict})",
        cause=database.reason,
        remedy=f"look at the database and the agent's log at {site}; isthmus identity status",
    )


def _away_from_home(site: str, database: agent_documents.Database) -> Finding:
    return Finding(
        code=Code.AWAY_FROM_HOME,
        outcome=Outcome.WARN,
        site=site,
        summary=f"{database.name} follows {database.master} instead of {database.home}",
        cause=database.last_event or f"the database of {database.home} was lost",
        remedy=f"it returns by itself once {database.home} is back for good",
    )


def _keys(known: Sequence[View]) -> Iterator[Finding]:
    yield from _unreadable_keys(known)
    names = {name for view in known if view.live for name in views.digests(view)}
    for name in sorted(names):
        holders = views.holders(known, name)
        if len(holders) > 1:
            rotated = all(
                name in view.status.rotated for view in known if view.live and view.status
            )
            yield _keys_differ(name, holders, rotated=rotated)


def _unreadable_keys(known: Iterable[View]) -> Iterator[Finding]:
    for view in known:
        repositories = view.status.keys if view.live and view.status else {}
        for name, repository in repositories.items():
            if isinstance(repository, agent_documents.Unreadable):
                yield Finding(
                    code=Code.KEYS_UNREADABLE,
                    outcome=Outcome.WARN,
                    site=view.site.name,
                    summary=f"the agent cannot read the {name} keys",
                    cause=repository.error,
                    remedy="give the agent's user read access to the key repository",
                )


def _keys_differ(name: str, holders: dict[str, list[str]], *, rotated: bool) -> Finding:
    """`rotated`: the agents of all sites that hold them keep these keys equal."""
    groups = [f"{', '.join(sites)} {digest[:8]}" for digest, sites in holders.items()]
    minority = [site for sites in list(holders.values())[1:] for site in sites]
    sizes = [len(sites) for sites in holders.values()]
    tie = sizes[0] == sizes[1]
    where = "the sites hold different" if tie else f"{', '.join(minority)} holds other"
    meaning = "what one site issues, another may refuse"
    remedy = (
        "copy the keys of the site that rotated last to the others, then: isthmus identity status"
    )
    if rotated:
        # A key that is not everywhere signs nowhere; a rotation takes a second, and a silent site holds it.
        meaning = "a rotation is in flight, or waits for a site"
        remedy = "isthmus identity key list"
    return Finding(
        code=Code.KEYS_DIFFER,
        outcome=Outcome.WARN if rotated else Outcome.ERROR,
        site=minority[0] if not tie and len(minority) == 1 else None,
        summary=f"{where} {name} keys: {meaning}",
        cause="; ".join(groups),
        remedy=remedy,
    )


def _queues(known: Iterable[View]) -> Iterator[Finding]:
    for view in known:
        queue = view.status.queue if view.live and view.status else None
        if isinstance(queue, agent_documents.Unreadable):
            yield _queue_unreadable(view.site.name, queue)
        elif queue and queue.pending:
            yield _queue_waiting(view.site.name, queue)


def _queue_unreadable(site: str, queue: agent_documents.Unreadable) -> Finding:
    return Finding(
        code=Code.QUEUE_UNREADABLE,
        outcome=Outcome.WARN,
        site=site,
        summary="the agent cannot read the queue of writes",
        cause=queue.error,
        remedy="give the agent's user read access to the queue",
    )


def _queue_waiting(site: str, queue: agent_documents.Queue) -> Finding:
    age = queue.oldest_age_seconds
    since = f" since {views.duration(age)}" if age is not None else ""
    writes = "1 write waits" if queue.pending == 1 else f"{queue.pending} writes wait"
    return Finding(
        code=Code.QUEUE_WAITING,
        outcome=Outcome.WARN,
        site=site,
        summary=f"{writes} for the writer{since}",
        cause="the writer could not be reached from this site when they were made",
        remedy=f"they are replayed once {site} reaches the writer; isthmus identity status",
    )
