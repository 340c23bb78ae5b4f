"""The agent of one site: watches the site's identity databases and answers the load balancer's health checks."""

import json

from isthmus.identity import config, published
from isthmus.lab import errors, inside
from isthmus.lab.components import (
    cinder,
    glance,
    haproxy,
    identity_db,
    keystone,
    neutron,
    node_keys,
    nova,
    placement,
    replica,
)
from isthmus.lab.components.base import Component, Context, script
from isthmus.lab.environment import Role


class Agent(Component):
    def needs(self, context: Context) -> list[str]:
        return [f"{context.site.name}/{name}" for name in haproxy.local_databases(context)]

    def start(self, context: Context) -> None:
        password = context.write("agent.password", context.template.secret("agent"))
        replication = context.write("replication.password", context.template.secret("replication"))
        document = _configuration(context, str(password), str(replication))
        path = context.write("agent.yaml", json.dumps(document, indent=1))
        daemon = context.spawn([script("isthmus-agent"), "--config", str(path)])
        context.wait(daemon, lambda: _missing(context))

    def test(self, context: Context) -> str:
        if missing := _missing(context):
            raise errors.NotReady(
                what="the agent does not answer", where=context.unit, cause=missing
            )
        answer = inside.get(
            context.site.namespace, context.site.front, config.AGENT_PORT, "/status", timeout=2.0
        )
        idle = [d for d in json.loads(answer.body)["databases"] if not d["serving"]]
        if idle:
            raise errors.NotReady(
                what=f"{idle[0]['name']} does not serve",
                where=context.unit,
                cause=str(idle[0]["reason"]),
            )
        return "every identity database of the site serves"


def _missing(context: Context) -> str | None:
    return inside.missing(
        context.site.namespace, context.site.front, config.AGENT_PORT, "/healthcheck"
    )


def _configuration(context: Context, password: str, replication: str) -> dict[str, object]:
    site, writers = context.site, context.environment.writers
    service = context.of(site, keystone.NAME)
    return {
        "site": site.name,
        "listen": [f"{site.front}:{config.AGENT_PORT}", f"{site.management}:{config.AGENT_PORT}"],
        "writer_preference": [writer.name for writer in writers],
        "databases": [
            _database(context, name, address, password)
            for name, address in haproxy.local_databases(context).items()
        ],
        "masters": {
            writer.name: {"host": identity_db.address(writer), "port": config.REPLICATION_PORT}
            for writer in writers
        },
        "replication": {"user": "repl", "password_file": replication},
        "key_repositories": {
            "token": str(service.directory / keystone.KEY_REPOSITORIES[0]),
            "credential": str(service.directory / keystone.KEY_REPOSITORIES[1]),
        },
        "keys": _keys(context, password),
        "queue": str(keystone.queue(service)),
        "configuration_files": _configuration_files(context),
        "policy": {
            "lag_limit_seconds": 5,
            "freeze_after_seconds": 5,
            "repoint_after_seconds": 5,
            "home_after_seconds": 30,
            "heartbeat_seconds": 0.5,
        },
    }


def _configuration_files(context: Context) -> dict[str, str]:
    """Keystone's file and those of the site's services that check tokens, wherever their components write them."""
    services = (glance.NAME, neutron.NAME, nova.NAME, placement.NAME, cinder.NAME)
    found = {name: f"{name}.conf" for name in services}
    found[glance.NAME] = "glance-api.conf"
    found[published.KEYSTONE] = "keystone.conf"
    return {
        name: str(context.of(context.site, name).directory / file)
        for name, file in found.items()
        if name in context.site.components
    }


def _keys(context: Context, password: str) -> dict[str, object]:
    """All sites rotate their token keys together. Receipts use the same keys."""
    sites = [each for each in context.environment.sites if keystone.NAME in each.components]
    pem = node_keys.pem(context.template, context.site)
    return {
        "private_key_file": str(context.write("node.pem", pem)),
        "nodes": {each.name: node_keys.public(context.template, each) for each in sites},
        "writer": {
            "host": context.site.front,
            "port": config.WRITER_PORT,
            "user": "agent",
            "password_file": password,
        },
        "kinds": {
            "token": {
                "expiration": config.TOKEN_SECONDS,
                "allow_expired_window": config.ALLOW_EXPIRED_SECONDS,
                # All sites have the clock of one machine.
                "clock_skew": 1,
                # A key is kept for two days, and a lab's are rotated as often as somebody rehearses it.
                "max_active_keys": 60,
            }
        },
    }


def _database(context: Context, name: str, address: str, password: str) -> dict[str, object]:
    writer = context.site.role is Role.WRITER
    database: dict[str, object] = {
        "name": name,
        "kind": "writer" if writer else "replica",
        "host": address,
        "port": 3306,
        "user": "agent",
        "password_file": password,
    }
    if not writer:
        database["home"] = name.removeprefix(replica.PREFIX)
    return database
