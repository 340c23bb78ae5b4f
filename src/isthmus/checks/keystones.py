"""Is each Keystone set so that it answers by itself and forgets in time what was revoked elsewhere?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from isthmus.checks import facts
from isthmus.checks.facts import Facts, NotKnownError, Place
from isthmus.checks.values import RENDER, Category, Check, Flaw, differing
from isthmus.identity import config
from isthmus.identity.findings import Outcome
from isthmus.sites import agent_documents
from isthmus.sites.inventory import Role

CACHE_LIMIT_SECONDS = 60.0
"""The longest time for which a revocation made at another site may wait in one cache: ours is five seconds (`config`)."""

CACHE_TIMES = {
    "cache.expiration_time": 600.0,
    "identity.cache_time": 600.0,
    "revoke.cache_time": 3600.0,
}
"""Keystone's own defaults in seconds. `token.cache_time` follows the first where it is not set."""

KIT = ("identity", "revoke", "shadow_users", "trust")
"""Sections whose driver is the site kit's."""

QUEUE_LIMIT_SECONDS = 60.0


def on(text: str) -> bool:
    """A switch of oslo.config."""
    return text.strip().lower() in ("true", "1", "on", "yes")


def cache_times(options: Mapping[str, str]) -> dict[str, float]:
    """How long Keystone keeps what another site may have revoked, in seconds, by setting. Raises NotKnownError."""
    texts = {name: options.get(name, f"{default:g}") for name, default in CACHE_TIMES.items()}
    if "token.cache_time" in options:
        texts["token.cache_time"] = options["token.cache_time"]
    return {name: facts.number(name, text) for name, text in texts.items()}


def _cached(place: Place) -> Iterator[Flaw]:
    options = place.keystone
    backend = options.get("cache.backend", "dogpile.cache.null")
    if not on(options.get("cache.enabled", "true")):
        yield Flaw(
            cause="[cache] enabled is false",
            consequence="also the cache inside one request is off: each check of a token costs five times as much",
        )
    elif backend != "oslo_cache.memcache_pool":
        yield Flaw(cause=f"[cache] backend is {backend}")


def _stale(place: Place) -> Iterator[Flaw]:
    for name, seconds in cache_times(place.keystone).items():
        section, _, option = name.partition(".")
        if seconds > CACHE_LIMIT_SECONDS or seconds <= 0:
            forever = " (for ever)" if seconds <= 0 else ""
            yield Flaw(
                cause=f"[{section}] {option} is {seconds:g} s{forever}, the limit is {CACHE_LIMIT_SECONDS:g} s",
                names={"section": section, "option": option, "seconds": str(config.CACHE_SECONDS)},
            )


def _own_cache(found: Mapping[str, str], _facts: Facts) -> Iterator[Flaw]:
    holders: dict[str, list[str]] = {}
    for site, servers in found.items():
        for server in (part.strip() for part in servers.split(",")):
            if server and not server.startswith(("localhost", "127.", "[::1]")):
                holders.setdefault(server, []).append(site)
    for server, sites in holders.items():
        if len(set(sites)) > 1:
            yield Flaw(cause=f"{server} is the cache of {', '.join(sites)}")


def _memcached(place: Place) -> str:
    found = place.keystone.get("cache.memcache_servers")
    if found is None:
        raise NotKnownError("[cache] memcache_servers is not set")
    return found


def _kit(place: Place) -> Iterator[Flaw]:
    options = place.keystone
    stock = [section for section in KIT if options.get(f"{section}.driver") != "isthmus"]
    if stock:
        replica = place.site.role is Role.REPLICA
        yield Flaw(
            cause=f"stock driver in: {', '.join(f'[{section}]' for section in stock)}",
            severity=Outcome.ERROR if replica else Outcome.WARN,
        )


def _provider(found: Mapping[str, Mapping[str, str]], _facts: Facts) -> Iterator[Flaw]:
    if words := differing({s: o.get("token.provider", "fernet") for s, o in found.items()}):
        yield Flaw(cause=words)


def _lifetimes(found: Mapping[str, Mapping[str, str]], _facts: Facts) -> Iterator[Flaw]:
    for option, default in (("expiration", "3600"), ("allow_expired_window", "172800")):
        values = {s: f"{o.get(f'token.{option}', default)} s" for s, o in found.items()}
        if words := differing(values):
            yield Flaw(cause=f"[token] {option}: {words}", names={"option": option})


def _lockout(place: Place) -> Iterator[Flaw]:
    text = place.keystone.get("security_compliance.lockout_failure_attempts", "")
    if not text.isdecimal() or int(text) == 0:
        yield Flaw(cause=f"[security_compliance] lockout_failure_attempts is {text or 'not set'}")


def _debug(place: Place) -> Iterator[Flaw]:
    for option, severity in (("insecure_debug", Outcome.ERROR), ("debug", Outcome.WARN)):
        if on(place.keystone.get(f"DEFAULT.{option}", "false")):
            yield Flaw(cause=f"[DEFAULT] {option} is on", severity=severity)


def _queue(place: Place) -> Iterator[Flaw]:
    queue = place.status.queue
    if isinstance(queue, agent_documents.Unreadable):
        yield Flaw(
            cause=f"the agent cannot read the queue: {queue.error}",
            consequence="nobody sees whether logins and revocations of this site reach the others",
            remedy=f"give the agent's user at {place.name} read access to the queue",
            command="ls -l /var/lib/keystone/isthmus",
        )
    elif queue.pending and (queue.oldest_age_seconds or 0) > QUEUE_LIMIT_SECONDS:
        yield Flaw(
            cause=f"{queue.pending} waiting, the oldest for {queue.oldest_age_seconds:.0f} s (limit {QUEUE_LIMIT_SECONDS:g} s)"
        )


def _readable(place: Place) -> Iterator[Flaw]:
    for name, found in place.settings.items():
        if isinstance(found, agent_documents.Unreadable):
            yield Flaw(cause=f"{name}: {found.error}", names={"name": name})


def _options(place: Place) -> Mapping[str, str]:
    return place.keystone


CHECKS = (
    Check(
        id="agent-settings",
        title="The agent can read the files that it was told of",
        category=Category.KEYSTONE,
        severity=Outcome.WARN,
        needs=("agent-answers",),
        consequence="nobody sees how this service is set",
        remedy="correct `configuration_files` of the agent at {site}, or give its user read access to the file of {name}",
        command="ls -l /etc/{name}",
        of_site=_readable,
    ),
    Check(
        id="keystone-cache",
        title="Keystone caches, and a dead memcached is a miss",
        category=Category.KEYSTONE,
        severity=Outcome.WARN,
        needs=("agent-answers",),
        consequence="each check of a token costs ten times as much, or fails while memcached is dead",
        remedy="set [cache] enabled = true and backend = oslo_cache.memcache_pool at {site}, then restart Keystone",
        command=RENDER,
        of_site=_cached,
    ),
    Check(
        id="cache-times",
        title="Keystone soon forgets what another site may have revoked",
        category=Category.KEYSTONE,
        severity=Outcome.ERROR,
        needs=("agent-answers",),
        consequence="a token revoked, a user disabled or a role taken at another site is still good here for so long",
        remedy="set [{section}] {option} = {seconds} at {site}, then restart Keystone",
        command=RENDER,
        of_site=_stale,
    ),
    Check(
        id="own-memcached",
        title="No two sites share a memcached",
        category=Category.KEYSTONE,
        severity=Outcome.ERROR,
        needs=("agent-answers",),
        consequence="checks of tokens cross the WAN and fail with it, and one site's cache decides for another",
        remedy="give each site's Keystone the memcached of its own site",
        command=RENDER,
        reads=_memcached,
        of_all=_own_cache,
    ),
    Check(
        id="site-kit",
        title="Keystone has the site kit's drivers",
        category=Category.KEYSTONE,
        severity=Outcome.ERROR,
        needs=("agent-answers",),
        consequence="while the writer is away no first login of the day, wrong password or revocation is answered here",
        remedy="set `driver = isthmus` in these sections at {site}, then restart Keystone",
        command=RENDER,
        of_site=_kit,
    ),
    Check(
        id="token-provider",
        title="All sites issue tokens of one kind",
        category=Category.KEYSTONE,
        severity=Outcome.ERROR,
        needs=("agent-answers",),
        consequence="tokens of one site are refused at the others",
        remedy="set [token] provider to the same kind at all sites, then restart Keystone",
        command=RENDER,
        reads=_options,
        of_all=_provider,
    ),
    Check(
        id="token-lifetimes",
        title="Tokens live equally long at all sites",
        category=Category.KEYSTONE,
        severity=Outcome.WARN,
        needs=("agent-answers",),
        consequence="how long a stolen token is good depends on the site, and keys are kept for the lifetime of one of them",
        remedy="set [token] {option} to one value at all sites, then restart Keystone",
        command=RENDER,
        reads=_options,
        of_all=_lifetimes,
    ),
    Check(
        id="lockout",
        title="Guessing passwords is stopped",
        category=Category.KEYSTONE,
        severity=Outcome.WARN,
        needs=("agent-answers",),
        consequence="whoever reaches any site may guess without end, at all of them at once",
        remedy="set [security_compliance] lockout_failure_attempts and lockout_duration at {site}, then restart Keystone",
        command=RENDER,
        of_site=_lockout,
    ),
    Check(
        id="debug",
        title="Keystone tells no more than it must",
        category=Category.KEYSTONE,
        severity=Outcome.WARN,
        needs=("agent-answers",),
        consequence="requests and reasons of refusals are shown to whoever reads logs (debug) or asks (insecure_debug)",
        remedy="take it out of keystone.conf at {site}, then restart Keystone",
        command=RENDER,
        of_site=_debug,
    ),
    Check(
        id="queue",
        title="Writes of the site reach the writer",
        category=Category.KEYSTONE,
        severity=Outcome.WARN,
        needs=("agent-answers",),
        consequence="revocations and lockouts made here are not known elsewhere yet",
        remedy="look at the link from {site} to the writer; they are replayed by themselves",
        command="isthmus identity status",
        of_site=_queue,
    ),
)
