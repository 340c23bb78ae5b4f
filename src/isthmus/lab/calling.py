"""HTTP calls to the sites as a user makes them, for the tour, the tests and the benchmarks: never raises, always timed."""

import time
from dataclasses import dataclass, field
from typing import Any

import requests

from isthmus.identity.config import ENGINE_PORT, IDENTITY_PORT, IMAGE_PORT, NETWORK_PORT
from isthmus.lab.environment import SiteSpec
from isthmus.lab.templates import Template

# A request that hangs longer than this is lost for its user.
TIMEOUT = 10.0


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call: HTTP status (0 if there was no answer), body, seconds, and the error if there was none."""

    status: int
    body: Any
    seconds: float
    token: str = field(default="", repr=False)
    error: str = ""

    @property
    def said(self) -> str:
        """What came back, in a few words."""
        if self.error:
            return self.error
        message = (
            self.body.get("error", {}).get("message", "") if isinstance(self.body, dict) else ""
        )
        return f"{self.status} {message}".strip()


@dataclass(frozen=True, kw_only=True)
class Account:
    """Who logs in: user and project of the default domain."""

    user: str
    password: str = field(repr=False)
    project: str


def account(template: Template, name: str) -> Account:
    """One of the lab's accounts: `admin` or `demo`."""
    return Account(user=name, password=template.secret(name), project=name)


class Client:
    """Calls one site (or the login URL) by its management address."""

    def __init__(self, address: str, timeout: float = TIMEOUT) -> None:
        self.address = address
        self.timeout = timeout

    def login(self, who: Account) -> Call:
        """Log in with a password; the token is in `Call.token`."""
        domain = {"id": "default"}
        user = {"name": who.user, "domain": domain, "password": who.password}
        body = {
            "auth": {
                "identity": {"methods": ["password"], "password": {"user": user}},
                "scope": {"project": {"name": who.project, "domain": domain}},
            }
        }
        return self.identity("POST", "/auth/tokens", body=body)

    def validate(self, token: str, by: str | None = None) -> Call:
        """Check a token at this site, by itself or by another token."""
        return self.identity("GET", "/auth/tokens", token=by or token, subject=token)

    def revoke(self, token: str, by: str) -> Call:
        """Revoke `token`."""
        return self.identity("DELETE", "/auth/tokens", token=by, subject=token)

    def create(self, kind: str, token: str, **fields: Any) -> Call:
        """Create an identity object, for example `create("project", token, name="x")`."""
        return self.identity("POST", f"/{kind}s", body={kind: fields}, token=token)

    def images(self, token: str) -> Call:
        """List images: the site's Glance checks the token."""
        return self._call("GET", f"http://{self.address}:{IMAGE_PORT}/v2/images", token=token)

    def networks(self, token: str) -> Call:
        """List networks: the site's Neutron checks the token."""
        return self._call("GET", f"http://{self.address}:{NETWORK_PORT}/v2.0/networks", token=token)

    def stretched(self, token: str) -> Call:
        """List stretched networks: the site's engine checks the token."""
        return self._call("GET", f"http://{self.address}:{ENGINE_PORT}/v1/networks", token=token)

    def identity(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        token: str | None = None,
        subject: str | None = None,
    ) -> Call:
        """Any call to the identity API; `path` begins after /v3."""
        url = f"http://{self.address}:{IDENTITY_PORT}/v3{path}"
        return self._call(method, url, body=body, token=token, subject=subject)

    def _call(
        self,
        method: str,
        url: str,
        *,
        body: Any = None,
        token: str | None = None,
        subject: str | None = None,
    ) -> Call:
        headers = {"X-Auth-Token": token, "X-Subject-Token": subject}
        began = time.monotonic()
        try:
            answer = requests.request(
                method,
                url,
                json=body,
                headers={k: v for k, v in headers.items() if v},
                timeout=self.timeout,
                allow_redirects=False,
            )
        except requests.RequestException as error:
            return Call(status=0, body=None, seconds=time.monotonic() - began, error=_short(error))
        return Call(
            status=answer.status_code,
            body=_document(answer),
            seconds=time.monotonic() - began,
            token=answer.headers.get("X-Subject-Token", ""),
        )


def at(site: SiteSpec, timeout: float = TIMEOUT) -> Client:
    """A client of one site."""
    return Client(site.management, timeout)


def _document(answer: requests.Response) -> Any:
    try:
        return answer.json()
    except ValueError:
        return answer.text


def _short(error: requests.RequestException) -> str:
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    text = str(error)
    if "Remote end closed" in text or "RemoteDisconnected" in text:
        return "empty reply"
    return "no connection" if isinstance(error, requests.ConnectionError) else type(error).__name__
