"""The few objects of one site's Neutron that service addresses need, over plain REST.

Vendor exceptions end here. It decides nothing.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

import requests
from keystoneauth1 import exceptions

from isthmus import errors

Object = dict[str, Any]


class RefusedError(errors.IsthmusError):
    """Neutron says no: 4xx. `status` is the HTTP status."""

    def __init__(self, what: str, *, site: str, cause: str, status: int) -> None:
        super().__init__(what, where=f"Neutron of {site}", cause=cause)
        self.status = status


class Objects:
    """Networks, ports and security groups of a site. Methods raise UnavailableError, RefusedError.

    `session`: a keystoneauth1 session with an admin of the service project.
    """

    def __init__(self, session: Any, site: str, *, seconds: float = 20.0) -> None:
        self.site = site
        self._session, self._seconds = session, seconds

    def network(self, name: str) -> Object | None:
        """The network of this name or id; RefusedError when several have the name."""
        found = self._list("networks", name=name) or self._list("networks", id=name)
        if len(found) > 1:
            raise RefusedError(
                f"{len(found)} networks are called {name}",
                site=self.site,
                cause="which one is meant is not known; declare the address with an id",
                status=409,
            )
        return found[0] if found else None

    def subnets(self, network_id: str) -> list[Object]:
        return self._list("subnets", network_id=network_id)

    def provider(self, physical_network: str, address: str) -> tuple[Object, Object] | None:
        """The flat or VLAN network on a physical network whose subnet has this address, if any."""
        query = {"provider:physical_network": physical_network}
        for network in self._list("networks", **query):
            for subnet in self.subnets(network["id"]):
                if ipaddress.ip_address(address) in ipaddress.ip_network(subnet["cidr"]):
                    return network, subnet
        return None

    def ports(self, **query: str) -> list[Object]:
        return self._list("ports", **query)

    def groups(self, **query: str) -> list[Object]:
        return self._list("security-groups", **query)

    def create(self, kind: str, body: Mapping[str, Any]) -> Object:
        """`kind` as in the path: `ports`, `security-groups`, `security-group-rules`."""
        answer = self._call("POST", f"/{kind}", {_singular(kind): dict(body)})
        created: Object = answer[_singular(kind)]
        return created

    def update(self, kind: str, identity: str, body: Mapping[str, Any]) -> Object:
        answer = self._call("PUT", f"/{kind}/{identity}", {_singular(kind): dict(body)})
        updated: Object = answer[_singular(kind)]
        return updated

    def delete(self, kind: str, identity: str) -> None:
        """That it is not there is as good."""
        try:
            self._call("DELETE", f"/{kind}/{identity}")
        except RefusedError as error:
            if error.status != 404:
                raise

    def _list(self, kind: str, **query: str) -> list[Object]:
        answer = self._call("GET", f"/{kind}", None, query)
        found: list[Object] = answer[kind.replace("-", "_")]
        return found

    def _call(
        self, method: str, path: str, body: Any = None, query: Mapping[str, str] | None = None
    ) -> Any:
        endpoint = {
            "service_type": "network",
            "region_name": self.site,
            "interface": "internal",
        }
        try:
            answer = self._session.request(
                f"/v2.0{path}",
                method,
                json=body,
                params=dict(query or {}),
                endpoint_filter=endpoint,
                raise_exc=False,
                connect_retries=0,
                timeout=self._seconds,
            )
        except (exceptions.ClientException, requests.RequestException) as error:
            raise self._unavailable(str(error)) from error
        if answer.status_code >= 500:
            raise self._unavailable(f"HTTP {answer.status_code}: {answer.text[:200]}")
        if answer.status_code >= 400:
            raise RefusedError(
                f"{method} {path} is refused",
                site=self.site,
                cause=_message(answer),
                status=answer.status_code,
            )
        return answer.json() if answer.content else None

    def _unavailable(self, cause: str) -> errors.UnavailableError:
        return errors.UnavailableError(
            "Neutron does not answer", where=f"Neutron of {self.site}", cause=cause
        )


def _singular(kind: str) -> str:
    return kind.removesuffix("s").replace("-", "_")


def _message(answer: Any) -> str:
    try:
        return str(answer.json()["NeutronError"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {answer.status_code}: {answer.text[:200]}"
