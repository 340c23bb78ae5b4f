"""Making and changing declarations of stretched networks: every check before anything is written.

It exists apart from the values so that the reconciler, the store and the faces can use them without
the rules of change. Each function returns a whole new declaration or raises DeclarationError; it
writes nothing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence

from isthmus.network import address_plan, partition
from isthmus.network.declarations import (
    Changes,
    DeclarationError,
    Gateway,
    Range,
    Request,
    Settings,
    StretchedNetwork,
)

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
LEAST_MTU = 576
"""RFC 791: every host must accept packets of this size."""
LEAST_PATIENCE_SECONDS = 10.0
"""A site that restarts its front is silent for seconds and must not be taken for gone."""


def declare(
    request: Request,
    existing: Sequence[StretchedNetwork],
    settings: Settings,
    *,
    identity: str | None = None,
) -> StretchedNetwork:
    """Check a request, choose what it leaves open, and return the declaration (revision 1).

    `existing`: all declarations, those being deleted included, since they still hold their VNI.
    `identity`: its id; None makes a new UUID. Raises DeclarationError.
    """
    with _refusing(f"network {request.name} cannot be declared", "nothing was declared"):
        _check_name(request.name, existing)
        _check_project(request.project_id)
        _check_sites(request.sites, settings)
        _check_patience(request.partition, request.partition_after_seconds)
        cidr = str(address_plan.network(request.cidr))
        count = _slots(request, cidr, settings)
        shares = _shares(request, cidr, count)
        return StretchedNetwork(
            id=identity or str(uuid.uuid4()),
            name=request.name,
            project_id=request.project_id,
            cidr=cidr,
            vni=_vni(request.vni, existing, settings),
            sites=request.sites,
            pools=_pool_texts(shares),
            gateway=request.gateway,
            gateways=_gateway_texts(shares),
            dhcp=request.dhcp,
            mtu=_mtu(request.mtu, settings),
            partition=request.partition,
            partition_after_seconds=request.partition_after_seconds,
            slots=count,
        )


def change(
    network: StretchedNetwork,
    changes: Changes,
    existing: Sequence[StretchedNetwork],
    settings: Settings,
) -> StretchedNetwork:
    """The declaration with the changes and the next revision; the same value when nothing differs.

    Raises DeclarationError.
    """
    given = {name: value for name, value in vars(changes).items() if value is not None}
    changed = dataclasses.replace(network, **given)
    with _refusing(f"network {network.name} cannot be changed", "it is left as it was"):
        _refuse_deleting(network)
        if changed.name != network.name:
            _check_name(changed.name, existing)
        if changed.mtu != network.mtu:
            _mtu(changed.mtu, settings)
        _check_patience(changed.partition, changed.partition_after_seconds)
    return network if changed == network else _next(changed)


def attach(
    network: StretchedNetwork,
    site: str,
    settings: Settings,
    *,
    pool: tuple[Range, ...] | None = None,
    gateway: str | None = None,
) -> StretchedNetwork:
    """The declaration with one more site. The pools of the others stay. Raises DeclarationError."""
    with _refusing(
        f"site {site} cannot be attached to network {network.name}",
        "the network and its pools are left as they were",
    ):
        _refuse_deleting(network)
        if site in network.sites:
            raise address_plan.PlanError(f"{site} is attached already", field="sites")
        _check_sites((*network.sites, site), settings)
        new = address_plan.shares(
            network.cidr,
            network.slots,
            (site,),
            given=_given(
                {site: pool} if pool else {}, {site: gateway} if gateway else {}, network.gateway
            ),
            held=network.shares(),
            with_gateways=network.gateway is Gateway.PER_SITE,
        )
    return _next(
        dataclasses.replace(
            network,
            sites=(*network.sites, site),
            pools={**network.pools, **_pool_texts(new)},
            gateways={**network.gateways, **_gateway_texts(new)},
        )
    )


def detach(network: StretchedNetwork, site: str) -> StretchedNetwork:
    """The declaration without the site; its pool is free for others. Raises DeclarationError."""
    with _refusing(
        f"site {site} cannot be detached from network {network.name}",
        "the network is left as it was",
    ):
        _refuse_deleting(network)
        if site not in network.sites:
            raise address_plan.PlanError(f"{site} is not attached", field="sites")
        if len(network.sites) == 1:
            raise address_plan.PlanError(
                f"{site} is its last site: delete the network instead", field="sites"
            )
    return _next(
        dataclasses.replace(
            network,
            sites=tuple(each for each in network.sites if each != site),
            pools={name: pool for name, pool in network.pools.items() if name != site},
            gateways={name: each for name, each in network.gateways.items() if name != site},
        )
    )


def withdraw(network: StretchedNetwork) -> StretchedNetwork:
    """The declaration marked as being deleted: every site now takes its part away."""
    return network if network.deleting else _next(dataclasses.replace(network, deleting=True))


@contextlib.contextmanager
def _refusing(what: str, unchanged: str) -> Iterator[None]:
    try:
        yield
    except address_plan.PlanError as error:
        raise DeclarationError(error.field, what, cause=str(error), unchanged=unchanged) from None


def _next(network: StretchedNetwork) -> StretchedNetwork:
    return dataclasses.replace(network, revision=network.revision + 1)


def _refuse_deleting(network: StretchedNetwork) -> None:
    if network.deleting:
        raise address_plan.PlanError("it is being deleted", field="name")


def _check_name(name: str, existing: Sequence[StretchedNetwork]) -> None:
    if not NAME.fullmatch(name):
        raise address_plan.PlanError(
            f"{name!r} is no name: 1 to 63 letters, digits, dots, dashes or underscores, "
            "the first a letter or a digit",
            field="name",
        )
    other = next((each for each in existing if each.name == name), None)
    if other:
        state = "is being deleted" if other.deleting else "exists"
        raise address_plan.PlanError(
            f"a network {name} {state} already (id {other.id}, project {other.project_id})",
            field="name",
        )


def _check_project(project_id: str) -> None:
    if not project_id or len(project_id) > 255 or project_id.split() != [project_id]:
        raise address_plan.PlanError(f"{project_id!r} is no project id", field="project_id")


def _check_sites(sites: tuple[str, ...], settings: Settings) -> None:
    if not sites:
        raise address_plan.PlanError("a network needs at least one site", field="sites")
    if len(set(sites)) != len(sites):
        raise address_plan.PlanError("a site is named twice", field="sites")
    unknown = [site for site in sites if site not in settings.sites]
    if unknown:
        raise address_plan.PlanError(
            f"{', '.join(unknown)}: no such site with a Neutron (there are "
            f"{', '.join(settings.sites) or 'none'})",
            field="sites",
        )


def _check_patience(policy: partition.Policy, seconds: float) -> None:
    if not seconds >= LEAST_PATIENCE_SECONDS or seconds == float("inf"):
        raise address_plan.PlanError(
            f"{seconds:g} s is no time to wait before {policy}: at least {LEAST_PATIENCE_SECONDS:g}",
            field="partition_after_seconds",
        )


def _vni(wanted: int | None, existing: Sequence[StretchedNetwork], settings: Settings) -> int:
    owners = {each.vni: each.name for each in existing}
    if wanted is None:
        return address_plan.free_vni(settings.vni_range, owners)
    first, last = settings.vni_range
    if not first <= wanted <= last:
        raise address_plan.PlanError(
            f"VNI {wanted} is outside of the range reserved in all sites ({first} to {last})",
            field="vni",
        )
    if wanted in owners:
        raise address_plan.PlanError(
            f"VNI {wanted} belongs to network {owners[wanted]}", field="vni"
        )
    return wanted


def _mtu(wanted: int | None, settings: Settings) -> int:
    mtu = settings.largest_mtu if wanted is None else wanted
    if not LEAST_MTU <= mtu <= settings.largest_mtu:
        raise address_plan.PlanError(
            f"MTU {mtu} is not between {LEAST_MTU} and {settings.largest_mtu} (the underlay carries "
            f"{settings.underlay_mtu} bytes, the tunnel needs {settings.tunnel_overhead})",
            field="mtu",
        )
    return mtu


def _slots(request: Request, cidr: str, settings: Settings) -> int:
    """How many parts; sites whose pool is given need none, and those pools may lie anywhere."""
    least = 2 if request.gateway is Gateway.PER_SITE else 1
    sites = sum(1 for site in request.sites if site not in request.pools)
    return address_plan.slot_count(cidr, wanted=settings.slots, sites=sites, least=least)


def _shares(request: Request, cidr: str, count: int) -> address_plan.Shares:
    return address_plan.shares(
        cidr,
        count,
        request.sites,
        given=_given(request.pools, request.gateways, request.gateway),
        with_gateways=request.gateway is Gateway.PER_SITE,
    )


def _given(
    pools: Mapping[str, tuple[Range, ...]], gateways: Mapping[str, str], policy: Gateway
) -> address_plan.Shares:
    if gateways and policy is not Gateway.PER_SITE:
        raise address_plan.PlanError(
            f"a gateway address needs the policy {Gateway.PER_SITE}, not {policy}", field="gateways"
        )
    return address_plan.Shares(
        pools={site: tuple(_span(site, each) for each in ranges) for site, ranges in pools.items()},
        gateways={site: _gateway(site, each) for site, each in gateways.items()},
    )


def _span(site: str, pool: Range) -> address_plan.Span:
    try:
        return address_plan.Span.parse(*pool)
    except (address_plan.PlanError, TypeError) as error:
        raise address_plan.PlanError(f"pool of {site}: {error}", field="pools") from None


def _gateway(site: str, address: str) -> int:
    try:
        return address_plan.number(address)
    except address_plan.PlanError as error:
        raise address_plan.PlanError(f"gateway of {site}: {error}", field="gateways") from None


def _pool_texts(shares: address_plan.Shares) -> dict[str, tuple[Range, ...]]:
    return {
        site: tuple(span.texts() for span in sorted(spans)) for site, spans in shares.pools.items()
    }


def _gateway_texts(shares: address_plan.Shares) -> dict[str, str]:
    return {site: address_plan.text(each) for site, each in shares.gateways.items()}
