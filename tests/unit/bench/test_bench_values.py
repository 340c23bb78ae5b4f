"""The programs' decisions that need no lab."""

import configparser

import pytest
from bench import faults, lag, start
from bench.faults import Fault, Kind
from bench.metering import Reading
from bench.servers import Caching, Database, Stock, configuration

from isthmus.identity import config

OURS = config.keystone(
    site="madrid",
    database_password="secret",
    front="10.99.3.1",
    memcached="10.99.3.4:11311",
    token_keys="/keys/token",
    credential_keys="/keys/credential",
    queue="/queue",
    log_file="/log",
)


def stock(database: Database, caching: Caching) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser()
    text = configuration(OURS, Stock(database=database, caching=caching), "10.99.1.11:3306")
    parser.read_string(text)
    return parser


def test_a_stock_keystone_has_none_of_our_drivers():
    parser = stock(Database.WRITER, Caching.SAME)
    for section in ("identity", "shadow_users", "revoke"):
        assert not parser.has_option(section, "driver")
    assert not parser.has_section("isthmus")


def test_a_stock_keystone_has_one_database_with_our_timeouts():
    parser = stock(Database.WRITER, Caching.SAME)
    assert not parser.has_option("database", "slave_connection")
    url = parser.get("database", "connection")
    assert url.startswith(
        "mysql+pymysql://keystone:secret@10.99.1.11:3306/keystone?charset=utf8mb4"
    )
    assert "read_timeout" in url


@pytest.mark.parametrize(
    ("caching", "expiration", "backend"),
    [(Caching.SAME, True, True), (Caching.DEFAULT, False, True), (Caching.NONE, False, False)],
)
def test_caching_is_ours_or_stocks(caching, expiration, backend):
    parser = stock(Database.REPLICA, caching)
    assert parser.get("cache", "enabled") == "true"
    assert parser.has_option("cache", "expiration_time") is expiration
    assert parser.has_option("cache", "backend") is backend


def test_the_rest_of_a_stock_keystone_is_as_ours():
    parser, ours = stock(Database.WRITER, Caching.SAME), configparser.RawConfigParser()
    ours.read_string(OURS)
    for section in ("token", "fernet_tokens", "security_compliance", "oslo_middleware"):
        assert dict(parser.items(section)) == dict(ours.items(section))


def test_what_an_idle_lab_uses_is_taken_out_in_proportion_to_time():
    idle = Reading(at=10.0, cpu={"db": 1.0}, wan={"sql": 0.0, "replication": 1000.0})
    used = Reading(at=5.0, cpu={"db": 0.75}, wan={"sql": 80.0, "replication": 500.0})
    beyond = used.beyond(idle)
    assert beyond.cpu == {"db": 0.25}
    assert beyond.wan == {"sql": 80.0, "replication": 0.0}


def test_a_unit_that_was_started_in_between_counts_from_nothing():
    before = Reading(at=1.0, cpu={}, wan={})
    after = Reading(at=3.0, cpu={"new": 2.0}, wan={})
    assert (after - before).cpu_of(["new", "never started"]) == 2.0


def test_seconds_by_step_are_read_from_the_progress_of_up():
    lines = """[   0.2] network                               0.1 s
[  10.4] template: Keystone's schema and first objects   8.3 s
[  12.0] madrid/keystone                      11.5 s  a note
isthmus: something else that took 3 s
"""
    assert start.steps(lines) == {
        "network": 0.1,
        "template: Keystone's schema and first objects": 8.3,
        "madrid/keystone": 11.5,
    }


def test_faults_that_heal_slowly_are_kept_apart_by_others():
    heavy = [Fault(kind=Kind.LOSE, target=name) for name in ("a", "b")]
    light = [Fault(kind=Kind.KILL, target=f"a/{n}") for n in range(4)]
    order = [fault.kind for fault in faults.interleaved(heavy, light)]
    assert order == [Kind.KILL, Kind.LOSE, Kind.KILL, Kind.KILL, Kind.LOSE, Kind.KILL]


@pytest.mark.parametrize(
    ("target", "heavy"),
    [
        ("paris/identity-db", True),
        ("madrid/replica-paris", True),
        ("paris/agent", True),
        ("madrid/keystone", False),
        ("paris/local-db", False),
    ],
)
def test_only_what_moves_replicas_heals_slowly(target, heavy):
    assert Fault(kind=Kind.KILL, target=target).heavy is heavy


def test_figures_of_the_lag_are_named_by_where_it_was_seen():
    names = ["commit at the writer", "lyon/identity-db", "API at madrid: a new project is seen"]
    assert [lag._word(name) for name in names] == ["commit", "lyon/identity-db", "api_madrid"]


def test_what_can_hang_is_watched_for_longer_than_what_is_dead():
    frozen = Fault(kind=Kind.FREEZE, target="madrid/keystone")
    dead = Fault(kind=Kind.KILL, target="madrid/keystone")
    unused = Fault(kind=Kind.KILL, target="madrid/glance")
    assert frozen.detection > dead.detection > unused.detection
