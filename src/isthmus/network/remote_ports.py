"""The remote ports that a site should hold, and how it gets from what it holds to that.

It exists apart from the plan because it is the part that runs for every port. What is known of the
sites (seen, kept, gone) is an input: it is decided in `isthmus.network.reconciling`.
"""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

from isthmus.network.actions import Action, CreatePort, DeletePort, UpdatePort
from isthmus.network.declarations import StretchedNetwork
from isthmus.network.views import AddressPair, Origin, Port, SiteView

NOT_MIRRORED = frozenset(
    {
        # One port on many hosts: there is no one tunnel address to send to.
        "network:router_interface_distributed",
        "network:distributed",
    }
)


BOUND = "ACTIVE"
"""The status of every remote port that is bound, from the reply that made it on."""

Reason = Callable[[Origin], str | None]
"""Why the remote port of an origin that is not wanted may be deleted; None: it may not."""

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wanted:
    """One remote port as it should be in the own site."""

    origin: Origin
    name: str
    mac: str
    ips: tuple[str, ...]
    vtep: str
    security_groups: frozenset[str]
    address_pairs: frozenset[AddressPair]

    def matches(self, port: Port) -> bool:
        """Whether the port holds exactly what the network allows only once."""
        return port.mac == self.mac and port.ips == self.ips


class Groups:
    """Security groups of another site, found here by their names.

    A name that is missing here, or that two groups have, is left out: a rule for a group must not
    admit ports that are in another one. `missing` and `ambiguous` tell which origins that concerns.
    """

    def __init__(self, own: SiteView, project_id: str) -> None:
        self._ids: dict[str, list[str]] = {}
        for group in own.security_groups:
            if group.project_id == project_id:
                self._ids.setdefault(group.name, []).append(group.id)
        self.missing: dict[tuple[str, str], list[Port]] = {}
        self.ambiguous: dict[tuple[str, str], list[Port]] = {}

    def translate(self, peer: SiteView, names: Mapping[str, str], port: Port) -> frozenset[str]:
        """The ids here; `names` are those of the peer's groups by id."""
        return frozenset(self._translated(peer.site, names, port))

    def _translated(self, site: str, names: Mapping[str, str], port: Port) -> Iterator[str]:
        for name in sorted(names.get(each, each) for each in port.security_groups):
            ids = self._ids.get(name, [])
            if len(ids) == 1:
                yield ids[0]
            else:
                trouble = self.ambiguous if ids else self.missing
                trouble.setdefault((site, name), []).append(port)


def mirrored(port: Port) -> bool:
    """Whether other sites need a remote port for this one: it is real and it is bound."""
    return not (
        port.ours or port.remote_vtep or port.vtep_ip is None or port.device_owner in NOT_MIRRORED
    )


def wanted(
    declaration: StretchedNetwork,
    own: SiteView,
    peer: SiteView,
    groups: Groups,
    own_vteps: frozenset[str],
) -> Iterator[Wanted]:
    """The remote ports for the ports of one site that was seen, those looked at now in both."""
    cidr = ipaddress.ip_network(declaration.cidr)
    names = {each.id: each.name for each in peer.security_groups}
    for port in peer.ports:
        if not (peer.looked_at(port.id) and own.looked_at(port.id) and mirrored(port)):
            continue
        # A tunnel address that this site has too would send packets to a host of its own.
        if port.vtep_ip in own_vteps:
            continue
        yield Wanted(
            origin=Origin(site=peer.site, port_id=port.id),
            name=port.name,
            mac=port.mac,
            ips=tuple(ip for ip in port.ips if ipaddress.ip_address(ip) in cidr),
            vtep=port.vtep_ip or "",
            security_groups=groups.translate(peer, names, port),
            address_pairs=port.address_pairs,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Difference:
    """Actions in their order: what is deleted makes room for what is updated and created."""

    deletes: tuple[DeletePort, ...]
    updates: tuple[UpdatePort, ...]
    creates: tuple[CreatePort, ...]

    @property
    def actions(self) -> tuple[Action, ...]:
        return (*self.deletes, *self.updates, *self.creates)


def difference(
    declaration: StretchedNetwork,
    own: SiteView,
    should: Iterable[Wanted],
    reason: Reason,
) -> Difference:
    """How the own site gets from the remote ports that it holds to those that it should hold.

    `reason`: why a remote port that `should` does not hold may be deleted; None keeps it.
    """
    return _Diff(declaration, own, should, reason).result()


class _Diff:
    """Invariants: whatever `should` holds, no two remote ports, and no remote and no local port,
    claim one MAC or one address when the actions are done; who has it keeps it."""

    def __init__(
        self,
        declaration: StretchedNetwork,
        own: SiteView,
        should: Iterable[Wanted],
        reason: Reason,
    ) -> None:
        self._declaration = declaration
        self._own = own
        self._network_id = own.network.id if own.network else ""
        self._reason = reason
        self._should = {each.origin: each for each in should if own.looked_at(each.origin.port_id)}
        self._deletes: dict[str, DeletePort] = {}
        # What stands twice for an origin that this plan is not about; the next whole plan deletes it.
        self._spared: list[Port] = []
        self._held = self._sorted_out(own.remotes())
        self._winners = self._without_clashes()

    def _sorted_out(self, remotes: Iterable[Port]) -> dict[Origin, Port]:
        """One remote port for each origin; what stands twice, or for nothing, is deleted."""
        held: dict[Origin, Port] = {}
        for port in sorted(remotes, key=self._preference):
            origin = port.origin
            if origin is None:
                self._delete(port, None, "its device id names no origin")
            elif origin in held:
                self._delete(port, origin, "it stands for its origin a second time")
            else:
                held[origin] = port
        return held

    def _preference(self, port: Port) -> tuple[bool, str]:
        should = self._should.get(port.origin) if port.origin else None
        return (should is None or not should.matches(port), port.id)

    def _delete(self, port: Port, origin: Origin | None, why: str) -> None:
        if origin is None or self._own.looked_at(origin.port_id):
            self._deletes[port.id] = DeletePort(port_id=port.id, origin=origin, why=why)
        else:
            self._spared.append(port)

    def _without_clashes(self) -> dict[Origin, Wanted]:
        """Those of `should` that can be had together; see `isthmus.network.clashes` for the words.

        Whoever has an address already comes first, so that a newcomer takes nothing away and the
        next plan decides the same.
        """
        claimed: set[str] = set()
        for port in self._untouched():
            claimed |= {port.mac, *port.ips}
        winners = {}
        for each in sorted(self._should.values(), key=self._seniority):
            claims = {each.mac, *each.ips}
            if not claims & claimed:
                claimed |= claims
                winners[each.origin] = each
        return winners

    def _untouched(self) -> Iterator[Port]:
        """Ports here that keep what they have, whatever this plan does."""
        yield from self._own.locals()
        yield from self._spared
        for origin, port in self._held.items():
            if origin not in self._should and self._why(origin) is None:
                yield port

    def _seniority(self, each: Wanted) -> tuple[int, Origin]:
        port = self._held.get(each.origin)
        return (2 if port is None else 0 if each.matches(port) else 1, each.origin)

    def _why(self, origin: Origin) -> str | None:
        """Why the remote port of a loser may go; None when it may not."""
        if origin in self._should:
            return "somebody else has its MAC or address"
        return self._reason(origin) if self._own.looked_at(origin.port_id) else None

    def result(self) -> Difference:
        for origin, port in self._held.items():
            why = self._why(origin) if origin not in self._winners else None
            if why:
                self._delete(port, origin, why)
        kept = {o: port for o, port in self._held.items() if o in self._winners}
        replaced = set(self._replaced(kept))
        for origin in sorted(replaced):
            self._delete(kept[origin], origin, "its MAC or address changed hands")
        updates = (
            self._update(port, self._winners[origin])
            for origin, port in sorted(kept.items())
            if origin not in replaced
        )
        creates = (
            self._create(each)
            for origin, each in sorted(self._winners.items())
            if origin not in kept or origin in replaced
        )
        return Difference(
            deletes=tuple(self._deletes.values()),
            updates=tuple(each for each in updates if each),
            creates=tuple(creates),
        )

    def _replaced(self, kept: Mapping[Origin, Port]) -> Iterator[Origin]:
        """Those that an update cannot bring there: Neutron never changes the MAC of a port that is
        up, and it refuses an address that another port still has when its turn comes."""
        holders = {ip: origin for origin, port in kept.items() for ip in port.ips}
        for origin, port in kept.items():
            should = self._winners[origin]
            taken = any(holders.get(ip, origin) != origin for ip in should.ips)
            if port.mac != should.mac or taken:
                yield origin

    def _update(self, port: Port, should: Wanted) -> UpdatePort | None:
        # A server that died in the middle leaves a port that was made and not bound; nobody is told
        # where it is. Neutron binds such a port whenever it is changed, even to what it has.
        placed = port.remote_vtep == should.vtep and port.status == BOUND
        update = UpdatePort(
            port_id=port.id,
            origin=should.origin,
            name=should.name if should.name != port.name else None,
            ips=should.ips if should.ips != port.ips else None,
            vtep=None if placed else should.vtep,
            security_groups=_changed(should.security_groups, port.security_groups),
            address_pairs=_changed(should.address_pairs, port.address_pairs),
        )
        nothing = UpdatePort(port_id=port.id, origin=should.origin)
        return None if update == nothing else update

    def _create(self, should: Wanted) -> CreatePort:
        return CreatePort(
            network_id=self._network_id,
            project_id=self._declaration.project_id,
            origin=should.origin,
            name=should.name,
            mac=should.mac,
            ips=should.ips,
            vtep=should.vtep,
            security_groups=should.security_groups,
            address_pairs=should.address_pairs,
        )


def _changed(should: T, held: T) -> T | None:
    return None if should == held else should
