"""Asking one site: does its identity API answer, can one log in, what does its agent say?

The only module that talks to sites over HTTP and through openstacksdk. It exists so that exceptions
of requests, keystoneauth and openstacksdk end here, as UnavailableError (or ConfigurationError,
InputError) with one short sentence. Tokens are neither returned nor logged. It judges nothing:
:mod:`isthmus.identity.status` does. For several sites use it through :mod:`isthmus.sites.fanout`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from collections.abc import Iterator
from typing import Any, NoReturn

from isthmus import errors
from isthmus.sites import agent_documents, failures
from isthmus.sites.inventory import Site

CONNECT_SECONDS = 3.0
"""Longest wait for a TCP connection: one lost SYN packet is sent again after 1 s."""

LARGEST_ANSWER = 1 << 20
"""Bytes of an answer that are read: agents send some 10 KB, Keystone's root less than 1 KB."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class IdentityAnswer:
    """The identity API answered."""

    url: str
    version: str
    """Such as v3.14."""
    latency_ms: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Endpoint:
    region: str
    service: str
    """The service's type: identity, image."""
    interface: str
    url: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Login:
    """A login that worked, without its token."""

    user: str
    project: str | None
    expires_at: str
    """ISO 8601, UTC."""
    seconds: float
    endpoints: tuple[Endpoint, ...]

    @property
    def regions(self) -> tuple[str, ...]:
        """The regions in the catalog."""
        return tuple(sorted({endpoint.region for endpoint in self.endpoints}))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entrance:
    """A login that further questions are put with. The session holds the token, which never leaves it."""

    login: Login
    session: Any = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Assignment:
    """A role of a user or a group, one of which is None, by names."""

    role: str
    user: str | None
    group: str | None
    scope: str
    """Such as `project demo`, `domain Default`, `system`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class AgentAnswer:
    """What the agent said: typed, and as it was sent (to be kept as last good)."""

    status: agent_documents.AgentStatus
    document: Any


class Clouds:
    """The entries of clouds.yaml, found by openstacksdk's own rules ($OS_CLIENT_CONFIG_FILE ...).

    Made once per command, before sites are asked: importing openstacksdk takes half a second.
    """

    def __init__(self) -> None:
        from openstack.config import loader

        try:
            self._config = loader.OpenStackConfig()
        except Exception as error:  # openstacksdk passes on errors of YAML and of the file system
            raise errors.ConfigurationError(
                "clouds.yaml cannot be read",
                cause=" ".join(str(error).split()),
                unchanged="nothing was asked of any site",
                next_command="correct clouds.yaml, then: isthmus status",
            ) from error

    def region(self, site: Site, *, timeout: float, validate: bool) -> Any:
        """The CloudRegion of a site. Raises ConfigurationError."""
        try:
            return self._config.get_one(
                cloud=site.cloud, region_name=site.region, validate=validate, api_timeout=timeout
            )
        except Exception as error:  # openstacksdk and keystoneauth have no common root
            raise errors.ConfigurationError(self._why_not(site, error)) from error

    def _why_not(self, site: Site, error: Exception) -> str:
        source = getattr(self._config, "config_filename", None)
        if not source:
            return f"no clouds.yaml was found, so there is no cloud {site.cloud!r}"
        if site.cloud not in self._config.get_cloud_names():
            return f"{source} has no cloud {site.cloud!r}"
        return f"cloud {site.cloud!r} in {source}: {_one_line(error)}"

    def auth_url(self, site: Site) -> str:
        """The identity URL of a site. Raises ConfigurationError."""
        region = self.region(site, timeout=CONNECT_SECONDS, validate=False)
        url = (region.config.get("auth") or {}).get("auth_url")
        if not url:
            raise errors.ConfigurationError(f"cloud {site.cloud!r} has no auth_url in clouds.yaml")
        return str(url)


def identity(clouds: Clouds, site: Site, *, timeout: float) -> IdentityAnswer:
    """Ask the site's identity API for its version; no credentials are sent.

    Raises UnavailableError when it does not answer as Keystone does, ConfigurationError when
    clouds.yaml does not say where it is.
    """
    url = clouds.auth_url(site)
    verify, cert = clouds.region(site, timeout=timeout, validate=False).get_requests_verify_args()
    started = time.perf_counter()
    document = _get(url, timeout=timeout, verify=True if verify is None else verify, cert=cert)
    latency = (time.perf_counter() - started) * 1000
    return IdentityAnswer(url=url, version=_version(document), latency_ms=latency)


def agent(site: Site, *, timeout: float) -> AgentAnswer:
    """Fetch and check the agent's document.

    Raises UnavailableError when the agent does not answer, InputError when the answer is wrong.
    """
    document = _get(f"{site.agent}/status", timeout=timeout, verify=True, cert=None)
    return AgentAnswer(status=agent_documents.parse(document, site=site.name), document=document)


def login(clouds: Clouds, site: Site, *, timeout: float) -> Login:
    """Log in as clouds.yaml says and read the catalog.

    Raises UnavailableError, ConfigurationError.
    """
    return enter(clouds, site, timeout=timeout).login


def enter(clouds: Clouds, site: Site, *, timeout: float) -> Entrance:
    """Log in as clouds.yaml says, to put further questions. Raises UnavailableError, ConfigurationError."""
    region = clouds.region(site, timeout=timeout, validate=True)
    started = time.perf_counter()
    try:
        session = region.get_session()
        access = session.auth.get_access(session)
    except Exception as error:  # keystoneauth, openstacksdk and requests have no common root
        _refuse_login(error, timeout)
    found = Login(
        user=str(access.username),
        project=access.project_name,
        expires_at=access.expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
        seconds=time.perf_counter() - started,
        endpoints=tuple(_endpoints(access)),
    )
    return Entrance(login=found, session=session)


def refusal(clouds: Clouds, entrance: Entrance, site: Site, *, timeout: float) -> str | None:
    """Why the Keystone of `site` refuses the token of a login elsewhere; None if it accepts it.

    The token asks about itself, which every user may (Keystone's default policy of `validate_token`). Raises UnavailableError
    when the site gives no verdict, ConfigurationError.
    """
    url = f"{_v3(clouds.auth_url(site))}/auth/tokens"
    verify, cert = clouds.region(site, timeout=timeout, validate=False).get_requests_verify_args()
    connect = min(CONNECT_SECONDS, timeout)
    with _worded(connect=connect, read=timeout):
        import requests

        token = entrance.session.get_token()
        answer = requests.head(
            url,
            headers={"X-Auth-Token": token, "X-Subject-Token": token},
            timeout=(connect, timeout),
            verify=True if verify is None else verify,
            cert=cert,
        )
    words = failures.status_line(answer.status_code, answer.reason)
    if answer.status_code in (200, 204):
        return None
    if answer.status_code in (401, 403, 404):
        return words
    # A redirection, a limit or a failure says nothing about the token.
    raise errors.UnavailableError(words)


def assignments(
    clouds: Clouds, entrance: Entrance, site: Site, *, timeout: float
) -> tuple[Assignment, ...]:
    """All role assignments, as Keystone stores them (a group's are not spread over its members).

    Raises UnavailableError, also for a user who may not list them.
    """
    url = f"{_v3(clouds.auth_url(site))}/role_assignments?include_names=true"
    with _worded(connect=timeout, read=timeout):
        answer = entrance.session.get(url, raise_exc=False)
        if answer.status_code >= 400:
            words = failures.status_line(answer.status_code, answer.reason)
            raise errors.UnavailableError(words)
        rows = answer.json()["role_assignments"]
        return tuple(_assignment(row) for row in rows)


def _assignment(row: Any) -> Assignment:
    scope = row["scope"]
    kind = next(iter(scope))
    named = scope[kind].get("name") if kind in ("project", "domain") else None
    return Assignment(
        role=str(row["role"]["name"]),
        user=str(row["user"]["name"]) if "user" in row else None,
        group=str(row["group"]["name"]) if "group" in row else None,
        scope=f"{kind} {named}" if named else str(kind),
    )


def _v3(auth_url: str) -> str:
    """The root of the identity API's version 3; clouds.yaml may name the root of all versions."""
    base = auth_url.rstrip("/")
    return base if base.endswith("/v3") else f"{base}/v3"


def _endpoints(access: Any) -> Iterator[Endpoint]:
    if not access.has_service_catalog():
        return
    for service in access.service_catalog.normalize_catalog():
        for endpoint in service["endpoints"]:
            yield Endpoint(
                region=str(endpoint["region_id"]),
                service=str(service["type"]),
                interface=str(endpoint["interface"]),
                url=str(endpoint["url"]),
            )


def _refuse_login(error: Exception, timeout: float) -> NoReturn:
    status = getattr(error, "http_status", None)
    if status == 401:
        raise errors.UnavailableError("401: credentials refused") from error
    if isinstance(status, int) and status:
        raise errors.UnavailableError(failures.status_line(status)) from error
    # keystoneauth has one timeout for connecting and for reading.
    words = failures.sentence(error, connect=timeout, read=timeout)
    raise errors.UnavailableError(words) from error


def _get(url: str, *, timeout: float, verify: bool | str, cert: Any) -> Any:
    """The JSON document at a URL. Raises UnavailableError."""
    connect = min(CONNECT_SECONDS, timeout)
    with _worded(connect=connect, read=timeout):
        status, reason, body = _fetch(url, (connect, timeout), verify, cert)
    if status >= 400:
        raise errors.UnavailableError(failures.status_line(status, reason))
    try:
        return json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise errors.UnavailableError("the answer is not JSON") from error


def _fetch(
    url: str, timeouts: tuple[float, float], verify: bool | str, cert: Any
) -> tuple[int, str, bytes]:
    import requests

    headers = {"Accept": "application/json"}
    with requests.get(
        url, headers=headers, timeout=timeouts, verify=verify, cert=cert, stream=True
    ) as response:
        body = response.raw.read(LARGEST_ANSWER + 1, decode_content=True)
        if len(body) > LARGEST_ANSWER:
            raise errors.UnavailableError(f"the answer is longer than {LARGEST_ANSWER} bytes")
        return response.status_code, response.reason, body


@contextlib.contextmanager
def _worded(*, connect: float, read: float) -> Iterator[None]:
    """Turn exceptions of requests and urllib3 into one sentence."""
    try:
        yield
    except errors.IsthmusError:
        raise
    except Exception as error:  # requests passes on errors of urllib3 in reading a body
        text = failures.sentence(error, connect=connect, read=read)
        raise errors.UnavailableError(text) from error


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _version(document: Any) -> str:
    """The version of Keystone's root: of /v3, or the newest of the list at /."""
    with contextlib.suppress(KeyError, TypeError, IndexError):
        if "version" in document:
            return str(document["version"]["id"])[:20]
        return str(document["versions"]["values"][0]["id"])[:20]
    raise errors.UnavailableError("something answers, but not as Keystone does")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
