"""Three sites in star mode with nothing wrong, as facts; tests break them in one way each."""

from __future__ import annotations

import datetime
from typing import Any

from agent_said import database
from isthmus.checks import registry, running
from isthmus.checks.facts import Assignments, Facts
from isthmus.identity.comparing import Difference
from isthmus.sites import agent_documents, inventory, probe
from isthmus.sites.fanout import Result
from isthmus.sites.looking import Answers
from isthmus.sites.probe import Assignment, Endpoint

NOW = datetime.datetime(2026, 11, 22, 18, 40, 7, tzinfo=datetime.UTC)
SITES = inventory.parse(
    """
sites:
  - {name: paris, role: writer, agent: "http://a:1"}
  - {name: lyon, role: writer, agent: "http://b:1"}
  - {name: madrid, role: replica, agent: "http://c:1"}
""",
    source="sites.yaml",
)
NAMES = [site.name for site in SITES.sites]
REFUSED = "connection refused"


def result(value: Any = None, error: str | None = None, seconds: float = 0.1) -> Result[Any]:
    return Result(value=value, error=error, seconds=seconds, observed_at=NOW)


def _common(number: int) -> dict[str, str]:
    return {
        "version": "10.11.19-MariaDB-0+deb12u1",
        "log_bin": "ON",
        "log_slave_updates": "ON",
        "binlog_format": "ROW",
        "innodb_doublewrite": "ON",
        "server_id": str(number),
    }


def _node(segment: int) -> dict[str, str]:
    return {
        **_common(100),
        "innodb_autoinc_lock_mode": "2",
        "innodb_flush_log_at_trx_commit": "1",
        "wsrep_on": "ON",
        "wsrep_dirty_reads": "ON",
        "wsrep_gtid_mode": "ON",
        "wsrep_gtid_domain_id": "100",
        "wsrep_notify_cmd": "",
        "wsrep_provider_version": "26.4.23(r1)",
        "wsrep_provider_options.evs.inactive_timeout": "PT6S",
        "wsrep_provider_options.evs.install_timeout": "PT6S",
        "wsrep_provider_options.evs.keepalive_period": "PT1S",
        "wsrep_provider_options.evs.suspect_timeout": "PT3S",
        "wsrep_provider_options.gmcast.segment": str(segment),
    }


def _replica(number: int) -> dict[str, str]:
    return {
        **_common(number),
        "read_only": "ON",
        "gtid_strict_mode": "ON",
        "slave_skip_errors": "OFF",
        "replicate_wild_do_table": "keystone.%,isthmus_identity.%,isthmus_network.%",
        "replicate_do_db": "",
    }


def _cluster() -> dict[str, Any]:
    members = ["paris", "lyon", "arbitrator"]
    return {"status": "Primary", "size": 3, "members": members, "state": "Synced"}


def _databases() -> dict[str, list[dict[str, Any]]]:
    replicas = [
        database(
            f"replica-{home}",
            "replica",
            variables=_replica(number),
            lag_seconds=0.2,
            master=home,
            home=home,
        )
        for number, home in ((1030, "paris"), (1031, "lyon"))
    ]
    return {
        "paris": [
            database("identity-db", "writer", variables=_node(1), writer=True, cluster=_cluster())
        ],
        "lyon": [database("identity-db", "writer", variables=_node(2), cluster=_cluster())],
        "madrid": replicas,
    }


def _settings(site: str, number: int) -> dict[str, Any]:
    keystone = {
        "DEFAULT.debug": "false",
        "cache.backend": "oslo_cache.memcache_pool",
        "cache.enabled": "true",
        "cache.expiration_time": "5",
        "cache.memcache_servers": f"10.99.{number}.4:11211",
        "identity.cache_time": "5",
        "identity.driver": "isthmus",
        "revoke.cache_time": "5",
        "revoke.driver": "isthmus",
        "security_compliance.lockout_failure_attempts": "6",
        "shadow_users.driver": "isthmus",
        "token.expiration": "3600",
        "token.provider": "fernet",
        "trust.driver": "isthmus",
    }
    glance = {
        "auth_url": f"http://10.99.{number}.1:5000/v3",
        "memcached_servers": f"10.99.{number}.4:11211",
        "region_name": site,
        "service_token_roles_required": "true",
        "token_cache_time": "10",
    }
    options = {f"keystone_authtoken.{name}": value for name, value in glance.items()}
    return {"keystone": {"options": keystone}, "glance": {"options": options}}


def document(site: str, databases: list[dict[str, Any]], number: int) -> dict[str, Any]:
    """What the agent of a healthy site says."""
    key = {"digest": "a1b2c3d4" * 8, "keys": 3, "primary": 2}
    return {
        "site": site,
        "time": "2026-11-22T18:40:06.950Z",
        "agent": {
            "pid": 1,
            "started_at": "2026-11-22T18:00:00Z",
            "version": "0.1.0",
            "packages": {"keystone": "30.0.0", "keystonemiddleware": "13.0.1"},
        },
        "databases": databases,
        "keys": {"token": dict(key), "credential": dict(key)},
        "key_rotation": {"token": {"revision": 7, "trouble": None, "fenced": None}},
        "key_settings": {
            "token": {
                "expiration": 3600.0,
                "allow_expired_window": 172800.0,
                "clock_skew": 60.0,
                "max_active_keys": 6,
                "interval": 604800.0,
                "jitter": 0.1,
            }
        },
        "queue": {"pending": 0, "oldest_age_seconds": None},
        "settings": _settings(site, number),
        "coherence": {
            each["name"]: {"followed": True, "changes": 3, "proven_age_seconds": 0.1, "error": None}
            for each in databases
        },
    }


class World:
    """All that can be broken."""

    def __init__(self) -> None:
        databases = _databases()
        self.inventory = SITES
        self.documents = {
            site: document(site, databases[site], number)
            for number, site in enumerate(NAMES, start=1)
        }
        self.apis: dict[str, str | None] = dict.fromkeys(NAMES)
        """Why the identity API does not answer."""
        self.agents: dict[str, str | None] = dict.fromkeys(NAMES)
        self.logins: dict[str, str | None] = dict.fromkeys(NAMES)
        self.logged_in = True
        endpoints = [
            Endpoint(
                region=region, service=service, interface=interface, url=f"http://{region}:{port}"
            )
            for region in NAMES
            for service, port in (("identity", 5000), ("image", 9292))
            for interface in ("public", "internal")
        ]
        self.catalogs = {site: list(endpoints) for site in NAMES}
        pairs = [(one, other) for one in NAMES for other in NAMES if one != other]
        self.refusals: dict[tuple[str, str], Result[str | None]] = dict.fromkeys(pairs, result())
        self.assignments: Result[Any] = result(
            (
                Assignment(role="admin", user="admin", group=None, scope="project admin"),
                Assignment(role="service", user="glance", group=None, scope="project service"),
                Assignment(role="member", user=None, group="operators", scope="project demo"),
            )
        )
        self.differences: list[Difference] | None = None

    def database(self, site: str, at: int = 0) -> dict[str, Any]:
        found: dict[str, Any] = self.documents[site]["databases"][at]
        return found

    def variables(self, site: str, at: int = 0) -> dict[str, str]:
        found: dict[str, str] = self.database(site, at)["variables"]
        return found

    def options(self, site: str, service: str = "keystone") -> dict[str, str]:
        found: dict[str, str] = self.documents[site]["settings"][service]["options"]
        return found

    def kill(self, site: str) -> None:
        """Nothing answers there any more."""
        self.apis[site] = self.agents[site] = REFUSED
        for pair in self.refusals:
            if site in pair:
                self.refusals[pair] = result(error=REFUSED)

    def facts(self) -> Facts:
        return Facts(
            time=NOW,
            inventory=self.inventory,
            answers={site: self._answers(site) for site in self.documents},
            refusals=self.refusals,
            assignments=Assignments(site="paris", result=self.assignments),
            differences=self.differences,
        )

    def _answers(self, site: str) -> Answers:
        identity = probe.IdentityAnswer(url="http://x/v3", version="v3.14", latency_ms=12.0)
        api, agent = self.apis[site], self.agents[site]
        told = None
        if not agent:
            parsed = agent_documents.parse(self.documents[site], site=site)
            told = probe.AgentAnswer(status=parsed, document=self.documents[site])
        named = next(each.agent for each in self.inventory.sites if each.name == site)
        return Answers(
            identity=result(None if api else identity, api),
            agent=result(told, agent) if named else None,
            login=self._login(site),
        )

    def _login(self, site: str) -> Result[probe.Login] | None:
        if not self.logged_in or self.apis[site]:
            return None
        if self.logins[site]:
            return result(error=self.logins[site])
        login = probe.Login(
            user="admin",
            project="admin",
            expires_at="2026-11-22T19:40:07Z",
            seconds=0.3,
            endpoints=tuple(self.catalogs[site]),
        )
        return result(login)

    def report(self, *only: str, skip: tuple[str, ...] = ()) -> running.Report:
        checks = running.select(registry.CHECKS, only=only, skip=skip)
        return running.run(checks, self.facts())
