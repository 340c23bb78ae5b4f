"""Do the services that take tokens ask their own site's Keystone, and forget in time what was revoked?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from isthmus.checks import facts, keystones
from isthmus.checks.facts import Facts, Place
from isthmus.checks.values import RENDER, Category, Check, Flaw
from isthmus.identity import config
from isthmus.identity.findings import Outcome
from isthmus.identity.status import LAG_LIMIT_SECONDS

TOKEN_CACHE_SECONDS = 300.0
"""keystonemiddleware's default of token_cache_time."""

TOKEN_CACHE_LIMIT_SECONDS = 60.0

REVOCATION_LIMIT_SECONDS = 120.0
"""The longest time from a revocation until all of this site refuses: two minutes; stock settings make it sixteen and more."""

Options = Mapping[str, str]


def _option(options: Options, name: str, default: str = "") -> str:
    return options.get(f"keystone_authtoken.{name}", default)


def _cache_time(service: str, options: Options) -> float:
    """How long a service keeps a verdict, in seconds; 0 and less as they stand. Raises NotKnownError."""
    text = _option(options, "token_cache_time", f"{TOKEN_CACHE_SECONDS:g}")
    return facts.number(f"{service}: token_cache_time", text)


def _token_cache(place: Place) -> Iterator[Flaw]:
    for service, options in place.services.items():
        seconds = _cache_time(service, options)
        named = "keystone_authtoken.token_cache_time" in options
        unset = "" if named else " (the default)"
        # -1 keeps nothing; 0 is memcached's word for ever.
        if seconds > TOKEN_CACHE_LIMIT_SECONDS or seconds == 0:
            forever = ", which is for ever" if seconds == 0 else ""
            yield Flaw(
                cause=f"{service}: token_cache_time is {seconds:g}{unset}{forever}; the limit is {TOKEN_CACHE_LIMIT_SECONDS:g} s",
                names={"service": service, "seconds": str(config.TOKEN_CACHE_SECONDS)},
            )


def _bound(place: Place) -> Iterator[Flaw]:
    """What a revocation made at another site waits for at most: the stream, Keystone's caches, the service's own."""
    caches = keystones.cache_times(place.keystone)
    name, keystone = max(caches.items(), key=lambda each: each[1])
    times = {service: _cache_time(service, o) for service, o in place.services.items()}
    service, own = max(times.items(), key=lambda each: each[1])
    total = LAG_LIMIT_SECONDS + keystone + max(own, 0.0)
    if total > REVOCATION_LIMIT_SECONDS:
        yield Flaw(
            cause=f"lag {LAG_LIMIT_SECONDS:g} + Keystone ({name}) {keystone:g} + {service} {max(own, 0.0):g} = {total:g} s"
            f" (limit {REVOCATION_LIMIT_SECONDS:g} s)"
        )


def _region(place: Place) -> Iterator[Flaw]:
    for service, options in place.services.items():
        found = _option(options, "region_name")
        if found != place.site.region:
            yield Flaw(
                cause=f"{service}: region_name is {found or 'not set'}, the site's region is {place.site.region}",
                names={"service": service, "region": place.site.region},
            )


def _own_keystone(found: Mapping[str, Mapping[str, Options]], _facts: Facts) -> Iterator[Flaw]:
    holders: dict[str, dict[str, str]] = {}
    for site, services in found.items():
        for service, options in services.items():
            if url := _option(options, "auth_url").rstrip("/"):
                holders.setdefault(url, {}).setdefault(site, service)
    for url, sites in holders.items():
        if len(sites) > 1:
            words = ", ".join(f"{service} at {site}" for site, service in sites.items())
            yield Flaw(cause=f"{url} is asked by {words}")


def _service_tokens(place: Place) -> Iterator[Flaw]:
    for service, options in place.services.items():
        # The default became true with keystonemiddleware 13; what is deployed may be older.
        if not keystones.on(_option(options, "service_token_roles_required", "false")):
            yield Flaw(
                cause=f"{service}: service_token_roles_required is not true",
                names={"service": service},
            )


def _insecure(place: Place) -> Iterator[Flaw]:
    for service, options in place.services.items():
        if keystones.on(_option(options, "insecure", "false")):
            yield Flaw(cause=f"{service}: insecure is true", names={"service": service})


def _shared_cache(place: Place) -> Iterator[Flaw]:
    for service, options in place.services.items():
        if not _option(options, "memcached_servers"):
            yield Flaw(cause=f"{service}: memcached_servers is not set", names={"service": service})


CHECKS = (
    Check(
        id="token-cache-time",
        title="Services soon forget what they were told of a token",
        category=Category.SERVICES,
        severity=Outcome.ERROR,
        needs=("agent-answers",),
        consequence="a revoked token is accepted for so long on top of Keystone's bound, by all that share the memcached",
        remedy="set [keystone_authtoken] token_cache_time = {seconds} for {service} at {site}, then restart the service",
        command=RENDER,
        of_site=_token_cache,
    ),
    Check(
        id="revocation-bound",
        title="A revocation is known to all of the site in time",
        category=Category.SERVICES,
        severity=Outcome.ERROR,
        needs=("agent-answers", "cache-times", "token-cache-time"),
        consequence="whoever was shut out at one site goes on working at this one for so long",
        remedy="shorten the largest of these terms at {site}",
        command=RENDER,
        of_site=_bound,
    ),
    Check(
        id="service-region",
        title="Services use the endpoints of their own region",
        category=Category.SERVICES,
        severity=Outcome.ERROR,
        needs=("agent-answers",),
        consequence="the service may take another site's Keystone from the catalog: across the WAN, and not at all when it is cut",
        remedy="set [keystone_authtoken] region_name = {region} for {service} at {site}, then restart the service",
        command=RENDER,
        of_site=_region,
    ),
    Check(
        id="service-identity",
        title="Services ask the Keystone of their own site",
        category=Category.SERVICES,
        severity=Outcome.ERROR,
        needs=("agent-answers",),
        consequence="tokens are checked at another site: across the WAN, and not at all when it is cut",
        remedy="point [keystone_authtoken] auth_url of each service at the front of its own site",
        command=RENDER,
        reads=lambda place: place.services,
        of_all=_own_keystone,
    ),
    Check(
        id="service-tokens",
        title="Only services pass for services",
        category=Category.SERVICES,
        severity=Outcome.ERROR,
        needs=("agent-answers",),
        consequence="tokens of users pass for those of services, which may use expired tokens",
        remedy="set [keystone_authtoken] service_token_roles_required = true for {service} at {site}, then restart the service",
        command=RENDER,
        of_site=_service_tokens,
    ),
    Check(
        id="service-tls",
        title="Services check who answers as Keystone",
        category=Category.SERVICES,
        severity=Outcome.ERROR,
        needs=("agent-answers",),
        consequence="whoever is on the way can say which tokens are valid",
        remedy="take [keystone_authtoken] insecure out for {service} at {site}, name the CA in cafile, restart the service",
        command=RENDER,
        of_site=_insecure,
    ),
    Check(
        id="service-memcached",
        title="Services share one cache of verdicts",
        category=Category.SERVICES,
        severity=Outcome.WARN,
        needs=("agent-answers",),
        consequence="each process keeps verdicts of its own, so that answers differ from request to request",
        remedy="set [keystone_authtoken] memcached_servers for {service} at {site} to the memcached of the site",
        command=RENDER,
        of_site=_shared_cache,
    ),
)
