"""Requests to the Neutron of a site that only tracing needs: rules, agents, ports of probes.

Looks at whole networks are `isthmus.network.neutrons`, the wire is `isthmus.network.rest`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from isthmus import errors
from isthmus.network import rest
from isthmus.network.tracing.facts import Group, Rule

PROBE_OWNER = "isthmus:probe"
"""Device owner of the ports of probes. The reconcilers treat them as any guest's port."""

L2_AGENT = "neutron-openvswitch-agent"

_CONNECT_SECONDS = 2.0
_READ_SECONDS = 20.0
_PROBE_FIELDS = ("id", "name", "status", "description", "device_id", "binding:host_id")
_GROUP_FIELDS = ("id", "name", "security_group_rules")


class Neutron:
    """One site's Neutron. Methods raise `errors.UnavailableError` when it cannot be asked, or does
    not do what it is asked."""

    def __init__(self, session: Any, site: str) -> None:
        self.site = site
        self._api = rest.Api(
            session, site, connect_seconds=_CONNECT_SECONDS, read_seconds=_READ_SECONDS
        )

    def port(self, port_id: str) -> Mapping[str, Any]:
        """Whether a port is enabled and filtered."""
        fields = ("id", "admin_state_up", "port_security_enabled")
        found = self._all("ports", [("id", port_id)], fields)
        return found[0] if found else {}

    def groups(self, ids: Iterable[str]) -> tuple[Group, ...]:
        """Security groups with their rules for IPv4."""
        found = self._all_by("security_groups", (), "id", ids, _GROUP_FIELDS)
        return tuple(group(each) for each in found)

    def l2_agents(self) -> dict[str, bool]:
        """Host -> whether Neutron hears its Open vSwitch agent."""
        found = self._all("agents", [("binary", L2_AGENT)], ("host", "alive"))
        return {str(each["host"]): bool(each["alive"]) for each in found}

    def probes(self, run: str | None = None) -> tuple[Mapping[str, Any], ...]:
        """The ports of probes, of one run or of all."""
        query = [("device_owner", PROBE_OWNER)] + ([("device_id", run)] if run else [])
        return tuple(self._all("ports", query, _PROBE_FIELDS))

    def remotes_of(self, site: str, port_ids: Sequence[str]) -> dict[str, str]:
        """Real port of `site` -> status of what stands here for it."""
        names = [f"{site}/{each}" for each in port_ids]
        found = self._all_by("ports", (), "device_id", names, ("device_id", "status"))
        return {str(each["device_id"]).partition("/")[2]: str(each["status"]) for each in found}

    def create_port(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Make one port."""
        return dict(self._change("POST", "/ports", {"port": dict(body)}).body["port"])

    def delete_port(self, port_id: str) -> None:
        """Delete a port; that there is none is as good."""
        self._change("DELETE", f"/ports/{port_id}", None, absent=404)

    def _all(
        self, collection: str, query: rest.Query, fields: Sequence[str]
    ) -> list[dict[str, Any]]:
        try:
            return self._api.all(collection, query, fields)
        except rest.Failed as error:
            raise rest.unavailable(self.site, error) from error

    def _all_by(
        self,
        collection: str,
        query: rest.Query,
        key: str,
        values: Iterable[str],
        fields: Sequence[str],
    ) -> list[dict[str, Any]]:
        try:
            return self._api.all_by(collection, query, key, values, fields)
        except rest.Failed as error:
            raise rest.unavailable(self.site, error) from error

    def _change(
        self, method: str, path: str, body: Mapping[str, Any] | None, *, absent: int = 0
    ) -> rest.Answer:
        try:
            answer = self._api.request(method, path, body=body)
        except rest.Failed as error:
            raise self._failed(
                method, path, f"{error}; it is not known whether it was done"
            ) from error
        if answer.ok or answer.status == absent:
            return answer
        raise self._failed(method, path, answer.words)

    def _failed(self, method: str, path: str, cause: str) -> errors.UnavailableError:
        return errors.UnavailableError(
            f"Neutron did not do {method} {path}", where=f"Neutron of {self.site}", cause=cause
        )


def group(document: Mapping[str, Any]) -> Group:
    """A security group from Neutron's document; rules for IPv6 are left out."""
    rules = document.get("security_group_rules", ())
    return Group(
        id=str(document["id"]),
        name=str(document["name"]),
        rules=tuple(_rule(each) for each in rules if each.get("ethertype") == "IPv4"),
    )


def _rule(document: Mapping[str, Any]) -> Rule:
    return Rule(
        id=str(document["id"]),
        ingress=document["direction"] == "ingress",
        protocol=document.get("protocol"),
        first=document.get("port_range_min"),
        last=document.get("port_range_max"),
        remote_group=document.get("remote_group_id"),
        prefix=document.get("remote_ip_prefix"),
        address_group=document.get("remote_address_group_id"),
    )
