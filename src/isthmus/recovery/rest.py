"""Requests to one service of one site's OpenStack, by keystoneauth, with one error for all that fails.

It exists so that the modules that read and change clouds say what they ask for and nothing about
HTTP, and so that no exception of keystoneauth leaves this module. It tries once, except what only
reads and met a failure that passes: a service whose own login was late, one that is started again.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from typing import Any

from isthmus import errors
from isthmus.sites import failures

CONNECT_S = 2.0
READ_S = 60.0
PASSING = frozenset({500, 502, 503, 504})
AGAIN_S = (0.5, 1.0, 2.0)
_ID = re.compile(r"req-[0-9a-f-]{36}")


class CloudError(errors.UnavailableError):
    """A service did not do what it was asked for. `status`: of its answer, None without one."""

    def __init__(self, what: str, *, where: str, cause: str, status: int | None = None) -> None:
        super().__init__(what, where=where, cause=cause, unchanged="nothing, as far as is known")
        self.status = status


class Api:
    """One service of one region; for several threads.

    `session`: a keystoneauth1 session, scoped to the project that the work is for.
    """

    def __init__(
        self,
        session: Any,
        region: str,
        service: str,
        *,
        microversion: str | None = None,
        read_s: float = READ_S,
    ) -> None:
        self.region, self._service, self._read = region, service, read_s
        self._session, self._microversion = session, microversion

    @property
    def project_id(self) -> str:
        """The project of the session."""
        return str(self._tried("get a token", lambda: self._session.get_project_id()))

    def get(self, path: str, **query: Any) -> Any:
        return self.call("GET", path, query=query)

    def post(self, path: str, body: Any) -> Any:
        return self.call("POST", path, body)

    def put(self, path: str, body: Any) -> Any:
        return self.call("PUT", path, body)

    def delete(self, path: str) -> None:
        """DELETE; what is gone already is gone."""
        try:
            self.call("DELETE", path)
        except CloudError as error:
            if error.status != 404:
                raise

    def all(self, path: str, collection: str, **query: Any) -> Iterator[Any]:
        """All objects of a collection, page after page.

        Services cut lists off at a limit of their own and say so by a link; a list that was cut off
        must never be taken for the whole.
        """
        marker: dict[str, str] = {}
        while True:
            answer = self.get(path, **query, **marker)
            found = answer[collection]
            yield from found
            links = answer.get(f"{collection}_links") or []
            if not found or not any(each.get("rel") == "next" for each in links):
                return
            marker = {"marker": str(found[-1]["id"])}

    def find(self, path: str, noun: str) -> Any | None:
        """The object at `path`, None if there is none."""
        try:
            return self.get(path)[noun]
        except CloudError as error:
            if error.status == 404:
                return None
            raise

    def call(
        self, method: str, path: str, body: Any = None, query: Mapping[str, Any] | None = None
    ) -> Any:
        """The JSON document of the answer, None if it is empty. Raises CloudError.

        A GET that was answered with one of `PASSING` is asked again after each of `AGAIN_S` seconds.
        """
        what = f"{self._service}: {method} {path}"
        url = self._root(what) + path
        response = self._asked(what, method, url, body, query)
        for pause in AGAIN_S if method == "GET" else ():
            if response.status_code not in PASSING:
                break
            time.sleep(pause)
            response = self._asked(what, method, url, body, query)
        if response.status_code >= 400:
            raise CloudError(
                f"{what} failed",
                where=f"site {self.region}",
                cause=_words(response),
                status=response.status_code,
            )
        return response.json() if response.content.strip() else None

    def _asked(
        self, what: str, method: str, url: str, body: Any, query: Mapping[str, Any] | None
    ) -> Any:
        """The response, whatever its status."""
        options: dict[str, Any] = {} if body is None else {"json": body}
        return self._tried(
            what,
            lambda: self._session.request(
                url,
                method,
                params=dict(query or {}),
                # keystoneauth would write bodies to the debug log: user data, keys.
                log=False,
                microversion=self._microversion,
                microversion_service_type=self._service,
                connect_retries=0,
                raise_exc=False,
                timeout=(CONNECT_S, self._read),
                redirect=False,
                **options,
            ),
        )

    def _root(self, what: str) -> str:
        """The service's URL; Neutron's is in some catalogs with its version, which paths have."""
        url = self._tried(
            what,
            lambda: self._session.get_endpoint(
                service_type=self._service, region_name=self.region, interface="internal"
            ),
        )
        if not url:
            raise CloudError(
                f"{what} failed",
                where=f"site {self.region}",
                cause=f"the catalog has no {self._service} endpoint for the region",
            )
        return str(url).rstrip("/").removesuffix("/v2.0")

    def _tried(self, what: str, do: Any) -> Any:
        try:
            return do()
        except Exception as error:  # keystoneauth, requests and urllib3 have each their own tree
            # keystoneauth calls every timeout one of connecting; what it wraps knows better.
            inner = error.__context__ if "Connect" in type(error).__name__ else None
            text = failures.sentence(inner or error, connect=CONNECT_S, read=self._read)
            raise CloudError(f"{what} failed", where=f"site {self.region}", cause=text) from error


def _words(response: Any) -> str:
    """What the service said, without more than a line of it; its request ID for its log."""
    line: str = failures.status_line(response.status_code, response.reason)
    try:
        parts = response.json().values()
        said = next((each["message"] for each in parts if isinstance(each, dict)), "")
    except (ValueError, AttributeError, KeyError, StopIteration):
        said = ""
    request = response.headers.get("x-openstack-request-id", "")
    known = f" ({request})" if _ID.fullmatch(request) else ""
    return f"{line}: {' '.join(str(said).split())[:300]}{known}" if said else f"{line}{known}"
