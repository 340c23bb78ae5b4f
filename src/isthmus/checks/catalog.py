"""Does the catalog, as each site shows it, have every region whole and once?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from isthmus.checks.facts import Facts, NotKnownError, Place
from isthmus.checks.values import Category, Check, Flaw
from isthmus.identity import published
from isthmus.identity.findings import Outcome
from isthmus.sites.probe import Endpoint

TYPES = {
    published.KEYSTONE: ("identity",),
    "cinder": ("block-storage", "volumev3", "volume"),
    "glance": ("image",),
    "neutron": ("network",),
    "nova": ("compute",),
    "placement": ("placement",),
}
"""The service types of endpoints (service-types-authority), with the names that are still in use."""

Endpoints = tuple[Endpoint, ...]


def _regions(found: Mapping[str, Endpoints], facts: Facts) -> Iterator[Flaw]:
    known = sorted({each.region for each in _shared(found)})
    for site in facts.inventory.sites:
        if site.region not in known:
            yield Flaw(
                cause=f"{site.region} ({site.name}) is missing; there are: {', '.join(known) or 'none'}",
                names={"region": site.region},
            )


def _complete(found: Mapping[str, Endpoints], facts: Facts) -> Iterator[Flaw]:
    """A region may do without a service. What it has is held against the same service of other regions, and against what runs."""
    regions = [site.region for site in facts.inventory.sites]
    having: dict[tuple[str, str], set[str]] = {}
    for each in _shared(found):
        if each.region in regions:
            having.setdefault((each.region, each.service), set()).add(each.interface)
    for region, service in having:
        others = {
            i for (r, s), each in having.items() if s == service and r != region for i in each
        }
        for interface in sorted(others - having[region, service]):
            yield _missing(region, service, interface, "other regions have one")
    for place in facts.places:
        for name, types in _runs(place).items():
            if not any((place.site.region, each) in having for each in types):
                yield _missing(place.site.region, types[0], "public", f"{name} runs there")


def _runs(place: Place) -> dict[str, tuple[str, ...]]:
    """What runs at a site, as far as its agent tells: by name, the types that its endpoints may have."""
    try:
        names = (published.KEYSTONE, *place.services)
    except NotKnownError:
        names = (published.KEYSTONE,)
    return {name: TYPES[name] for name in names if name in TYPES}


def _missing(region: str, service: str, interface: str, why: str) -> Flaw:
    return Flaw(
        cause=f"{region} has no {interface} endpoint of {service}; {why}",
        severity=Outcome.ERROR if service in TYPES[published.KEYSTONE] else None,
        names={"region": region, "service": service, "interface": interface},
    )


def _twice(found: Mapping[str, Endpoints], _facts: Facts) -> Iterator[Flaw]:
    holders: dict[str, set[str]] = {}
    for each in _shared(found):
        holders.setdefault(each.url.rstrip("/"), set()).add(each.region)
    for url, regions in sorted(holders.items()):
        if len(regions) > 1:
            yield Flaw(cause=f"{url} is the endpoint of {', '.join(sorted(regions))}")


def _shared(found: Mapping[str, Endpoints]) -> Endpoints:
    """The catalog of any site: whoever reads it stands on their being equal."""
    return next(iter(found.values()))


def _endpoints(place: Place) -> Endpoints:
    return place.login.endpoints


def _same(found: Mapping[str, Endpoints], _facts: Facts) -> Iterator[Flaw]:
    kept = {site: frozenset(endpoints) for site, endpoints in found.items()}
    everything = frozenset().union(*kept.values())
    for site, endpoints in kept.items():
        if absent := sorted(
            everything - endpoints, key=lambda e: (e.region, e.service, e.interface)
        ):
            first = absent[0]
            yield Flaw(
                site=site,
                cause=f"missing of what other sites show: {len(absent)} endpoints, such as "
                f"{first.service} {first.interface} of {first.region}",
            )


CHECKS = (
    Check(
        id="catalog-equal",
        title="All sites show the same catalog",
        category=Category.CATALOG,
        severity=Outcome.ERROR,
        needs=("login",),
        consequence="the sites' identity data differ: what is missing here may be more than endpoints",
        remedy="look at the replication filters, then at the lag",
        command="isthmus check --only replica-filters --only replica-lag",
        reads=_endpoints,
        of_all=_same,
    ),
    Check(
        id="catalog-regions",
        title="The catalog has every region",
        category=Category.CATALOG,
        severity=Outcome.ERROR,
        needs=("login", "catalog-equal"),
        consequence="clients find nothing of that site, and services there find no endpoint of their own region",
        remedy="add the region's endpoints to the catalog, or correct the region in the sites file",
        command="openstack endpoint list --region {region}",
        reads=_endpoints,
        of_all=_regions,
    ),
    Check(
        id="catalog-complete",
        title="Every region has all endpoints of what runs there",
        category=Category.CATALOG,
        severity=Outcome.WARN,
        needs=("login", "catalog-equal", "catalog-regions"),
        consequence="a client of that region takes another region's endpoint, or fails",
        remedy="add the {interface} endpoint of {service} for {region}",
        command="openstack endpoint create --region {region} {service} {interface} URL",
        reads=_endpoints,
        of_all=_complete,
    ),
    Check(
        id="catalog-distinct",
        title="No endpoint stands for two regions",
        category=Category.CATALOG,
        severity=Outcome.ERROR,
        needs=("login", "catalog-equal"),
        consequence="who chooses one region acts in the other; services of one site check tokens at the other",
        remedy="correct the endpoint of the region that it does not belong to",
        command="openstack endpoint list",
        reads=_endpoints,
        of_all=_twice,
    ),
)
