"""Talking to the engines: the first one that answers does what a command wants.

It exists so that every command about networks, addresses and lost sites finds an engine in the same
way: the sites file says where they are (`engine:`), the clouds.yaml of that site's cloud how to log
in. All engines know the same declarations, so any will do; one that cannot do what is asked, because
its own site is in trouble, is followed by the next.
"""

from __future__ import annotations

import functools
import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn
from urllib.parse import quote

from isthmus import errors
from isthmus.sites import failures, fanout, inventory, probe
from isthmus.sites.inventory import Inventory, Site

HELLO_SECONDS = 2.0
"""How long an engine may take to say that it is there."""
ANSWER_SECONDS = 30.0
"""How long it may take to do something. Waiting for sites has a longer limit of its own."""

_UNAVAILABLE = 503


class _UnsureError(errors.UnavailableError):
    """An engine that was told to change something did not answer."""


class Client:
    """The engines of a sites file. `ask` names the site whose engine is to be asked and no other;
    `rather_not` the site whose engine is asked last.

    Raises the errors of `isthmus.errors`, as the engine words them; UnavailableError when no engine
    answers; ConfigurationError when the sites file names none.
    """

    def __init__(
        self, known: Inventory, *, ask: str | None = None, rather_not: str | None = None
    ) -> None:
        self._known = known
        self._candidates = _candidates(known, ask, rather_not)
        self._clouds = probe.Clouds()
        self._tokens: dict[str, str] = {}
        self._alive: list[Site] | None = None

    def get(self, path: str, *, timeout: float = ANSWER_SECONDS) -> Any:
        """The document at `path`."""
        return self.call("GET", path, None, timeout=timeout)

    def post(self, path: str, body: Any = None, *, timeout: float = ANSWER_SECONDS) -> Any:
        """POST a document; returns the answer's."""
        return self.call("POST", path, body, timeout=timeout)

    def patch(self, path: str, body: Any, *, timeout: float = ANSWER_SECONDS) -> Any:
        """PATCH with a document; returns the answer's."""
        return self.call("PATCH", path, body, timeout=timeout)

    def put(self, path: str, body: Any = None, *, timeout: float = ANSWER_SECONDS) -> Any:
        """PUT a document; returns the answer's."""
        return self.call("PUT", path, body, timeout=timeout)

    def delete(self, path: str, *, timeout: float = ANSWER_SECONDS) -> Any:
        """DELETE; returns the answer's document."""
        return self.call("DELETE", path, None, timeout=timeout)

    def call(self, method: str, path: str, body: Any, *, timeout: float) -> Any:
        """Ask the engines in turn until one is able to answer. `timeout` is in seconds."""
        first: errors.UnavailableError | None = None
        # An engine may lose its database after the change was stored; the next one knows it by this.
        name = str(uuid.uuid4())
        for site in self._answering():
            try:
                return self._asked(site, method, path, body, timeout, name)
            except _UnsureError:
                # Another engine might do it a second time.
                raise
            except errors.UnavailableError as error:
                first = first or error
        if first is not None:
            raise first
        raise self._nobody()

    def _answering(self) -> Iterator[Site]:
        """The engines that say that they are there, in order. They are asked all at once, so that
        a dead site costs nothing while another one answers."""
        if self._alive is None:
            questions = {site.name: functools.partial(_hello, site) for site in self._candidates}
            answers = fanout.ask_all(questions, timeout=HELLO_SECONDS, grace=0.5)
            self._silent = {site: each.error for site, each in answers.items() if each.error}
            self._alive = [site for site in self._candidates if answers[site.name].ok]
        yield from self._alive

    def _nobody(self) -> errors.UnavailableError:
        causes = "; ".join(f"{site}: {error}" for site, error in self._silent.items())
        return errors.UnavailableError(
            "no engine answers",
            where=self._known.source,
            cause=causes,
            unchanged="nothing was done",
            next_command="isthmus lab status      (in the lab; else look at isthmus-engine there)",
        )

    def _asked(
        self, site: Site, method: str, path: str, body: Any, timeout: float, name: str
    ) -> Any:
        import requests

        headers = {
            "X-Auth-Token": self._token(site),
            "Accept": "application/json",
            "Idempotency-Key": name,
        }
        try:
            answer = requests.request(
                method,
                f"{site.engine}{path}",
                json=body,
                headers=headers,
                timeout=(HELLO_SECONDS, timeout),
                allow_redirects=False,
            )
            content = answer.content
        except Exception as error:  # requests passes on errors of urllib3 in reading a body
            kind = errors.UnavailableError if method == "GET" else _UnsureError
            raise kind(
                "the engine does not answer any more",
                where=f"engine of {site.name}",
                cause=failures.sentence(error, connect=HELLO_SECONDS, read=timeout),
                unchanged=None if method == "GET" else "it is not known whether it was done",
                next_command="isthmus network list",
            ) from error
        document = _parsed(content, site, answer.status_code)
        if answer.status_code >= 400:
            _refuse(document, site, answer.status_code)
        return document

    def _token(self, site: Site) -> str:
        if site.name not in self._tokens:
            self._tokens[site.name] = _login(self._clouds, site)
        return self._tokens[site.name]


def _candidates(known: Inventory, ask: str | None, rather_not: str | None) -> list[Site]:
    sites: Sequence[Site] = [known.site(ask)] if ask else known.sites
    found = [site for site in sites if site.engine]
    if not found:
        example = "  - {name: paris, role: writer, engine: http://198.51.100.1:8991}"
        raise errors.ConfigurationError(
            f"no engine of {ask} is known" if ask else "no engine is known",
            where=known.source,
            cause="no site of the file has the field 'engine'",
            unchanged="nothing was done",
            next_command=f"add it, as in:\n{example}",
        )
    return sorted(found, key=lambda site: site.name == rather_not)


def connect(sites_option: str | None, **options: Any) -> Client:
    """A client for the sites file that `isthmus --sites` (or its default) names."""
    return Client(inventory.load(sites_option), **options)


def path(*parts: str) -> str:
    """A route of the engines, with its parts quoted."""
    return "/".join(["/v1", *(quote(part, safe="") for part in parts)])


def _hello(site: Site) -> None:
    import requests

    try:
        answer = requests.get(f"{site.engine}/healthcheck", timeout=HELLO_SECONDS)
    except Exception as error:  # requests and urllib3 have no common root
        text = failures.sentence(error, connect=HELLO_SECONDS, read=HELLO_SECONDS)
        raise errors.UnavailableError(text) from error
    if answer.status_code != 200:
        raise errors.UnavailableError(failures.status_line(answer.status_code, answer.reason))


def _login(clouds: probe.Clouds, site: Site) -> str:
    region = clouds.region(site, timeout=ANSWER_SECONDS, validate=True)
    try:
        return str(region.get_session().get_token())
    except Exception as error:  # keystoneauth, openstacksdk and requests have no common root
        if getattr(error, "http_status", None) == 401:
            raise errors.PrivilegeError(
                "the credentials are refused",
                where=f"Keystone of {site.name}",
                cause=f"cloud {site.cloud!r} of clouds.yaml",
                unchanged="nothing was done",
            ) from error
        raise errors.UnavailableError(
            "cannot log in",
            where=f"Keystone of {site.name}",
            cause=failures.sentence(error, connect=ANSWER_SECONDS, read=ANSWER_SECONDS),
            unchanged="nothing was done",
            next_command="isthmus status",
        ) from error


def _parsed(content: bytes, site: Site, status: int) -> Any:
    if not content.strip():
        return None
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise errors.InputError(
            "something answers, but not as an engine does",
            where=f"{site.engine}",
            cause=failures.status_line(status),
        ) from error


def _refuse(document: Any, site: Site, status: int) -> NoReturn:
    """Raise what the engine said, as the error that it was there."""
    found = document.get("error") if isinstance(document, Mapping) else None
    parts = found if isinstance(found, Mapping) else {}
    kind = getattr(errors, str(parts.get("kind")), None)
    if not (isinstance(kind, type) and issubclass(kind, errors.IsthmusError)):
        kind = errors.UnavailableError if status == _UNAVAILABLE else errors.IsthmusError
    raise kind(
        str(parts.get("what") or failures.status_line(status)),
        where=parts.get("where") or f"engine of {site.name}",
        cause=parts.get("cause"),
        unchanged=parts.get("unchanged"),
        next_command=parts.get("next_command"),
    )
