"""Signed HTTP calls to the engines of other sites and to the host agents of this one.

It exists so that a call has one shape (JSON in, JSON out, a time limit, one short sentence for every
failure) and cannot forget its signature. It tries once: whoever calls knows whether trying again
makes sense. Not for Keystone and Neutron, which keystoneauth talks to.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import requests
import requests.adapters

from isthmus import errors
from isthmus.sites import failures, signing

CONNECT_SECONDS = 2.0
"""Longest wait for a TCP connection: one lost SYN packet is sent again after 1 s."""

LARGEST_ANSWER = 16 << 20
"""Bytes of an answer that are read: the FDB of a host with 10,000 remote ports is some 2 MB."""


class CallError(errors.UnavailableError):
    """A call was not answered, or was answered with an error (`status`, else None)."""

    def __init__(self, text: str, *, where: str, status: int | None = None) -> None:
        super().__init__(text, where=where)
        self.status = status


class Callees:
    """The engines, or the host agents, that may be called by name. For several threads."""

    def __init__(
        self,
        urls: Mapping[str, str],
        signer: signing.Signer,
        addressee: Callable[[str], str],
        *,
        noun: str,
    ) -> None:
        self._urls, self._signer, self._addressee, self._noun = urls, signer, addressee, noun
        self._sessions = {name: _session() for name in urls}

    @property
    def names(self) -> tuple[str, ...]:
        """Who may be called, in the order of the configuration."""
        return tuple(self._urls)

    def get(self, name: str, path: str, timeout: float = 5.0) -> Any:
        """The JSON document at `path` (with its query). Raises CallError."""
        return self.call("GET", name, path, None, timeout)

    def post(self, name: str, path: str, body: Any = None, timeout: float = 5.0) -> Any:
        """POST a JSON document; returns the answer's, None if it is empty. Raises CallError."""
        return self.call("POST", name, path, body, timeout)

    def put(self, name: str, path: str, body: Any = None, timeout: float = 5.0) -> Any:
        """PUT a JSON document; returns the answer's, None if it is empty. Raises CallError."""
        return self.call("PUT", name, path, body, timeout)

    def delete(self, name: str, path: str, timeout: float = 5.0) -> Any:
        """DELETE; returns the answer's document, None if it is empty. Raises CallError."""
        return self.call("DELETE", name, path, None, timeout)

    def call(self, method: str, name: str, path: str, body: Any, timeout: float) -> Any:
        """One signed request. `timeout` is in seconds, for each wait for the network."""
        where = f"{self._noun} {name}"
        if name not in self._urls:
            raise CallError(f"there is no {where} in the configuration", where=where)
        content = b"" if body is None else json.dumps(body).encode()
        headers = self._signer.headers(method, path, content, to=self._addressee(name))
        if content:
            headers["Content-Type"] = "application/json"
        status, answer = self._exchange(name, method, path, content, headers, timeout)
        if status >= 400:
            text = _reason(answer) or failures.status_line(status)
            raise CallError(text, where=where, status=status)
        return _parsed(answer, where)

    def _exchange(
        self,
        name: str,
        method: str,
        path: str,
        content: bytes,
        headers: Mapping[str, str],
        timeout: float,
    ) -> tuple[int, bytes]:
        connect = min(CONNECT_SECONDS, timeout)
        try:
            with self._sessions[name].request(
                method,
                self._urls[name] + path,
                data=content,
                headers=dict(headers),
                timeout=(connect, timeout),
                allow_redirects=False,
                stream=True,
            ) as response:
                answer = response.raw.read(LARGEST_ANSWER + 1, decode_content=True)
                status = response.status_code
        except Exception as error:  # requests passes on errors of urllib3 in reading a body
            text = failures.sentence(error, connect=connect, read=timeout)
            raise CallError(text, where=f"{self._noun} {name}") from error
        if len(answer) > LARGEST_ANSWER:
            raise CallError("the answer is too long", where=f"{self._noun} {name}", status=status)
        return status, answer


def engines(urls: Mapping[str, str], secret: bytes, site: str) -> Callees:
    """The engines of the other sites, by site."""
    signer = signing.Signer(secret, signing.engine_name(site))
    return Callees(urls, signer, signing.engine_name, noun="the engine of")


def host_agents(urls: Mapping[str, str], secret: bytes, site: str) -> Callees:
    """The host agents of this site, by host."""
    signer = signing.Signer(secret, signing.engine_name(site))
    return Callees(
        urls, signer, lambda host: signing.host_name(site, host), noun="the host agent of"
    )


def _session() -> requests.Session:
    """Connections are kept, because calls are frequent and a WAN costs round trips.

    urllib3 is not to try again: a nonce is good once. The environment (proxies, .netrc) is not for
    talking among ourselves.
    """
    session = requests.Session()
    session.trust_env = False
    adapter = requests.adapters.HTTPAdapter(pool_connections=1, pool_maxsize=16, max_retries=0)
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    return session


def _parsed(answer: bytes, where: str) -> Any:
    if not answer.strip():
        return None
    try:
        return json.loads(answer)
    except (ValueError, RecursionError) as error:
        raise CallError("the answer is not JSON", where=where) from error


def _reason(answer: bytes) -> str | None:
    """The sentence in an error document, if that is what it is."""
    try:
        fault = json.loads(answer)["error"]
        what, cause = str(fault["what"]), fault.get("cause")
    except (ValueError, RecursionError, TypeError, KeyError, AttributeError):
        return None
    return f"{what}: {cause}" if cause else what
