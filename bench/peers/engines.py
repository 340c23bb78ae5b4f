"""The engine of a simulated site: it is heard, it can be poked, and it says of its networks that all is well.

Requests of other engines must be signed, as for a real one.
"""

import json
import time
from collections.abc import Mapping
from typing import Any

from bench.peers.generating import Cloud, Site
from bench.peers.neutrons import Answer
from isthmus.engine import poking
from isthmus.sites import signing


class Engines:
    """The engines of all simulated sites. `secret` is the cloud's."""

    def __init__(self, cloud: Cloud, secret: bytes) -> None:
        self._cloud = cloud
        self._started_at = time.time()
        self._gates = {
            site: signing.Gate(secret, signing.engine_name(site)) for site in cloud.sites
        }
        self.pokes = 0

    def answer(
        self, site: Site, method: str, path: str, body: bytes, headers: Mapping[str, str]
    ) -> Answer:
        """`path` as on the wire, with its query."""
        verdict = self._gates[site.name].verify(method, path, body, headers)
        if not verdict.accepted:
            return _fault(401, "the request is not from an engine of this cloud", verdict.reason)
        match (method, path.strip("/").split("/")):
            case "GET", ["v1", "presence"]:
                return _good(self._presence(site))
            case "POST", ["v1", "poke"]:
                poking.Content.model_validate_json(body)
                self.pokes += 1
                return _good({})
            case "GET", ["v1", "networks", network_id, "part"]:
                return _good(self._part(site, network_id))
            case "POST", ["v1", "networks", network_id, "converge"]:
                gone = network_id not in site.parts
                return _good({"converged": True, "left": [], "gone": gone, "seconds": 0.0})
            case _:
                return _fault(404, "a simulated engine does not know this", path)

    def _presence(self, site: Site) -> Mapping[str, Any]:
        return {
            "site": site.name,
            "started_at": self._started_at,
            "neutron": True,
            "networks": {key: self._summary(site, key) for key in site.parts},
        }

    def _summary(self, site: Site, network_id: str) -> Mapping[str, Any]:
        part = site.parts[network_id]
        others = [each for each in self._cloud.sites.values() if each is not site]
        known = (each.parts[network_id] for each in others if network_id in each.parts)
        return {
            "revision": part.declaration["revision"],
            "converged": True,
            "end": "empty",
            "age_seconds": 1.0,
            "ports": len(part.ports),
            "remote_ports": sum(len(each.ports) for each in known) if self._cloud.mirrored else 0,
            "warnings": 0,
            "errors": 0,
        }

    def _part(self, site: Site, network_id: str) -> Mapping[str, Any]:
        part = site.parts.get(network_id)
        if part is None:
            return {}
        summary = self._summary(site, network_id)
        keep = ("revision", "converged", "end", "age_seconds")
        return {
            "site": site.name,
            **{key: summary[key] for key in keep},
            "network_id": part.network["id"],
            "vni": part.network["provider:segmentation_id"],
            "mtu": part.network["mtu"],
            "sees": {},
            "left": [],
            "ports": [],
            "remote_ports": [],
            "findings": [],
        }


def _good(document: Mapping[str, Any]) -> Answer:
    return Answer(status=200, body=json.dumps(document).encode())


def _fault(status: int, what: str, cause: str) -> Answer:
    body = {"error": {"what": what, "cause": cause}}
    return Answer(status=status, body=json.dumps(body).encode())
