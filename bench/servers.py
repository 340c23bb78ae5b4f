"""The Keystones that are compared at a replica site: ours, and stock ones as a region runs them without Isthmus.

Every stock variant is `keystone.wsgi.api:application` of the same version, under the same gunicorn settings, with the configuration
of ours but for what makes it stock: drivers, database, caching. Each has a memcached of its own: with a shared one they would
answer from each other's cache. All are asked directly, past HAProxy.
"""

import configparser
import io
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

from bench import labs
from bench.labs import MARK, Lab
from isthmus.identity import config
from isthmus.lab import inside
from isthmus.lab.components import identity_db, keystone, memcached, replica
from isthmus.lab.components.base import Context, script
from isthmus.lab.environment import SiteSpec
from isthmus.lab.processes import Daemon

_FIRST_PORT = 5091
_FIRST_CACHE_PORT = 11311


class Database(StrEnum):
    """Which database a stock Keystone at the replica site uses."""

    WRITER = "writer"  # the writer site's, over the WAN: a region without replication
    REPLICA = "replica"  # the site's own read-only replica


class Caching(StrEnum):
    """How a stock Keystone caches."""

    SAME = "same"  # as ours: memcached, answers expire after a few seconds
    DEFAULT = "default"  # memcached with stock's expiration (600 s): fast, and deaf to a revocation made elsewhere for as long
    NONE = "none"  # stock without a memcached: within one request only


@dataclass(frozen=True, kw_only=True)
class Stock:
    """One stock variant."""

    database: Database
    caching: Caching

    @property
    def name(self) -> str:
        return f"{self.database}-{self.caching}"


OURS = "ours"

WORDS = {
    OURS: "Isthmus: local replica, site kit",
    "writer-same": "stock, writer's database over the WAN, our cache settings",
    "writer-default": "stock, writer's database over the WAN, cache for 600 s",
    "writer-none": "stock, writer's database over the WAN, no memcached",
    "replica-same": "stock, local read-only replica, our cache settings",
    "replica-default": "stock, local read-only replica, cache for 600 s",
    "replica-none": "stock, local read-only replica, no memcached",
}


@dataclass(frozen=True, kw_only=True)
class Server:
    """A Keystone that answers at `host`:`port` in `namespace`; `unit` is its processes' name, `cache` that of its memcached."""

    name: str
    namespace: str
    host: str
    port: int
    unit: str
    cache: str


@contextmanager
def running(lab: Lab, stocks: Sequence[Stock]) -> Iterator[list[Server]]:
    """Ours and `stocks` at the replica site, all ready; the stock ones are ended again."""
    site = lab.madrid
    ours = Server(
        name=OURS,
        namespace=site.namespace,
        host=site.address(keystone.HOST),
        port=config.IDENTITY_PORT,
        unit=f"{site.name}/{keystone.NAME}",
        cache=f"{site.name}/memcached",
    )
    contexts = [_context(lab, site, f"{MARK}{stock.name}") for stock in stocks]
    try:
        started = [
            _start(lab, context, stock, number)
            for number, (context, stock) in enumerate(zip(contexts, stocks, strict=True))
        ]
        for context, (server, daemon) in zip(contexts, started, strict=True):
            context.wait(daemon, lambda s=server: _missing(s))  # type: ignore[misc]
        yield [ours, *(server for server, _ in started)]
    finally:
        labs.remove_own(lab)
        for directory in lab.home.unit_directory(site.name).glob(f"{MARK}*"):
            shutil.rmtree(directory, ignore_errors=True)


def _context(lab: Lab, site: SiteSpec, name: str) -> Context:
    return Context(
        home=lab.home, environment=lab.environment, site=site, template=lab.template, name=name
    )


def _start(lab: Lab, context: Context, stock: Stock, number: int) -> tuple[Server, Daemon]:
    """Start a variant and its memcached; does not wait until it answers, since all load their code at the same time."""
    site, port = context.site, _FIRST_PORT + number
    cache = _context(lab, site, f"{MARK}cache-{stock.name}")
    cache_port = _FIRST_CACHE_PORT + number
    host = site.address(memcached.HOST)
    cache.spawn(
        ["memcached", "-u", "memcache", "-l", host, "-p", str(cache_port), "-m", "32", "-t", "1"]
    )
    context.write(
        "keystone.conf",
        configuration(
            _stock_base(lab, context, f"{host}:{cache_port}"), stock, database_url(lab, stock)
        ),
    )
    address = site.address(keystone.HOST)
    text = keystone.gunicorn("keystone.wsgi.api:application", address=address, port=port)
    context.write("gunicorn.conf.py", text)
    daemon = context.spawn(
        [script("gunicorn")], env={"OS_KEYSTONE_CONFIG_DIR": str(context.directory)}
    )
    server = Server(
        name=stock.name,
        namespace=site.namespace,
        host=address,
        port=port,
        unit=context.unit,
        cache=cache.unit,
    )
    return server, daemon


def _stock_base(lab: Lab, context: Context, cache: str) -> str:
    """Our own configuration of the site, for this variant's files and memcached."""
    keys = lab.units[f"{context.site.name}/{keystone.NAME}"].context.directory
    return config.keystone(
        site=context.site.name,
        database_password=lab.template.secret("keystone"),
        front=context.site.front,
        memcached=cache,
        token_keys=str(keys / keystone.KEY_REPOSITORIES[0]),
        credential_keys=str(keys / keystone.KEY_REPOSITORIES[1]),
        queue="",
        log_file=str(lab.home.log(f"{context.unit}-service")),
    )


def database_url(lab: Lab, stock: Stock) -> str:
    """host:port of the variant's database."""
    if stock.database is Database.WRITER:
        return f"{identity_db.address(labs.writer(lab))}:{config.READER_PORT}"
    site = lab.madrid
    name = next(name for name in site.components if name.startswith(replica.PREFIX))
    return f"{replica.address(lab.units[f'{site.name}/{name}'].context)}:{config.READER_PORT}"


def configuration(ours: str, stock: Stock, database: str) -> str:
    """Our keystone.conf (text) made stock: its own drivers, one database at `database` (host:port), its caching. Pure."""
    parser = configparser.RawConfigParser()
    parser.read_string(ours)
    for section in ("shadow_users", "revoke", "isthmus"):
        parser.remove_section(section)
    parser.remove_option("identity", "driver")
    account, _, rest = parser.get("database", "connection").rpartition("@")
    parser.set("database", "connection", f"{account}@{database}/{rest.partition('/')[2]}")
    parser.remove_option("database", "slave_connection")
    if stock.caching is not Caching.SAME:
        parser.remove_option("cache", "expiration_time")
    if stock.caching is Caching.NONE:
        parser.remove_option("cache", "backend")
    text = io.StringIO()
    parser.write(text)
    return text.getvalue()


def _missing(server: Server) -> str | None:
    return inside.missing(server.namespace, server.host, server.port, "/v3")
