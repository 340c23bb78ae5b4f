"""A fenced site issues no tokens, says so, and validates as before.

The site's agent puts a mark beside the token keys, in the same step in which it changes them: its name
is no number, so that Keystone does not take it for a key. A fenced site may be behind with its keys, and
what it issued others might refuse; so it is better not to issue. Revocation and validation go on.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import keystone.conf
from oslo_log import log

from isthmus.plugins.keystone.unavailable import Refusal

LOG = log.getLogger(__name__)

MARK = "isthmus.json"
"""As `isthmus.identity.keys.repository` writes it."""

RETRY_SECONDS = 30


def reason(repository: str) -> str | None:
    """Why the site whose token keys are in `repository` is fenced; None if it is not.

    No mark, or one that cannot be read, is no fence: whoever cannot read it cannot read the keys.
    """
    try:
        found = json.loads((Path(repository) / MARK).read_bytes())
        return str(found["fenced"]) if found["fenced"] else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


_ISSUING = re.compile(
    r"/v3/(auth/tokens|ec2tokens|s3tokens|OS-OAUTH2/token"
    r"|(auth/)?OS-FEDERATION/(identity_providers|websso)/.+)"
)


def issues(environ: dict[str, Any]) -> bool:
    """Whether a request asks for a token. Logins by federation may be GET (`.../protocols/P/auth`)."""
    path = f"{environ.get('SCRIPT_NAME', '')}{environ.get('PATH_INFO', '')}".rstrip("/")
    found = _ISSUING.fullmatch(path)
    if found is None:
        return False
    if "FEDERATION" in path:
        return "/websso/" in path or path.endswith("/auth")
    return environ.get("REQUEST_METHOD") == "POST"


def refusal(environ: dict[str, Any]) -> Refusal | None:
    """What a request is answered with instead of a token; None if it is not for a token, or if this
    site is not fenced."""
    if not issues(environ):
        return None
    why = reason(keystone.conf.CONF.fernet_tokens.key_repository)
    if why is None:
        return None
    message = (
        f"This site is fenced ({why}): it issues no tokens until it has the token keys of the other"
        " sites. Nothing was changed. Log in at another site; tokens are validated here as before."
    )
    return Refusal(message=message, retry_after=RETRY_SECONDS)


class Middleware:
    """Wraps a WSGI application; see the module."""

    def __init__(self, application: Callable[..., Iterable[bytes]]) -> None:
        self._application = application

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        told = refusal(environ)
        if told is None:
            return self._application(environ, start_response)
        LOG.warning("A login is answered with 503: this site is fenced")
        headers = [
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(told.body))),
            ("Retry-After", str(told.retry_after)),
        ]
        start_response("503 Service Unavailable", headers)
        return [told.body]
