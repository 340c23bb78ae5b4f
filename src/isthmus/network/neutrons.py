"""The Neutron of one site, over plain REST: looks and carries out actions.

It exists so that one look costs few requests: only the fields that matter, only the networks that
matter. It decides nothing. It is used with the own site for writing and with all sites for reading.
Requests are in `isthmus.network.rest`, Neutron's JSON in `wire`, changes in `applying`.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from isthmus.network import applying, rest, views, wire
from isthmus.network.actions import Action
from isthmus.network.applying import Outcome, Result
from isthmus.network.declarations import StretchedNetwork
from isthmus.network.rest import Failed
from isthmus.network.views import Network, Origin, Port, SecurityGroup, SiteView, Subnet

__all__ = ["Neutron", "Outcome", "Result"]


class Neutron:
    """One site's Neutron; its methods may be called from any thread.

    `session`: a keystoneauth1 session of a user with the role admin. `region`: as in the catalog,
    which is also the name of the site. `connect_seconds` and `read_seconds`: timeouts of every
    request; bulk requests may take longer, in proportion. Methods raise UnavailableError when the
    site cannot be asked, except `view` and `refresh`, which return a view with `error`, and `apply`,
    which returns outcomes. No text holds a secret.
    """

    def __init__(
        self,
        session: Any,
        region: str,
        *,
        connect_seconds: float = 2.0,
        read_seconds: float = 30.0,
    ) -> None:
        self.region = region
        self._api = rest.Api(
            session, region, connect_seconds=connect_seconds, read_seconds=read_seconds
        )

    def offered(self) -> bool:
        """Whether the catalog has an (internal) network endpoint for this region; a site without
        one is a witness. Raises UnavailableError when there is no token to be had."""
        try:
            return self._api.endpoint() is not None
        except Failed as error:
            raise rest.unavailable(self.region, error) from None

    def tagged(self) -> tuple[Network, ...]:
        """All networks here with our tag, whatever their declaration. Raises UnavailableError."""
        try:
            found = self._api.all("networks", [("tags", views.TAG)], wire.NETWORK_FIELDS)
            self._api.check_rights()
        except Failed as error:
            raise rest.unavailable(self.region, error) from None
        return tuple(wire.network(each) for each in found)

    def view(
        self, declaration: StretchedNetwork, port_ids: Collection[str] | None = None
    ) -> SiteView:
        """A look at all that belongs to a declaration; with `port_ids`, only at these real ports
        (or the remote ports for them, which are found among all)."""
        try:
            view = self._look(declaration)
            self._api.check_rights()
        except (Failed, wire.ShapeError, KeyError, TypeError, ValueError) as error:
            return self._silent(error)
        if port_ids is None:
            return view
        asked = frozenset(port_ids)
        ports = (each for each in view.ports if _real_id(each) in asked or not each.ours)
        return dataclasses.replace(view, ports=tuple(ports), only=asked)

    def refresh(
        self, view: SiteView, declaration: StretchedNetwork, origins: Iterable[Origin]
    ) -> SiteView:
        """A quick look (one request) at what changed since `view`, narrowed to these origins: those
        of this site as real ports, those of other sites as remote ports.

        What `view` knows of all else stays in it. Without a network in `view` it is a whole look.
        """
        if not view.good or view.network is None:
            return self.view(declaration)
        asked = tuple(origins)
        try:
            ports = self._ports_of(view.network.id, asked)
            groups = self._further_groups(view.security_groups, ports)
            self._api.check_rights()
        except (Failed, wire.ShapeError, KeyError, TypeError, ValueError) as error:
            return self._silent(error)
        fresh = views.overlaid(view, {each.port_id for each in asked}, ports)
        return dataclasses.replace(fresh, security_groups=groups, seen_at=time.time())

    def apply(self, declaration: StretchedNetwork, actions: Sequence[Action]) -> list[Outcome]:
        """Carry out the actions in order, creations of ports in bulk; one outcome per action.

        Nothing is raised because an action failed. What is already done counts as done.
        """
        return applying.Applier(self._api, self.region, declaration).apply(actions)

    def _silent(self, error: Exception) -> SiteView:
        words = str(error) if isinstance(error, Failed | wire.ShapeError) else _strange(error)
        return views.silent(self.region, time.time(), words)

    def _look(self, declaration: StretchedNetwork) -> SiteView:
        began = time.time()
        project = [("project_id", declaration.project_id)]
        # This answer is refused to all but administrators, who alone see everything else.
        quota = wire.quota(self._api.get(f"/quotas/{declaration.project_id}/details"))
        candidates = self._networks(declaration)
        network = next((each for each in candidates if _ours(each, declaration)), None)
        ports = self._ports(network)
        groups = self._api.all("security_groups", project, wire.GROUP_FIELDS)
        subnets = self._subnets(project, network)
        return SiteView(
            site=self.region,
            seen_at=began,
            network=network,
            subnets=tuple(each for each in subnets if network and each.network_id == network.id),
            ports=ports,
            security_groups=self._further_groups(map(wire.group, groups), ports),
            same_vni=tuple(each for each in candidates if each is not network),
            other_subnets=tuple(
                each
                for each in subnets
                if each.project_id == declaration.project_id
                and not (network and each.network_id == network.id)
            ),
            quota=quota,
        )

    def _networks(self, declaration: StretchedNetwork) -> list[Network]:
        """All networks with the declared VNI."""
        query = [
            ("provider:network_type", wire.NETWORK_TYPE),
            ("provider:segmentation_id", str(declaration.vni)),
        ]
        found = self._api.all("networks", query, wire.NETWORK_FIELDS)
        return [wire.network(each) for each in found]

    def _ports(self, network: Network | None) -> tuple[Port, ...]:
        if network is None:
            return ()
        found = self._api.all("ports", [("network_id", network.id)], wire.PORT_FIELDS)
        return tuple(wire.port(each) for each in found)

    def _ports_of(self, network_id: str, origins: Iterable[Origin]) -> tuple[Port, ...]:
        here = [each.port_id for each in origins if each.site == self.region]
        there = [str(each) for each in origins if each.site != self.region]
        query = [("network_id", network_id)]
        found = self._api.all_by("ports", query, "id", here, wire.PORT_FIELDS)
        query.append(("device_owner", views.REMOTE_OWNER))
        found += self._api.all_by("ports", query, "device_id", there, wire.PORT_FIELDS)
        return tuple(wire.port(each) for each in found)

    def _subnets(
        self, project: list[tuple[str, str]], network: Network | None
    ) -> tuple[Subnet, ...]:
        """Those of the project, and those that others put on our network."""
        found = self._api.all("subnets", [*project, ("ip_version", "4")], wire.SUBNET_FIELDS)
        if network is not None:
            query = [("network_id", network.id)]
            found += self._api.all("subnets", query, wire.SUBNET_FIELDS)
        by_id = {each["id"]: wire.subnet(each) for each in found}
        return tuple(by_id.values())

    def _further_groups(
        self, known: Iterable[SecurityGroup], ports: Iterable[Port]
    ) -> tuple[SecurityGroup, ...]:
        """The groups that are known and those that ports use beside them."""
        by_id = {each.id: each for each in known}
        used = {group for port in ports for group in port.security_groups}
        found = self._api.all_by(
            "security_groups", (), "id", used - by_id.keys(), wire.GROUP_FIELDS
        )
        return (*by_id.values(), *map(wire.group, found))


def _ours(network: Network, declaration: StretchedNetwork) -> bool:
    return network.project_id == declaration.project_id and network.belongs_to(declaration.id)


def _real_id(port: Port) -> str:
    return port.origin.port_id if port.origin else port.id


def _strange(error: Exception) -> str:
    return f"an answer of another shape than Neutron's ({type(error).__name__}: {error})"
