"""A Keystone with the simulated sites in its catalog: the real one, with an addition on the way back.

It exists so that nothing has to be written into the real Keystone, from which a killed program could not remove it. Tokens are
the real ones; only what a login says of services is longer.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import requests

_HOP = frozenset(
    {
        "connection", "keep-alive", "transfer-encoding", "content-length", "content-encoding", "host", "accept-encoding",
    }
)  # fmt: skip
_INTERFACES = ("public", "internal", "admin")
_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class Passed:
    """An answer on its way back."""

    status: int
    body: bytes
    headers: Mapping[str, str]


class Catalog:
    """`upstream`: the identity API of the real Keystone (ends in /v3); `endpoints`: URLs of the network service by region."""

    def __init__(self, upstream: str, endpoints: Mapping[str, str]) -> None:
        self._upstream, self._endpoints = upstream.rstrip("/"), endpoints
        self._session = requests.Session()
        self._session.trust_env = False

    def passed(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str], own: str
    ) -> Passed:
        """Ask the real Keystone; `path` is as behind /v3, `own` is the URL that the caller used, with /v3."""
        kept = {name: value for name, value in headers.items() if name.lower() not in _HOP}
        answer = self._session.request(
            method,
            f"{self._upstream}{path}",
            data=body,
            headers=kept,
            timeout=_SECONDS,
            allow_redirects=False,
        )
        back = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP}
        content = answer.content
        try:
            document = json.loads(content)
        except ValueError:
            return Passed(status=answer.status_code, body=content, headers=back)
        if path.split("?")[0].strip("/") == "":
            document = relinked(document, own)
        return Passed(
            status=answer.status_code,
            body=json.dumps(extended(document, self._endpoints)).encode(),
            headers=back,
        )


def extended(document: Any, endpoints: Mapping[str, str]) -> Any:
    """A token with the endpoints in its catalog; any other document, and a token without a catalog, as it is."""
    token = document.get("token") if isinstance(document, dict) else None
    if not isinstance(token, dict) or not isinstance(token.get("catalog"), list):
        return document
    catalog = [dict(each) for each in token["catalog"]]
    service = next((each for each in catalog if each.get("type") == "network"), None)
    if service is None:
        service = {"id": "simulated", "name": "neutron", "type": "network", "endpoints": []}
        catalog.append(service)
    service["endpoints"] = [*service["endpoints"], *_entries(endpoints)]
    return {**document, "token": {**token, "catalog": catalog}}


def _entries(endpoints: Mapping[str, str]) -> Iterator[dict[str, str]]:
    for region, url in endpoints.items():
        for interface in _INTERFACES:
            yield {
                "id": f"{region}-{interface}",
                "interface": interface,
                "region": region,
                "region_id": region,
                "url": url,
            }


def relinked(document: Any, own: str) -> Any:
    """A version document whose links lead back here; else a client that discovers would go past us."""
    version = document.get("version") if isinstance(document, dict) else None
    if not isinstance(version, dict):
        return document
    links = [
        {**each, "href": f"{own}/"}
        for each in version.get("links", ())
        if each.get("rel") == "self"
    ]
    return {**document, "version": {**version, "links": links}}
