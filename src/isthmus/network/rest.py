"""One Neutron's REST API: requests, pages, and what answers mean.

It exists so that exceptions of keystoneauth and requests end here, and so that no request waits for
longer than it was given. It knows no stretched networks: `isthmus.network.neutrons` does.
"""

from __future__ import annotations

import dataclasses
import urllib.parse
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from keystoneauth1 import exceptions as vendor

from isthmus import errors
from isthmus.sites import failures

Query = Sequence[tuple[str, str]]
IDS_PER_REQUEST = 40
"""Servers refuse long request lines (gunicorn: 4094 bytes); 40 ids with their key take 2 KB."""
ADMIN = "admin"


class Failed(Exception):
    """No usable answer: the site cannot be reached or fails (5xx). It is not known whether a change
    was made. The text is a phrase for people."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    """An answer below 500. `kind` is Neutron's name of the error (IpAddressInUse), else empty."""

    status: int
    body: Mapping[str, Any]
    kind: str = ""
    message: str = ""

    @property
    def ok(self) -> bool:
        return self.status < 400

    @property
    def words(self) -> str:
        """For people: the status and what Neutron said."""
        line = failures.status_line(self.status)
        return f"{line}: {self.message}" if self.message else line


class Api:
    """Requests to the Neutron of one region; safe to use from several threads."""

    def __init__(
        self, session: Any, region: str, *, connect_seconds: float, read_seconds: float
    ) -> None:
        self._session = session
        self._region = region
        self._connect, self._read = connect_seconds, read_seconds

    def endpoint(self) -> str | None:
        """The root of the API without a version; None when the catalog has none. Raises Failed."""
        try:
            url = self._session.get_endpoint(
                service_type="network",
                interface="internal",
                region_name=self._region,
                skip_discovery=True,
            )
        except vendor.EndpointNotFound:
            return None
        except Exception as error:  # keystoneauth and requests have no common root
            raise Failed(f"no token from the identity service: {self._words(error)}") from error
        return str(url).rstrip("/").removesuffix("/v2.0") if url else None

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Query = (),
        body: Mapping[str, Any] | None = None,
        more_seconds: float = 0.0,
    ) -> Answer:
        """One request; `path` as behind /v2.0. `more_seconds` are added to the time for reading.

        Raises Failed.
        """
        root = self.endpoint()
        if root is None:
            raise Failed(f"the catalog has no network endpoint for region {self._region}")
        given = {"params": list(query)} if query else {}
        if body is not None:
            given["json"] = body  # type: ignore[assignment]
        try:
            response = self._session.request(
                f"{root}/v2.0{path}", method,
                raise_exc=False, log=False, connect_retries=0,
                timeout=(self._connect, self._read + more_seconds), **given,
            )  # fmt: skip
        except Exception as error:  # keystoneauth and requests have no common root
            raise Failed(self._words(error)) from error
        return _answer(response)

    def _words(self, error: BaseException) -> str:
        if isinstance(error, vendor.HttpError):
            return failures.status_line(error.http_status)
        if isinstance(error, vendor.ConnectionError) and error.__context__ is not None:
            # keystoneauth calls every timeout one of connecting; what it wraps knows better.
            error = error.__context__
        return failures.sentence(error, connect=self._connect, read=self._read)

    def get(self, path: str, query: Query = ()) -> Mapping[str, Any]:
        """The body of a GET. Raises Failed for every answer but a good one."""
        answer = self.request("GET", path, query=query)
        if not answer.ok:
            raise Failed(f"GET {path}: {answer.words}")
        return answer.body

    def all(self, collection: str, query: Query, fields: Iterable[str]) -> list[dict[str, Any]]:
        """All objects of a collection, page after page, with these fields only. Raises Failed.

        A list that was cut off by a server's own limit must never be taken for the whole: ports
        that are not on it would be taken for deleted.
        """
        path = "/" + collection.replace("_", "-")
        asked = [*query, *(("fields", each) for each in fields)]
        found: list[dict[str, Any]] = []
        page: Query = asked
        while True:
            body = self.get(path, page)
            try:
                found += body[collection]
                links = body.get(f"{collection}_links") or []
                after = next((each["href"] for each in links if each["rel"] == "next"), None)
            except (KeyError, TypeError) as error:
                raise Failed(f"GET {path}: an answer of another shape than Neutron's") from error
            if after is None:
                return found
            page = urllib.parse.parse_qsl(urllib.parse.urlsplit(after).query)

    def all_by(
        self, collection: str, query: Query, key: str, values: Iterable[str], fields: Iterable[str]
    ) -> list[dict[str, Any]]:
        """All objects whose `key` is one of `values`, in as many requests as that takes."""
        wanted, asked = sorted(set(values)), tuple(fields)
        found: list[dict[str, Any]] = []
        for start in range(0, len(wanted), IDS_PER_REQUEST):
            some = [(key, each) for each in wanted[start : start + IDS_PER_REQUEST]]
            found += self.all(collection, [*query, *some], asked)
        return found

    def check_rights(self) -> None:
        """Raise Failed when the token in use is no administrator's.

        Neutron does not refuse a list to others: it leaves out what they may not see. So lost
        rights would look like deleted ports.
        """
        try:
            roles = self._session.auth.get_access(self._session).role_names
        except Exception as error:  # keystoneauth and requests have no common root
            raise Failed(f"no token from the identity service: {self._words(error)}") from error
        if ADMIN not in roles:
            raise Failed(
                f"the engine's user has lost its role {ADMIN} in its project (it has: "
                f"{', '.join(sorted(roles)) or 'none'}), so that it would see a part only"
            )


def _answer(response: Any) -> Answer:
    if response.status_code >= 500:
        raise Failed(failures.status_line(response.status_code))
    body = _json(response)
    told = body.get("NeutronError") if response.status_code >= 400 else None
    kind, message = (told.get("type"), told.get("message")) if isinstance(told, dict) else ("", "")
    return Answer(
        status=response.status_code,
        body=body,
        kind=str(kind or ""),
        message=" ".join(str(message or "").split())[:300],
    )


def _json(response: Any) -> Mapping[str, Any]:
    if not response.content:
        return {}
    try:
        body = response.json()
    except ValueError:
        body = None
    if isinstance(body, dict):
        return body
    if response.status_code < 400:
        raise Failed("the answer is no JSON object, so that this is no Neutron")
    return {}


def unavailable(region: str, error: Failed) -> errors.UnavailableError:
    """For callers that are to raise."""
    return errors.UnavailableError(
        f"the Neutron of {region} cannot be asked",
        where=f"region {region}, service network",
        cause=str(error),
        unchanged="nothing was changed",
    )
