"""HAProxy: the HTTP front of a site and its database listeners; and, outside of all sites, the one login URL."""

from isthmus.identity import balancing, config
from isthmus.lab import errors, inside
from isthmus.lab.components import glance, identity_db, keystone, neutron, replica
from isthmus.lab.components.base import Component, Context
from isthmus.lab.environment import Role
from isthmus.lab.running import run

NAME = "haproxy"


class Haproxy(Component):
    """The front of one site."""

    def needs(self, context: Context) -> list[str]:
        behind = [keystone.NAME, glance.NAME]
        if _has_network(context):
            behind.append(neutron.NAME)
        return [f"{context.site.name}/{name}" for name in behind]

    def start(self, context: Context) -> None:
        site, environment = context.site, context.environment
        peers = [other for other in environment.sites if other != site]
        text = balancing.site(
            binds=[site.front, site.management],
            front=site.front,
            keystone_address=site.address(keystone.HOST),
            glance_address=site.address(glance.HOST),
            peers={peer.name: (peer.address(keystone.HOST), peer.front) for peer in peers},
            local_databases=local_databases(context),
            writers={w.name: (identity_db.address(w), w.front) for w in environment.writers},
            stats_socket=str(context.directory / "stats.sock"),
            network_address=site.address(neutron.HOST) if _has_network(context) else None,
        )
        _run(context, text)
        context.wait(None, lambda: _front_missing(context))

    def test(self, context: Context) -> str:
        if missing := _front_missing(context):
            raise errors.NotReady(
                what="the front does not pass requests", where=context.unit, cause=missing
            )
        kinds = "identity, image and network" if _has_network(context) else "identity and image"
        return f"{kinds} answer through the front"


def _front_missing(context: Context) -> str | None:
    """The local services must answer through the front: a peer's Keystone standing in is not enough for a test."""
    site = context.site
    asked = [(config.HEALTH_PORT, "/v3"), (config.IMAGE_PORT, "/healthcheck")]
    if _has_network(context):
        asked.append((config.NETWORK_PORT, "/healthcheck"))
    missing = (inside.missing(site.namespace, site.front, port, path) for port, path in asked)
    return next(filter(None, missing), None)


def _has_network(context: Context) -> bool:
    return neutron.NAME in context.site.components


class Login(Component):
    """The one login URL: the first living site answers."""

    def needs(self, context: Context) -> list[str]:
        return [f"{site.name}/haproxy" for site in context.environment.sites]

    def start(self, context: Context) -> None:
        environment = context.environment
        text = balancing.login(
            bind=environment.login_address,
            sites={site.name: site.management for site in environment.sites},
            stats_socket=str(context.directory / "stats.sock"),
        )
        _run(context, text)
        context.wait(None, lambda: _login_missing(context))

    def test(self, context: Context) -> str:
        if missing := _login_missing(context):
            raise errors.NotReady(
                what="the login URL does not answer", where=context.unit, cause=missing
            )
        return "the login URL answers"


def _login_missing(context: Context) -> str | None:
    return inside.missing(
        context.site.namespace, context.environment.login_address, config.IDENTITY_PORT, "/v3"
    )


def local_databases(context: Context) -> dict[str, str]:
    """The identity databases of a site by name, in the order in which they are read."""
    if context.site.role is Role.WRITER:
        return {identity_db.NAME: identity_db.address(context.site)}
    names = [name for name in context.site.components if name.startswith(replica.PREFIX)]
    return {name: replica.address(context.of(context.site, name)) for name in names}


def _run(context: Context, text: str) -> None:
    path = context.write("haproxy.cfg", text)
    run(["haproxy", "-c", "-q", "-f", str(path)], namespace=context.site.namespace)
    context.spawn(["haproxy", "-db", "-f", str(path)])
