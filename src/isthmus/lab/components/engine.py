"""The engine of one site: keeps the site's Neutron in step with what is declared and with the peers."""

import json
from pathlib import Path

from isthmus.identity import config
from isthmus.lab import calling, errors, inside
from isthmus.lab.calling import Call, Client
from isthmus.lab.components import (
    ceph,
    ceph_config,
    debian_modules,
    haproxy,
    host_agent,
    local_db,
    neutron,
    neutron_config,
    rabbitmq,
    recovery_keys,
    room,
    swift,
)
from isthmus.lab.components.base import Component, Context, script
from isthmus.lab.environment import PHYSICAL_NETWORK, SiteSpec
from isthmus.store import SCHEMA

NAME = "engine"
HOST = 7

_TUNNEL_OVERHEAD = 50  # VXLAN over IPv4


def address(site: SiteSpec) -> str:
    """Where the site's engine answers its peers."""
    return site.address(HOST)


class Engine(Component):
    def needs(self, context: Context) -> list[str]:
        storage = [ceph.NAME] if ceph.NAME in context.site.components else []
        return [f"{context.site.name}/{name}" for name in (haproxy.NAME, *storage)]

    def start(self, context: Context) -> None:
        context.directory.mkdir(parents=True, exist_ok=True)
        (context.directory / "state").mkdir(mode=0o700, exist_ok=True)
        path = context.write("engine.yaml", json.dumps(_configuration(context), indent=1))
        argv, env = [script("isthmus-engine"), "--config", str(path)], {}
        if ceph.NAME in context.site.components:
            # It takes snapshots of volumes by itself, with Ceph's own library.
            seen = {ceph.cluster(context).etc: Path("/etc/ceph")}
            room.prepare(seen)
            argv, env = room.enter(argv, mounts=seen), debian_modules.environment(context.home)
        daemon = context.spawn(argv, env=env)
        context.wait(daemon, lambda: _missing(context))

    def test(self, context: Context) -> str:
        if missing := _missing(context):
            raise errors.NotReady(
                what="the engine does not answer", where=context.unit, cause=missing
            )
        seen = inside.within(context.site.namespace, lambda: _networks(context))
        if seen.status != 200:
            raise errors.NotReady(what="the engine refuses", where=context.unit, cause=seen.said)
        return f"lists {len(seen.body['networks'])} stretched networks for a user with a token of this site"


def _networks(context: Context) -> Call:
    """What an administrator gets who lists stretched networks; to be called inside the site."""
    login = Client(context.site.front).login(calling.account(context.template, "admin"))
    return Client(address(context.site)).stretched(login.token) if login.token else login


def _missing(context: Context) -> str | None:
    return inside.missing(
        context.site.namespace, address(context.site), config.ENGINE_PORT, "/healthcheck"
    )


def _configuration(context: Context) -> dict[str, object]:
    """engine.yaml; a site without Neutron is a witness and gets no message bus."""
    site = context.site
    peers = [peer for peer in context.environment.sites if peer != site and NAME in peer.components]
    document: dict[str, object] = {
        "site": site.name,
        "listen": [
            f"{address(site)}:{config.ENGINE_PORT}",
            f"{site.management}:{config.ENGINE_PORT}",
        ],
        "peers": {peer.name: f"http://{address(peer)}:{config.ENGINE_PORT}" for peer in peers},
        "database": {
            "reader": f"{site.front}:{config.READER_PORT}",
            "writer": f"{site.front}:{config.WRITER_PORT}",
            "user": "engine",
            "password_file": _secret(context, "database.password", "engine-database"),
        },
        "identity": {
            "auth_url": f"http://{site.front}:{config.IDENTITY_PORT}/v3",
            "username": "isthmus",
            "password_file": _secret(context, "identity.password", "isthmus"),
            "project_name": "service",
            "user_domain_id": "default",
            "project_domain_id": "default",
        },
        "secret_file": _secret(context, "secret", host_agent.SIGNING),
        "hosts": {
            host.name: f"http://{host_agent.endpoint(host.address)}" for host in site.host_specs
        },
        "networks": {
            "vni_range": list(neutron_config.STRETCHED_VNIS),
            "physical_network": PHYSICAL_NETWORK,
            "tunnel_overhead": _TUNNEL_OVERHEAD,
            "underlay_mtu": neutron_config.OVERLAY_MTU_OF,
        },
        "state": str(context.directory / "state"),
    }
    if ceph.NAME in site.components:
        document["recovery"] = _recovery(context)
    if neutron.NAME in site.components:
        url = context.write("messaging.url", rabbitmq.url(context))
        document["messaging"] = {"url_file": str(url)}
    return document


def _recovery(context: Context) -> dict[str, object]:
    """Groups are protected in every site with storage; all believe each other, and Lyon's store keeps what they write."""
    site, template = context.site, context.template
    sites = [each for each in context.environment.sites if ceph.NAME in each.components]
    keys = {each.name: recovery_keys.of(template, each) for each in sites}
    own = keys[site.name]
    password = template.secret("recovery-database")
    url = f"mysql+pymysql://recovery:{password}@{local_db.address(site)}/{SCHEMA}"
    return {
        "database_url_file": str(context.write("recovery-database.url", url)),
        "store_region": next(each.name for each in swift.sites(context.environment)),
        "signing_key_file": str(context.write("signing.pem", own.signing_pem)),
        "trusted_keys": {name: each.signing.public.text for name, each in keys.items()},
        "sealing_key_file": str(context.write("sealing.pem", own.sealing_pem)),
        # Of the two cores.
        "restores_at_once": 2,
        "sealed_to": {name: each.sealing_public for name, each in keys.items()},
        "ceph": {
            "conf": ceph_config.CONF,
            "user": ceph_config.CLIENT,
            "pool": ceph_config.POOL,
            "keyring": ceph_config.KEYRING,
        },
    }


def _secret(context: Context, name: str, secret: str) -> str:
    return str(context.write(name, context.template.secret(secret)))
