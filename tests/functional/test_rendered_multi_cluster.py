"""Two clusters of rendered files: what is written in one appears in every node of the other, which nobody else can write to.

And the stream between them is moved to another node by the statements of the configuration guide.
"""

from __future__ import annotations

import contextlib
import csv
import io
import signal
import socket
from collections.abc import Callable, Iterator

import pymysql
import pytest
from agent_star import Agent
from rendered_sites import (
    SECRETS,
    Cloud,
    Database,
    Process,
    address,
    arbitrator,
    folder,
    install_template,
)

from conditions import wait_for
from isthmus.identity import schema

pytestmark = [pytest.mark.functional, pytest.mark.long]

Tiers = Callable[[], dict[str, set[str]]]

SITES = """
topology: multi-cluster
sites:
  - {name: paris, role: writer}
  - {name: madrid, role: replica}
"""


def site(number: int, name: str, label: str, nodes: int) -> dict[str, object]:
    return {
        "cluster": label,
        "front": address(number, 1),
        "keystone": address(number, 2),
        "glance": address(number, 3),
        "memcached": f"{address(number, 4)}:11211",
        "databases": {f"{name}-{n}": address(number, 10 + n) for n in range(1, nodes + 1)},
    }


def follow(server: Database) -> None:
    """As the guide says it; the account at the masters is made by `clouds`."""
    server.rows(
        f"CHANGE MASTER TO MASTER_HOST='{address(1, 11)}', MASTER_PORT=3308, MASTER_USER='repl',"
        " MASTER_PASSWORD='rpw', MASTER_CONNECT_RETRY=1, MASTER_USE_GTID=slave_pos",
        "START SLAVE",
    )


@pytest.fixture(scope="module")
def databases() -> Iterator[dict[str, Database]]:
    """paris-1 takes the writes; madrid-1 follows it, madrid-2 and a vote without data stand beside that."""
    with folder("multi") as root, contextlib.ExitStack() as stack:
        south = {**site(2, "madrid", "south", 2), "arbitrator": address(2, 10)}
        document = {"sites": {"paris": site(1, "paris", "north", 1), "madrid": south}}
        cloud = Cloud(folder=root, sites=SITES, document=document)
        for name in ("paris", "madrid"):
            cloud.files(name)
        template = install_template(root)
        found = {
            n: Database(cloud, n.split("-")[0], n) for n in ("paris-1", "madrid-1", "madrid-2")
        }
        for name, each in found.items():
            each.install(template)
            stack.callback(each.end, signal.SIGKILL)
            if name == "madrid-2":
                vote = arbitrator(cloud, "madrid")
                stack.callback(vote.end, signal.SIGKILL)
            if name != "madrid-2":
                each.start("--wsrep-new-cluster")
                # State transfers take place by this account; each cluster has its own.
                each.rows(
                    "SET sql_log_bin=0",
                    f"CREATE USER sst@localhost IDENTIFIED BY '{SECRETS['state-transfer']}'",
                    "GRANT RELOAD, PROCESS, LOCK TABLES, BINLOG MONITOR ON *.* TO sst@localhost",
                )
            else:
                each.start()
        found["paris-1"].rows(
            "CREATE USER repl@'%' IDENTIFIED BY 'rpw'",
            "GRANT REPLICATION SLAVE ON *.* TO repl@'%'",
            "CREATE DATABASE keystone",
            "CREATE DATABASE other",
            "CREATE TABLE keystone.project (id INT PRIMARY KEY)",
            "CREATE TABLE other.project (id INT PRIMARY KEY)",
        )
        found["paris-1"].rows("CREATE USER haproxy@'%'", *schema.STATEMENTS, *agent_account())
        found["madrid-1"].rows("SET sql_log_bin=0", "CREATE USER haproxy@'%'", *agent_account())
        follow(found["madrid-1"])
        yield found


def agent_account() -> list[str]:
    return ["CREATE USER agent@'%' IDENTIFIED BY 'apw'", *schema.agent_grants("agent")[:2]]


@pytest.fixture(scope="module")
def agents(databases: dict[str, Database]) -> Iterator[dict[str, Agent]]:
    """One beside each cluster; that of paris takes the writes and writes the heartbeat."""
    root = databases["paris-1"].folder.parents[1]
    password = root / "agent.password"
    password.write_text("apw")
    password.chmod(0o600)
    # Rights on tables need the tables, which the stream has brought to madrid by now.
    databases["paris-1"].rows("INSERT INTO keystone.project VALUES (100)")
    arrives(databases["madrid-2"], 100)
    for name in ("paris-1", "madrid-1"):
        databases[name].rows("SET sql_log_bin=0", *schema.agent_grants("agent")[2:])
    found = {}
    for number, site, kind in ((1, "paris", "writer"), (2, "madrid", "member")):
        nodes = [name for name in databases if name.startswith(site)]
        document = {
            "site": site,
            "writer_preference": ["paris-1"],
            "databases": [
                {
                    **{"name": name, "node": name, "kind": kind, "user": "agent", "port": 3306},
                    **{"host": address(number, 10 + n), "password_file": str(password)},
                }
                for n, name in enumerate(nodes, start=1)
            ],
        }
        found[site] = Agent(root, site, address(number, 1), document)
    try:
        for each in found.values():
            each.start()
        yield found
    finally:
        for each in found.values():
            each.end(signal.SIGKILL)


@pytest.fixture(scope="module")
def tiers(databases: dict[str, Database], agents: dict[str, Agent]) -> Iterator[Tiers]:
    """Which servers madrid's load balancer calls good, in each backend: it asks the agents of both sites."""
    host = databases["madrid-1"].folder.parent
    balancer = Process(
        host / "haproxy.log", "haproxy", "-f", str(host / "madrid/haproxy/haproxy.cfg")
    )

    def look() -> dict[str, set[str]]:
        balancer.alive()
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(str(host / "haproxy.sock"))
            line.sendall(b"show stat\n")
            text = b"".join(iter(lambda: line.recv(65536), b"")).decode()
        found: dict[str, set[str]] = {}
        for row in csv.DictReader(io.StringIO(text.removeprefix("# "))):
            if row["svname"] not in ("FRONTEND", "BACKEND"):
                up = row["status"].startswith("UP")
                found.setdefault(row["pxname"], set()).update({row["svname"]} if up else ())
        return found

    try:
        wait_for("the load balancer tells", (host / "haproxy.sock").exists, 20)
        yield look
    finally:
        balancer.end(signal.SIGKILL)


def arrives(server: Database, number: int) -> None:
    def there() -> bool:
        with contextlib.suppress(pymysql.err.ProgrammingError):
            return (number,) in server.rows("SELECT id FROM keystone.project")
        return False

    # A commit, a stream and a certification on loopback: milliseconds. The rest is for a busy machine.
    wait_for(f"{server.folder.name} has row {number}: {stream(server)}", there, 20)


def chooses(tiers: Tiers, **wanted: set[str]) -> None:
    """A second between two checks, two of which take a server out."""
    wait_for(
        f"madrid's load balancer chooses {wanted}",
        lambda: {name: tiers().get(name) for name in wanted} == wanted,
        20,
    )


def stream(server: Database) -> object:
    return [(r[10], r[11], r[35], r[37]) for r in server.rows("SHOW SLAVE STATUS")]


def test_what_is_written_in_one_cluster_is_in_every_node_of_the_other_at_the_same_position(
    databases: dict[str, Database],
) -> None:
    paris, first, second = (databases[n] for n in ("paris-1", "madrid-1", "madrid-2"))
    assert paris.status("wsrep_cluster_size") == "1"
    assert first.status("wsrep_cluster_size") == "3"
    paris.rows("INSERT INTO other.project VALUES (1)", "INSERT INTO keystone.project VALUES (1)")
    for each in (first, second):
        arrives(each, 1)
        # Only what all sites share takes the way.
        assert (
            each.value("SELECT count(*) FROM information_schema.tables WHERE table_schema='other'")
            == 0
        )
    position = paris.value("SELECT @@gtid_binlog_pos")
    assert position.startswith("100-100-")
    for each in (first, second):
        assert position in each.value("SELECT @@gtid_binlog_pos").split(",")


def test_nobody_else_writes_to_a_cluster_that_follows(databases: dict[str, Database]) -> None:
    node = databases["madrid-2"]
    node.rows(
        "SET sql_log_bin=0",
        "CREATE USER keystone@'%' IDENTIFIED BY 'kpw'",
        "GRANT ALL ON keystone.* TO keystone@'%'",
    )
    with (
        contextlib.closing(
            pymysql.connect(host=address(2, 12), user="keystone", password="kpw", autocommit=True)
        ) as connection,
        connection.cursor() as cursor,
        pytest.raises(pymysql.Error, match="read-only"),
    ):
        cursor.execute("INSERT INTO keystone.project VALUES (2)")


def test_the_stream_moves_to_another_node_when_its_own_is_lost(
    databases: dict[str, Database], agents: dict[str, Agent], tiers: Tiers
) -> None:
    """And the agent says meanwhile that the data of the nodes that are left grow old; the load balancer hears it."""
    paris, first, second = (databases[n] for n in ("paris-1", "madrid-1", "madrid-2"))

    def says(agent: str, name: str, use: str, code: int, words: str) -> None:
        # The limit is 5 s, a claim takes a few; the rest is for a busy machine.
        wait_for(
            f"{agent} says {code} of {name}: {agents[agent].get(f'database/{name}/{use}')}",
            lambda: agents[agent].get(f"database/{name}/{use}")[0] == code,
            40,
        )
        assert words in agents[agent].get(f"database/{name}/{use}")[1]

    says("paris", "paris-1", "writer", 200, "takes the writes")
    for name in ("madrid-1", "madrid-2"):
        says("madrid", name, "reader", 200, "in step with the cluster")
        assert agents["madrid"].get(f"database/{name}/writer")[0] == 503
    chooses(tiers, writer={"paris-1"}, reader_fresh={"madrid-1", "madrid-2"})
    paris.rows("INSERT INTO keystone.project VALUES (3)")
    arrives(second, 3)
    first.end(signal.SIGKILL)
    paris.rows("INSERT INTO keystone.project VALUES (4)")
    # The vote without data keeps the majority (evs.suspect_timeout 3 s, inactive_timeout 6 s).
    wait_for(
        "madrid-2 goes on without madrid-1",
        lambda: (
            (second.status("wsrep_cluster_status"), second.status("wsrep_cluster_size"))
            == ("Primary", "2")
        ),
        60,
    )
    says("madrid", "madrid-2", "reader", 503, "brings nothing")
    # Old data are read rather than none, and writes go on.
    chooses(tiers, writer={"paris-1"}, reader_fresh=set(), reader_alive={"madrid-2"})
    second.rows("SET GLOBAL gtid_slave_pos=@@GLOBAL.gtid_binlog_pos")
    follow(second)
    arrives(second, 4)
    paris.rows("INSERT INTO keystone.project VALUES (5)")
    arrives(second, 5)
    says("madrid", "madrid-2", "reader", 200, "in step with the cluster")
    chooses(tiers, reader_fresh={"madrid-2"})
