"""Do the databases keep what they have answered as done, and do they answer when they are cut off?"""

from __future__ import annotations

from collections.abc import Iterator

from isthmus.checks import servers
from isthmus.checks.facts import NotKnownError, Place
from isthmus.checks.values import RENDER, Category, Check, Flaw
from isthmus.identity.findings import Outcome
from isthmus.sites.agent_documents import Kind
from isthmus.sites.inventory import Role

INTERLEAVED = "2"
"""innodb_autoinc_lock_mode that Galera demands."""


def _followed(place: Place) -> Iterator[Flaw]:
    followed = place.status.coherence
    if not followed:
        raise NotKnownError("the agent's configuration has no generation_file")
    for database, trouble in followed.items():
        if trouble:
            yield Flaw(cause=f"{database}: {trouble}")


CHECKS = (
    Check(
        id="durability",
        title="A write that was answered survives crashes",
        category=Category.DATABASES,
        severity=Outcome.ERROR,
        role=Role.WRITER,
        needs=("agent-answers", "database-answers"),
        consequence="two nodes that crash at nearly the same time lose writes that were answered as done (Jepsen, 2026)",
        remedy="set innodb_flush_log_at_trx_commit to 1 at {site}, in the node's file too",
        command='mariadb -e "SET GLOBAL innodb_flush_log_at_trx_commit = 1"',
        of_site=servers.set_to("innodb_flush_log_at_trx_commit", "1", Kind.WRITER),
    ),
    Check(
        id="doublewrite",
        title="A page that was half written is mended",
        category=Category.DATABASES,
        severity=Outcome.WARN,
        needs=("agent-answers", "database-answers"),
        consequence="a loss of power in the middle of a page leaves a database that does not start and needs a full copy",
        remedy="take innodb_doublewrite out of the file at {site} and restart the database, one at a time",
        command="mariadb -e \"SHOW GLOBAL VARIABLES LIKE 'innodb_doublewrite'\"",
        of_site=servers.switched_on("innodb_doublewrite"),
    ),
    Check(
        id="dirty-reads",
        title="A node without a majority still answers reads",
        category=Category.DATABASES,
        severity=Outcome.ERROR,
        role=Role.WRITER,
        needs=("agent-answers", "database-answers"),
        consequence="cut off from the others, this site cannot even check tokens",
        remedy="switch it on at {site}, in the node's file too",
        command='mariadb -e "SET GLOBAL wsrep_dirty_reads = ON"',
        of_site=servers.switched_on("wsrep_dirty_reads", Kind.WRITER),
    ),
    Check(
        id="cluster-member",
        title="Every writer site's database replicates what it writes",
        category=Category.DATABASES,
        severity=Outcome.ERROR,
        role=Role.WRITER,
        needs=("agent-answers", "database-answers"),
        consequence="the node is not part of the cluster: it takes writes that nobody else has",
        remedy="set wsrep_on = ON in the node's file at {site} and restart it; compare what it has taken meanwhile",
        command="mariadb -e \"SHOW GLOBAL STATUS LIKE 'wsrep_cluster_%'\"",
        of_site=servers.switched_on("wsrep_on", Kind.WRITER),
    ),
    Check(
        id="autoincrement",
        title="Inserts of several nodes do not wait for each other",
        category=Category.DATABASES,
        severity=Outcome.WARN,
        role=Role.WRITER,
        needs=("agent-answers", "database-answers"),
        consequence="Galera's appliers deadlock on inserts",
        remedy="set innodb_autoinc_lock_mode = 2 in the node's file at {site} and restart it",
        command=RENDER,
        of_site=servers.set_to("innodb_autoinc_lock_mode", INTERLEAVED, Kind.WRITER),
    ),
    Check(
        id="coherence",
        title="Keystones are told of changes at once",
        category=Category.DATABASES,
        severity=Outcome.WARN,
        needs=("agent-answers", "database-answers"),
        consequence="validation is slower, and a revocation waits for Keystone's cache times",
        remedy="see why the agent at {site} does not follow the database; its replication account must exist there",
        command="mariadb -e \"SHOW GRANTS FOR 'repl'\"",
        of_site=_followed,
    ),
)
