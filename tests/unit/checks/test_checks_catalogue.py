"""Each check finds its fault, and that fault makes no other finding."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from checks_world import REFUSED, World, result

from isthmus.checks import registry, releases, running
from isthmus.checks.values import State
from isthmus.identity import published
from isthmus.identity.comparing import Difference
from isthmus.identity.findings import Outcome
from isthmus.sites import inventory
from isthmus.sites.probe import Assignment, Endpoint

Break = Callable[[World], object]


def variable(site: str, name: str, value: str, at: int = 0) -> Break:
    return lambda world: world.variables(site, at).update({name: value})


def keystone(site: str, **options: str) -> Break:
    return lambda world: world.options(site).update(
        {name.replace("__", ".", 1): value for name, value in options.items()}
    )


def glance(site: str, **options: str) -> Break:
    return lambda world: world.options(site, "glance").update(
        {f"keystone_authtoken.{name}": value for name, value in options.items()}
    )


def database(site: str, at: int = 0, **fields: object) -> Break:
    return lambda world: world.database(site, at).update(fields)


def cluster(site: str, **fields: object) -> Break:
    return lambda world: world.database(site)["cluster"].update(fields)


def document(site: str, *path: str, value: object) -> Break:
    def broken(world: World) -> None:
        inner = world.documents[site]
        for step in path[:-1]:
            inner = inner[step]
        inner[path[-1]] = value

    return broken


def error(of: str, site: str, text: str) -> Break:
    return lambda world: getattr(world, of).update({site: text})


def everywhere(catalog: Callable[[list[Endpoint]], list[Endpoint]]) -> Break:
    return lambda world: world.catalogs.update(
        {site: catalog(each) for site, each in world.catalogs.items()}
    )


def both(*breaks: Break) -> Break:
    return lambda world: [each(world) for each in breaks]


OTHER = {"digest": "ff" * 32, "keys": 3, "primary": 2}
DIFFERENCE = Difference(
    outcome=Outcome.ERROR,
    site="madrid",
    file="madrid/mariadb/replica-paris.cnf",
    setting="mariadbd.read_only",
    expected="ON",
    actual=None,
    consequence="somebody can write here",
    remedy="set it",
)
NO_ASSIGNMENT_BY_GROUP = result(
    (Assignment(role="member", user="ann", group=None, scope="project demo"),)
)

FAULTS: list[tuple[str, str | None, str, str, Break]] = [
    ("site-reach", "madrid", "ERROR", REFUSED, lambda w: w.kill("madrid")),
    ("identity-api", "lyon", "ERROR", "503", error("apis", "lyon", "503 Service Unavailable")),
    ("agent-answers", "lyon", "WARN", REFUSED, error("agents", "lyon", REFUSED)),
    ("login", "madrid", "ERROR", "401", error("logins", "madrid", "401: credentials refused")),
    (
        "token-accepted",
        "paris",
        "ERROR",
        "madrid refuses a fresh token of paris: 404 Not Found",
        lambda w: w.refusals.update({("paris", "madrid"): result("404 Not Found")}),
    ),
    (
        "mariadb-release",
        "lyon",
        "WARN",
        "identity-db runs 10.11.17-MariaDB",
        variable("lyon", "version", "10.11.17-MariaDB"),
    ),
    (
        "keystone-release",
        "madrid",
        "ERROR",
        "Keystone is 29.0.1; safe from",
        document("madrid", "agent", "packages", "keystone", value="29.0.1"),
    ),
    (
        "middleware-release",
        "paris",
        "ERROR",
        "keystonemiddleware is 10.12.0",
        document("paris", "agent", "packages", "keystonemiddleware", value="10.12.0"),
    ),
    (
        "agent-releases",
        None,
        "WARN",
        "paris 0.1.0, lyon 0.1.0, madrid 0.2.0",
        document("madrid", "agent", "version", value="0.2.0"),
    ),
    (
        "galera-releases",
        None,
        "WARN",
        "paris 26.4.23(r1), lyon 26.4.27(r2)",
        variable("lyon", "wsrep_provider_version", "26.4.27(r2)"),
    ),
    (
        "replica-release",
        "madrid",
        "ERROR",
        "replica-lyon runs 10.6, a writer 10.11",
        variable("madrid", "version", "10.6.27-MariaDB", at=1),
    ),
    (
        "clocks",
        None,
        "WARN",
        "madrid is 10.0 s ahead of paris (give or take 0.1 s)",
        document("madrid", "time", value="2026-11-22T18:40:16.950Z"),
    ),
    (
        "key-repository",
        "lyon",
        "WARN",
        "token keys: permission denied",
        document("lyon", "keys", "token", value={"error": "permission denied"}),
    ),
    (
        "token-keys",
        None,
        "WARN",
        "paris, lyon a1b2c3d4; madrid ffffffff",
        document("madrid", "keys", "token", value=OTHER),
    ),
    (
        "credential-keys",
        None,
        "ERROR",
        "paris, madrid a1b2c3d4; lyon ffffffff",
        document("lyon", "keys", "credential", value=OTHER),
    ),
    (
        "key-staged",
        "madrid",
        "WARN",
        "credential keys: 1, primary 1",
        lambda w: w.documents["madrid"]["keys"]["credential"].update(keys=1, primary=1),
    ),
    (
        "key-formula",
        "lyon",
        "ERROR",
        "Keystone's expiration is 86400 s, but the agent retires keys as if it were 3600 s",
        both(
            *(keystone(site, token__expiration="86400") for site in ("paris", "lyon", "madrid")),
            *(
                document(site, "key_settings", "token", "expiration", value=86400.0)
                for site in ("paris", "madrid")
            ),
        ),
    ),
    (
        "key-rotation",
        "madrid",
        "ERROR",
        "other sites' agents rotate token keys",
        lambda w: (
            w.documents["madrid"].pop("key_rotation"),
            w.documents["madrid"].pop("key_settings"),
        ),
    ),
    (
        "key-trouble",
        "lyon",
        "ERROR",
        "token keys: disk full",
        document("lyon", "key_rotation", "token", "trouble", value="disk full"),
    ),
    (
        "key-fence",
        "madrid",
        "WARN",
        "token keys: it is silent",
        document("madrid", "key_rotation", "token", "fenced", value="it is silent"),
    ),
    (
        "key-settings",
        None,
        "WARN",
        "lyon: 3600 + 172800 s, skew 60 s, 8 keys",
        document("lyon", "key_settings", "token", "max_active_keys", value=8),
    ),
    (
        "database-answers",
        "madrid",
        "ERROR",
        "replica-lyon: connection refused",
        database("madrid", 1, verdict="unreachable", serving=False, reason=REFUSED, variables=None),
    ),
    (
        "database-serves",
        "madrid",
        "WARN",
        "replica-paris is diverged: applier failed",
        database("madrid", verdict="diverged", serving=False, reason="applier failed"),
    ),
    (
        "replica-lag",
        "madrid",
        "WARN",
        "replica-paris lags 9.4 s behind paris (limit 5 s)",
        database("madrid", verdict="lagging", serving=False, lag_seconds=9.4),
    ),
    (
        "replica-home",
        "madrid",
        "WARN",
        "replica-paris follows lyon instead of paris",
        database("madrid", master="lyon"),
    ),
    ("one-writer", None, "ERROR", "paris, lyon", database("lyon", writer=True)),
    (
        "quorum",
        "lyon",
        "ERROR",
        "identity-db: non-Primary, it sees 1 members",
        both(
            cluster("lyon", status="non-Primary", size=1, members=["lyon"]),
            database("lyon", verdict="non-primary", serving=False),
        ),
    ),
    (
        "votes",
        None,
        "WARN",
        "2 votes: lyon, paris",
        both(*(cluster(site, size=2, members=["lyon", "paris"]) for site in ("paris", "lyon"))),
    ),
    (
        "replica-of-each-writer",
        "madrid",
        "WARN",
        "no replica has its home at lyon",
        lambda w: (
            w.documents["madrid"]["databases"].pop(),
            w.documents["madrid"]["coherence"].popitem(),
        ),
    ),
    (
        "replica-filters",
        "madrid",
        "ERROR",
        "not replicated: isthmus_network.%; replicated besides: glance.%",
        variable("madrid", "replicate_wild_do_table", "keystone.%,isthmus_identity.%,glance.%"),
    ),
    (
        "replica-read-only",
        "madrid",
        "ERROR",
        "replica-lyon: read_only is OFF",
        variable("madrid", "read_only", "OFF", at=1),
    ),
    (
        "replica-strict",
        "madrid",
        "WARN",
        "gtid_strict_mode is OFF",
        variable("madrid", "gtid_strict_mode", "OFF"),
    ),
    (
        "binary-log",
        "madrid",
        "ERROR",
        "replica-paris: binlog_format is MIXED",
        variable("madrid", "binlog_format", "MIXED"),
    ),
    (
        "one-stream",
        None,
        "ERROR",
        "wsrep_gtid_domain_id differs: paris 100, lyon 101",
        variable("lyon", "wsrep_gtid_domain_id", "101"),
    ),
    (
        "server-ids",
        None,
        "ERROR",
        "server_id 1030: madrid replica-paris, madrid replica-lyon",
        variable("madrid", "server_id", "1030", at=1),
    ),
    (
        "galera-timers",
        None,
        "WARN",
        "evs.suspect_timeout differs: paris PT3S, lyon PT5S",
        variable("lyon", "wsrep_provider_options.evs.suspect_timeout", "PT5S"),
    ),
    (
        "galera-segments",
        None,
        "WARN",
        "gmcast.segment 1: paris, lyon",
        variable("lyon", "wsrep_provider_options.gmcast.segment", "1"),
    ),
    (
        "durability",
        "paris",
        "ERROR",
        "innodb_flush_log_at_trx_commit is 2",
        variable("paris", "innodb_flush_log_at_trx_commit", "2"),
    ),
    (
        "doublewrite",
        "madrid",
        "WARN",
        "replica-paris: innodb_doublewrite is OFF",
        variable("madrid", "innodb_doublewrite", "OFF"),
    ),
    (
        "dirty-reads",
        "lyon",
        "ERROR",
        "wsrep_dirty_reads is OFF",
        variable("lyon", "wsrep_dirty_reads", "OFF"),
    ),
    ("cluster-member", "lyon", "ERROR", "wsrep_on is OFF", variable("lyon", "wsrep_on", "OFF")),
    (
        "autoincrement",
        "paris",
        "WARN",
        "innodb_autoinc_lock_mode is 1",
        variable("paris", "innodb_autoinc_lock_mode", "1"),
    ),
    (
        "coherence",
        "madrid",
        "WARN",
        "replica-lyon: access denied",
        document(
            "madrid",
            "coherence",
            "replica-lyon",
            value={"followed": False, "error": "access denied"},
        ),
    ),
    (
        "agent-settings",
        "lyon",
        "WARN",
        "glance: /etc/glance/glance-api.conf: Permission denied",
        document(
            "lyon",
            "settings",
            "glance",
            value={"error": "/etc/glance/glance-api.conf: Permission denied"},
        ),
    ),
    (
        "keystone-cache",
        "lyon",
        "WARN",
        "[cache] backend is dogpile.cache.null",
        keystone("lyon", cache__backend="dogpile.cache.null"),
    ),
    (
        "cache-times",
        "madrid",
        "ERROR",
        "[identity] cache_time is 100 s, the limit is 60 s",
        keystone("madrid", identity__cache_time="100"),
    ),
    (
        "own-memcached",
        None,
        "ERROR",
        "10.99.1.4:11211 is the cache of paris, lyon",
        keystone("lyon", cache__memcache_servers="10.99.1.4:11211"),
    ),
    (
        "site-kit",
        "madrid",
        "ERROR",
        "stock driver in: [revoke]",
        keystone("madrid", revoke__driver="sql"),
    ),
    (
        "token-provider",
        None,
        "ERROR",
        "paris fernet, lyon jws, madrid fernet",
        keystone("lyon", token__provider="jws"),
    ),
    (
        "token-lifetimes",
        None,
        "WARN",
        "[token] expiration: paris 3600 s, lyon 1800 s",
        keystone("lyon", token__expiration="1800"),
    ),
    (
        "lockout",
        "paris",
        "WARN",
        "lockout_failure_attempts is 0",
        keystone("paris", security_compliance__lockout_failure_attempts="0"),
    ),
    (
        "debug",
        "lyon",
        "ERROR",
        "insecure_debug is on",
        keystone("lyon", DEFAULT__insecure_debug="true"),
    ),
    (
        "queue",
        "madrid",
        "WARN",
        "3 waiting, the oldest for 400 s (limit 60 s)",
        document("madrid", "queue", value={"pending": 3, "oldest_age_seconds": 400.0}),
    ),
    (
        "token-cache-time",
        "madrid",
        "ERROR",
        "glance: token_cache_time is 100; the limit is 60 s",
        glance("madrid", token_cache_time="100"),
    ),
    (
        "revocation-bound",
        "madrid",
        "ERROR",
        "lag 5 + Keystone (cache.expiration_time) 60 + glance 60 = 125 s (limit 120 s)",
        both(
            glance("madrid", token_cache_time="60"), keystone("madrid", cache__expiration_time="60")
        ),
    ),
    (
        "service-region",
        "lyon",
        "ERROR",
        "glance: region_name is paris, the site's region is lyon",
        glance("lyon", region_name="paris"),
    ),
    (
        "service-identity",
        None,
        "ERROR",
        "http://10.99.1.1:5000/v3 is asked by glance at paris, glance at lyon",
        glance("lyon", auth_url="http://10.99.1.1:5000/v3/"),
    ),
    (
        "service-tokens",
        "paris",
        "ERROR",
        "service_token_roles_required is not true",
        glance("paris", service_token_roles_required="false"),
    ),
    ("service-tls", "paris", "ERROR", "glance: insecure is true", glance("paris", insecure="true")),
    (
        "service-memcached",
        "lyon",
        "WARN",
        "glance: memcached_servers is not set",
        glance("lyon", memcached_servers=""),
    ),
    (
        "catalog-regions",
        None,
        "ERROR",
        "madrid (madrid) is missing; there are: lyon, paris",
        everywhere(lambda c: [e for e in c if e.region != "madrid"]),
    ),
    (
        "catalog-complete",
        None,
        "WARN",
        "madrid has no public endpoint of image; other regions have one",
        everywhere(
            lambda c: [
                e for e in c if (e.region, e.service, e.interface) != ("madrid", "image", "public")
            ]
        ),
    ),
    (
        "catalog-distinct",
        None,
        "ERROR",
        "http://paris:5000 is the endpoint of lyon, paris",
        everywhere(
            lambda c: [
                dataclasses.replace(e, url=e.url.replace("lyon:5000", "paris:5000")) for e in c
            ]
        ),
    ),
    (
        "catalog-equal",
        "madrid",
        "ERROR",
        "2 endpoints, such as image internal of lyon",
        lambda w: w.catalogs.update(
            madrid=[e for e in w.catalogs["madrid"] if (e.region, e.service) != ("lyon", "image")]
        ),
    ),
    (
        "group-roles",
        None,
        "WARN",
        "1 roles are given to users, 0 to groups: ann (member, project demo)",
        lambda w: setattr(w, "assignments", NO_ASSIGNMENT_BY_GROUP),
    ),
    (
        "configuration",
        "madrid",
        "ERROR",
        "madrid/mariadb/replica-paris.cnf mariadbd.read_only is nothing; rendered is ON",
        lambda w: setattr(w, "differences", [DIFFERENCE]),
    ),
]

BESIDE = {"key-formula": {"key-settings"}}
"""Faults that cannot be made alone: lifetimes are told by agents and by Keystones."""


def test_healthy_sites_have_no_findings() -> None:
    report = World().report()
    assert [(each.check, each.cause) for each in report.findings] == []
    assert report.exit_code == 0
    skipped = {(r.check, r.site) for r in report.results if r.state is State.SKIPPED}
    assert skipped == {("configuration", None)}
    at = {(r.check, r.site) for r in report.results if r.check in ("quorum", "replica-filters")}
    assert at == {("quorum", "paris"), ("quorum", "lyon"), ("replica-filters", "madrid")}


@pytest.mark.parametrize(
    ("check", "site", "severity", "words", "fault"), FAULTS, ids=[each[0] for each in FAULTS]
)
def test_each_fault_makes_its_finding_and_no_other(
    check: str, site: str | None, severity: str, words: str, fault: Break
) -> None:
    world = World()
    fault(world)
    report = world.report()
    found = [each for each in report.findings if each.check not in BESIDE.get(check, ())]
    assert [(each.check, each.site, str(each.outcome)) for each in found] == [
        (check, site, severity)
    ]
    assert words in found[0].cause
    assert all((found[0].consequence, found[0].remedy, found[0].command))
    assert "{" not in found[0].remedy + found[0].command
    assert report.exit_code == {"WARN": 1, "ERROR": 2}[severity]


def test_every_check_has_a_fault() -> None:
    assert {each[0] for each in FAULTS} == {each.id for each in registry.CHECKS}
    assert len(FAULTS) == len(registry.CHECKS)


def test_ids_are_unique_and_prerequisites_stand_before_who_needs_them() -> None:
    seen: set[str] = set()
    for check in registry.CHECKS:
        assert check.id not in seen
        assert set(check.needs) <= seen, check.id
        seen.add(check.id)


def test_every_command_is_one_that_there_is() -> None:
    """Commands of this program are held against its entry points; others by their first word."""
    text = (Path(__file__).parents[3] / "pyproject.toml").read_text()
    scripts = tomllib.loads(text)["project"]["entry-points"]["isthmus.cli"]
    known = {name.replace("_", " ") for name in scripts}
    others = {"systemctl", "apt-get", "pip", "chronyc", "ls", "mariadb", "openstack"}
    for check in registry.CHECKS:
        program, *words = check.command.split()
        if program == "isthmus":
            assert any(" ".join(words[:n]) in known for n in (3, 2, 1)), check.command
        else:
            assert program in others, check.command


def test_what_agents_tell_is_all_that_checks_read() -> None:
    """A name that no agent publishes would be skipped for ever."""
    sources = Path(registry.__file__).parent.glob("*.py")
    text = "\n".join(path.read_text() for path in sources)
    reading = r"(?:\.(?:value|on|switched_on|set_to)\(|\.off\(server, )\s*\"(\w+)\""
    asked = set(re.findall(reading, text))
    assert asked >= {"version", "read_only", "log_bin"}
    assert asked <= {*published.VARIABLES, *published.STATUSES}
    told = {name for names in published.OPTIONS.values() for name in names}
    world = World()
    fixtures = {*world.options("paris"), *world.options("paris", "glance")}
    assert fixtures <= told
    for name in re.findall(r"\"((?:cache|token|identity|revoke|fernet_tokens)\.\w+)\"", text):
        assert name in told, name


@pytest.mark.parametrize(
    ("version", "good"),
    [
        ("10.11.18-MariaDB-log", True),
        ("10.11.17-MariaDB", False),
        ("10.6.27", True),
        ("10.5.99", False),
        ("11.4.11", False),
        ("11.5.2", False),
        ("12.3.2", True),
        ("12.4.0", True),
        ("13.0.1", True),
        ("unknown", False),
    ],
)
def test_a_release_is_safe_from_the_first_corrected_one_of_its_series(
    version: str, good: bool
) -> None:
    assert releases.safe(releases.parse(version), releases.MARIADB, parts=2) is good


@pytest.mark.parametrize(
    ("version", "findings"),
    [("10.4.9", 0), ("10.7.1", 1), ("10.7.2", 0), ("10.8.0", 1), ("10.12.1", 0), ("13.0.1", 0)],
)
def test_the_middleware_is_unsafe_only_where_the_fault_was(version: str, findings: int) -> None:
    world = World()
    world.documents["paris"]["agent"]["packages"]["keystonemiddleware"] = version
    assert len(world.report("middleware-release").findings) == findings


def test_a_notification_script_makes_an_unsafe_mariadb_an_error() -> None:
    world = World()
    world.variables("lyon").update(version="10.11.17", wsrep_notify_cmd="/usr/local/bin/notify")
    (found,) = world.report("mariadb-release").findings
    assert found.outcome is Outcome.ERROR
    assert "wsrep_notify_cmd is /usr/local/bin/notify" in found.cause


def test_different_keys_are_an_error_where_no_agent_rotates_them() -> None:
    world = World()
    world.documents["madrid"]["keys"]["token"] = OTHER
    del world.documents["madrid"]["key_rotation"]["token"]
    (found,) = world.report("token-keys").findings
    assert found.outcome is Outcome.ERROR


def test_clocks_further_apart_than_rotation_allows_are_an_error() -> None:
    world = World()
    world.documents["madrid"]["time"] = "2026-11-22T18:42:07Z"
    (found,) = world.report("clocks").findings
    assert found.outcome is Outcome.ERROR
    assert "the rotation of keys allows for 60 s" in found.cause


def test_a_slow_answer_is_no_wrong_clock() -> None:
    """What is known of a clock is known only as well as the answer was quick."""
    world = World()
    facts = world.facts()
    slow = facts.answers["madrid"]
    assert slow.agent is not None
    late = dataclasses.replace(slow.agent, seconds=6.0)
    answers = {**facts.answers, "madrid": dataclasses.replace(slow, agent=late)}
    checks = [
        each for each in registry.CHECKS if each.id in ("site-reach", "agent-answers", "clocks")
    ]
    report = running.run(checks, dataclasses.replace(facts, answers=answers))
    assert report.findings == ()


def test_keys_without_rotation_by_agents_need_three_places() -> None:
    world = World()
    for each in world.documents.values():
        del each["key_rotation"], each["key_settings"]
    assert world.report("key-formula").findings == ()
    world.options("paris")["fernet_tokens.max_active_keys"] = "2"
    (found,) = world.report("key-formula").findings
    assert "max_active_keys is 2: a rotation needs 3" in found.cause


def test_the_arithmetic_of_rotation_is_shown() -> None:
    world = World()
    world.documents["lyon"]["key_settings"]["token"].update(interval=3600.0)
    (found,) = world.report("key-formula").findings
    assert "52 keys, and max_active_keys is 6" in found.cause


def test_the_last_database_of_a_site_makes_an_error() -> None:
    world = World()
    for at in (0, 1):
        world.database("madrid", at).update(verdict="frozen", serving=False)
    found = world.report("database-serves").findings
    assert {each.outcome for each in found} == {Outcome.ERROR}


def test_no_writer_and_a_writer_that_nobody_sees_are_two_things() -> None:
    world = World()
    world.database("paris")["writer"] = False
    (found,) = world.report("one-writer").findings
    assert "none has a database that takes the writes" in found.cause
    world.agents["lyon"] = REFUSED
    report = world.report("one-writer")
    assert [each.check for each in report.findings] == ["agent-answers"]
    skipped = next(each for each in report.results if each.check == "one-writer")
    assert skipped.reason == "no site that was asked takes the writes; not asked: lyon"


def test_stock_settings_of_the_middleware_are_too_long() -> None:
    world = World()
    del world.options("madrid", "glance")["keystone_authtoken.token_cache_time"]
    (found,) = world.report("revocation-bound").findings
    assert found.check == "token-cache-time"
    assert found.cause.startswith("glance: token_cache_time is 300 (the default)")


@pytest.mark.parametrize(("seconds", "findings"), [("0", 1), ("-1", 0), ("60", 0), ("61", 1)])
def test_zero_is_for_ever_and_minus_one_is_nothing(seconds: str, findings: int) -> None:
    world = World()
    world.options("paris", "glance")["keystone_authtoken.token_cache_time"] = seconds
    assert len(world.report("token-cache-time").findings) == findings


def test_stock_settings_of_keystone_keep_a_revocation_for_an_hour() -> None:
    world = World()
    for name in ("cache.expiration_time", "identity.cache_time", "revoke.cache_time"):
        del world.options("madrid")[name]
    causes = [each.cause for each in world.report("cache-times").findings]
    assert causes == [
        "[cache] expiration_time is 600 s, the limit is 60 s",
        "[identity] cache_time is 600 s, the limit is 60 s",
        "[revoke] cache_time is 3600 s, the limit is 60 s",
    ]


def test_what_one_writer_site_lacks_in_the_kit_is_a_warning() -> None:
    world = World()
    world.options("paris")["trust.driver"] = "sql"
    (found,) = world.report("site-kit").findings
    assert found.outcome is Outcome.WARN


def test_a_site_that_gives_no_verdict_on_a_token_refuses_none() -> None:
    world = World()
    world.refusals["paris", "madrid"] = result(error="503 Service Unavailable")
    assert world.report("token-accepted").findings == ()


def test_who_may_not_list_assignments_is_told_so() -> None:
    world = World()
    world.assignments = result(error="403 Forbidden")
    report = world.report("group-roles")
    skipped = next(each for each in report.results if each.check == "group-roles")
    assert (skipped.state, skipped.reason) == (
        State.SKIPPED,
        "paris does not list them: 403 Forbidden",
    )


def test_other_topologies_have_no_one_cluster() -> None:
    world = World()
    world.inventory = dataclasses.replace(
        world.inventory, topology=inventory.Topology.MULTI_CLUSTER
    )
    world.database("lyon")["writer"] = True
    report = world.report("one-writer", "votes")
    assert report.findings == ()
    reasons = {each.check: each.reason for each in report.results if each.site is None}
    assert reasons["one-writer"] == "the writer sites of a multi-cluster form no one cluster"


def test_skipped_errors_of_a_replica_are_an_error() -> None:
    world = World()
    world.variables("madrid")["slave_skip_errors"] = "1062"
    (found,) = world.report("replica-strict").findings
    assert found.outcome is Outcome.ERROR
    assert "slave_skip_errors is 1062" in found.cause


def without(region: str, service: str) -> Break:
    return everywhere(lambda c: [e for e in c if (e.region, e.service) != (region, service)])


def test_a_service_that_runs_needs_its_endpoint_and_one_that_does_not_needs_none() -> None:
    world = World()
    without("madrid", "image")(world)
    (found,) = world.report("catalog-complete").findings
    assert found.cause == "madrid has no public endpoint of image; glance runs there"
    assert found.command == "openstack endpoint create --region madrid image public URL"
    del world.documents["madrid"]["settings"]["glance"]
    assert world.report("catalog-complete").findings == ()


def test_a_region_without_identity_is_an_error() -> None:
    world = World()
    without("lyon", "identity")(world)
    (found,) = world.report("catalog-complete").findings
    assert (found.outcome, found.cause) == (
        Outcome.ERROR,
        "lyon has no public endpoint of identity; keystone runs there",
    )


def test_an_even_number_of_votes_can_be_halved() -> None:
    world = World()
    members = ["paris", "lyon", "arbitrator", "another"]
    for site in ("paris", "lyon"):
        cluster(site, size=4, members=members)(world)
    (found,) = world.report("votes").findings
    assert found.cause == "4 votes: paris, lyon, arbitrator, another"


def test_a_write_that_just_came_waits_for_no_reason() -> None:
    world = World()
    world.documents["madrid"]["queue"] = {"pending": 3, "oldest_age_seconds": 2.0}
    assert world.report("queue").findings == ()


def test_a_replica_may_be_newer_than_its_writers() -> None:
    world = World()
    world.variables("madrid")["version"] = "11.4.12-MariaDB"
    assert world.report("replica-release").findings == ()
