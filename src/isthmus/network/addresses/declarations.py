"""Service addresses as operators declare them: one value, written once and replicated.

It is checked before it is written, and then says all that the engines of all sites need. It asks
nobody anything: that an address is free and that its targets exist is found out by each site
(`vrrp`, `serving`) and told as findings.

Only IPv4: `docs/service-addresses` says what IPv6 would need.
"""

from __future__ import annotations

import dataclasses
import enum
import ipaddress
import re
from collections.abc import Mapping
from typing import Any

from isthmus import errors
from isthmus.network.declarations import DeclarationError

DEVICE_OWNER_GATEWAY = "isthmus:gateway"
DEVICE_OWNER_RESERVATION = "isthmus:reservation"


class Kind(enum.StrEnum):
    """Who moves the address."""

    MOVED = "moved"  # Isthmus, on a provider network that all sites share
    VRRP = "vrrp"  # the network function itself


class Probe(enum.StrEnum):
    """How it is found out whether a target works."""

    TCP = "tcp"  # a connection to `port` is accepted
    ICMP = "icmp"  # an echo is answered
    NONE = "none"  # it is not: a target counts as healthy as long as its gateway works


@dataclasses.dataclass(frozen=True, kw_only=True)
class Check:
    """A health check; times in seconds. `fall` failures in a row make a target unhealthy, `rise`
    successes healthy. The defaults find a dead target within 1.5 s plus one timeout."""

    probe: Probe = Probe.NONE
    port: int = 0
    interval: float = 0.5
    timeout: float = 0.5
    fall: int = 3
    rise: int = 2

    def __str__(self) -> str:
        return f"tcp:{self.port}" if self.probe is Probe.TCP else str(self.probe)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServiceAddress:
    """One declared address. `targets`: what answers for it in each site, by site (`moved`: one
    fixed address each, `vrrp`: the members). `network`: the Neutron network of the targets, the
    same name in every site. `prefix` and `next_hop` are of the shared provider network that a `moved`
    address lies on; clients beyond that network are answered over `next_hop`.

    `automatic`: whether a site takes the address when nobody holds it. `prefer`: the site that
    should hold it. `fail_back`: seconds of health after which the preferred site takes it back,
    None: never by itself. `hosts`: the gateway host of each site; the first that works if not said.
    """

    id: str
    name: str
    address: str
    kind: Kind
    network: str
    targets: Mapping[str, tuple[str, ...]]
    prefix: int = 24
    next_hop: str | None = None
    check: Check = Check()
    automatic: bool = True
    prefer: str | None = None
    fail_back: float | None = None
    hosts: Mapping[str, str] = dataclasses.field(default_factory=dict)
    revision: int = 1
    deleting: bool = False

    @property
    def sites(self) -> tuple[str, ...]:
        """The sites that may hold it, the preferred one first."""
        return tuple(sorted(self.targets, key=lambda site: (site != self.prefer, site)))

    def target(self, site: str) -> str:
        """The fixed address that a `moved` address leads to in `site`."""
        return self.targets[site][0]

    def to_document(self) -> dict[str, Any]:
        """The JSON document of the store and of the API."""
        document = dataclasses.asdict(self)
        document["targets"] = {site: list(each) for site, each in self.targets.items()}
        document["kind"] = str(self.kind)
        document["check"]["probe"] = str(self.check.probe)
        return document

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> ServiceAddress:
        """From the JSON document; unknown fields of newer releases are ignored.

        Raises InputError when it has not the promised shape.
        """
        try:
            return _read(document)
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise errors.InputError(
                "the declaration of a service address cannot be read",
                where=f"address {document.get('name') or document.get('id') or 'without a name'}",
                cause=f"{type(error).__name__}: {error}",
                unchanged="it is left as it is",
            ) from error


def _read(document: Mapping[str, Any]) -> ServiceAddress:
    check = dict(document.get("check") or {})
    known = {field.name for field in dataclasses.fields(Check)} & check.keys()
    fail_back = document.get("fail_back")
    return ServiceAddress(
        id=str(document["id"]),
        name=str(document["name"]),
        address=str(ipaddress.IPv4Address(document["address"])),
        kind=Kind(document["kind"]),
        network=str(document["network"]),
        targets={
            str(site): tuple(str(ipaddress.IPv4Address(each)) for each in targets)
            for site, targets in document["targets"].items()
        },
        prefix=int(document.get("prefix", 24)),
        next_hop=document.get("next_hop"),
        check=Check(**{name: check[name] for name in known} | {"probe": Probe(check["probe"])})
        if check
        else Check(),
        automatic=bool(document.get("automatic", True)),
        prefer=document.get("prefer"),
        fail_back=None if fail_back is None else float(fail_back),
        hosts={str(site): str(host) for site, host in (document.get("hosts") or {}).items()},
        revision=int(document["revision"]),
        deleting=bool(document.get("deleting", False)),
    )


def _refused(field: str, what: str, cause: str) -> DeclarationError:
    return DeclarationError(field, what, cause=cause, unchanged="no address was declared")


def parse_check(text: str) -> Check:
    """`tcp:PORT`, `icmp` or `none`. Raises DeclarationError."""
    probe, _, port = text.partition(":")
    if probe == Probe.TCP and port.isdigit() and 0 < int(port) < 65536:
        return Check(probe=Probe.TCP, port=int(port))
    if text in (Probe.ICMP, Probe.NONE):
        return Check(probe=Probe(text))
    raise _refused("check", f"there is no check {text!r}", "it is tcp:PORT, icmp or none")


def declare(
    request: ServiceAddress, existing: tuple[ServiceAddress, ...], sites: tuple[str, ...]
) -> ServiceAddress:
    """The request, if it can be declared beside the `existing` ones. `sites`: those with a Neutron.

    Raises DeclarationError.
    """
    _named(request, existing)
    _targeted(request, sites)
    for field, value in (("prefer", request.prefer), *(("hosts", each) for each in request.hosts)):
        if value is not None and value not in request.targets:
            cause = f"the targets are in {', '.join(request.targets)}"
            raise _refused(field, f"there is no target in {value}", cause)
    if request.fail_back is not None and request.prefer is None:
        cause = "back to where is said by the preferred site"
        raise _refused("fail_back", "there is no site to fail back to", cause)
    if request.fail_back is not None and not 0 <= request.fail_back <= 86400:
        raise _refused("fail_back", "no such time", "it is 0 to 86400 seconds")
    return request


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


def _named(request: ServiceAddress, existing: tuple[ServiceAddress, ...]) -> None:
    if not _NAME.fullmatch(request.name):
        cause = "1 to 63 letters, digits, dots, hyphens and underscores"
        raise _refused("name", f"an address cannot be called {request.name!r}", cause)
    for other in existing:
        if other.id == request.id:
            continue
        if other.name == request.name:
            cause = f"it is {other.address} ({other.kind}); give this one another name"
            raise _refused("name", f"the name {request.name} is taken", cause)
        if other.address == request.address and _place(other) == _place(request):
            raise _refused(
                "address", f"{request.address} is declared already", f"it is called {other.name}"
            )


def _place(address: ServiceAddress) -> str:
    """The network in which the address must be unique; there is one provider network."""
    return "" if address.kind is Kind.MOVED else address.network


def _targeted(request: ServiceAddress, sites: tuple[str, ...]) -> None:
    if not request.targets:
        raise _refused("targets", "there is no target", "give SITE=ADDRESS at least once")
    for site, targets in request.targets.items():
        if site not in sites:
            cause = f"sites with a Neutron are {', '.join(sites) or 'none'}"
            raise _refused("targets", f"no target can be in {site}", cause)
        if request.kind is Kind.MOVED and len(targets) != 1:
            cause = f"{len(targets)} were given for {site}: one address leads to one target"
            raise _refused("targets", "a moved address has one target in each site", cause)
        if request.address in targets:
            cause = (
                "the target is the fixed address of the function's port, not the service address"
            )
            raise _refused("targets", f"{request.address} is its own target", cause)
