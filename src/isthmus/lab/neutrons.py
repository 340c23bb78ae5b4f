"""Calls to the sites' Neutrons as the lab's administrator, for guests and tests. Not for the product: that has its own."""

from dataclasses import dataclass
from typing import Any

import requests

from isthmus.identity.config import NETWORK_PORT
from isthmus.lab import calling, errors, templates
from isthmus.lab import home as homes
from isthmus.lab.environment import Environment
from isthmus.lab.home import Home

# The first port of a network makes its database rows on a busy machine.
TIMEOUT = 60.0


@dataclass(frozen=True, kw_only=True)
class Neutron:
    """One site's Neutron, with a token of the administrator. Every call raises `errors.Refused` with what came back."""

    site: str
    address: str
    token: str

    def get(self, path: str, **query: str) -> Any:
        """GET below /v2.0."""
        return self._call("GET", path, query=query)

    def post(self, path: str, body: Any) -> Any:
        """POST below /v2.0."""
        return self._call("POST", path, body=body)

    def put(self, path: str, body: Any) -> Any:
        """PUT below /v2.0."""
        return self._call("PUT", path, body=body)

    def delete(self, path: str) -> None:
        """DELETE below /v2.0; that it is gone already is no error."""
        self._call("DELETE", path, gone=True)

    def find(self, kind: str, name: str) -> Any:
        """The `network`, `subnet`, `port` or `security-group` with this id or, if it is the only one, this name."""
        plural, key = f"{kind}s", f"{kind}s".replace("-", "_")
        for field in ("id", "name"):
            found = self.get(f"/{plural}", **{field: name})[key]
            if len(found) == 1:
                return found[0]
        raise errors.BadRequest(
            what=f"there is no single {kind} {name!r}",
            where=self.site,
            cause=f"{len(found)} have this name; give the id"
            if found
            else "none has this name or id",
        )

    def _call(
        self, method: str, path: str, *, body: Any = None, query: Any = None, gone: bool = False
    ) -> Any:
        url = f"http://{self.address}:{NETWORK_PORT}/v2.0{path}"
        headers = {"X-Auth-Token": self.token}
        try:
            answer = requests.request(
                method, url, json=body, params=query, headers=headers, timeout=TIMEOUT
            )
        except requests.RequestException as error:
            raise errors.Refused(
                what=f"{method} {path}", where=self.site, cause=str(error)
            ) from error
        if gone and answer.status_code == 404:
            return None
        if not answer.ok:
            cause = f"{answer.status_code}: {answer.text.strip()[:500]}"
            raise errors.Refused(what=f"{method} {path}", where=self.site, cause=cause)
        return answer.json() if answer.content else None


def at(place: Home, environment: Environment, site: str) -> Neutron:
    """The Neutron of a site of the lab that is up; logs in there as the administrator."""
    spec = environment.site(site)
    template = templates.load(place.templates / homes.require_record(place).template)
    if template is None:
        raise errors.NoLab(place.lab)
    login = calling.at(spec).login(calling.account(template, "admin"))
    if login.status != 201:
        raise errors.Refused(what="the administrator's login", where=site, cause=login.said)
    return Neutron(site=site, address=spec.management, token=login.token)
