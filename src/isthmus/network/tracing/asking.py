"""Requests to the Neutron of a site that only tracing needs: rules, agents, ports of probes.

It exists so that vendor exceptions end here. Looks at whole networks are `isthmus.network.neutrons`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from keystoneauth1 import adapter
from keystoneauth1 import exceptions as vendor

from isthmus import errors
from isthmus.network.tracing.facts import Group, Rule
from isthmus.sites import failures

PROBE_OWNER = "isthmus:probe"
"""Device owner of the ports of probes. The reconcilers treat them as any guest's port."""

L2_AGENT = "neutron-openvswitch-agent"

_CONNECT_SECONDS = 2.0
_READ_SECONDS = 20.0
_AT_ONCE = 50  # ids in one query: a URL of 50 UUIDs is some 2 kB


class Neutron:
    """One site's Neutron. Methods raise `errors.UnavailableError` when it cannot be asked, or does
    not do what it is asked."""

    def __init__(self, session: Any, site: str) -> None:
        self.site = site
        self._adapter = adapter.Adapter(
            session,
            service_type="network",
            interface="internal",
            region_name=site,
            connect_retries=0,
            status_code_retries=0,
        )

    def port(self, port_id: str) -> Mapping[str, Any]:
        """All that Neutron says of a port."""
        return dict(self._call("GET", f"/v2.0/ports/{port_id}")["port"])

    def groups(self, ids: Iterable[str]) -> tuple[Group, ...]:
        """Security groups with their rules for IPv4."""
        wanted = sorted(ids)
        if not wanted:
            return ()
        found = self._all("security-groups", [("id", each) for each in wanted])
        return tuple(group(each) for each in found)

    def l2_agents(self) -> dict[str, bool]:
        """Host -> whether Neutron hears its Open vSwitch agent."""
        found = self._all("agents", [("binary", L2_AGENT)])
        return {str(each["host"]): bool(each["alive"]) for each in found}

    def probes(self, run: str | None = None) -> tuple[Mapping[str, Any], ...]:
        """The ports of probes, of one run or of all."""
        query = [("device_owner", PROBE_OWNER)] + ([("device_id", run)] if run else [])
        return tuple(self._all("ports", query))

    def remotes_of(self, site: str, port_ids: Sequence[str]) -> dict[str, str]:
        """Real port of `site` -> status of what stands here for it."""
        found: dict[str, str] = {}
        for start in range(0, len(port_ids), _AT_ONCE):
            names = [f"{site}/{each}" for each in port_ids[start : start + _AT_ONCE]]
            for port in self._all("ports", [("device_id", name) for name in names]):
                found[str(port["device_id"]).partition("/")[2]] = str(port["status"])
        return found

    def create_port(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Make one port."""
        return dict(self._call("POST", "/v2.0/ports", json={"port": dict(body)})["port"])

    def delete_port(self, port_id: str) -> None:
        """Delete a port; that there is none is as good."""
        self._call("DELETE", f"/v2.0/ports/{port_id}", absent=True)

    def _all(self, collection: str, query: Iterable[tuple[str, str]]) -> list[dict[str, Any]]:
        answer = self._call("GET", f"/v2.0/{collection}", params=list(query))
        return list(answer[collection.replace("-", "_")])

    def _call(self, method: str, path: str, *, absent: bool = False, **words: Any) -> Any:
        timeout = (_CONNECT_SECONDS, _READ_SECONDS)
        try:
            answer = self._adapter.request(path, method, raise_exc=False, timeout=timeout, **words)
        except vendor.ClientException as error:
            cause = failures.sentence(error, connect=_CONNECT_SECONDS, read=_READ_SECONDS)
            raise self._failed(method, path, cause) from error
        if answer.status_code == 404 and absent:
            return None
        if answer.status_code >= 400:
            raise self._failed(method, path, _reason(answer))
        return answer.json() if answer.content else None

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


def _reason(answer: Any) -> str:
    """Neutron's own sentence, if it gave one."""
    try:
        fault = answer.json()["NeutronError"]
        return str(fault["message"] if isinstance(fault, dict) else fault)
    except (ValueError, KeyError, TypeError):
        return failures.status_line(answer.status_code)
