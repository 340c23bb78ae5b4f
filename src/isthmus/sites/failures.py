"""Words for what goes wrong between here and a site.

It exists so that a table cell says "connection refused" and not the nested exceptions of four
libraries. It looks at exceptions of the standard library and at class names only, so that importing
it costs nothing; it decides nothing about retries.
"""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Iterator

_BY_CLASS_NAME = {
    "ConnectTimeout": "connect timeout after {connect:g} s",
    "ConnectTimeoutError": "connect timeout after {connect:g} s",
    "ReadTimeout": "no answer within {read:g} s",
    "ReadTimeoutError": "no answer within {read:g} s",
    "InvalidURL": "the URL is not valid",
    "InvalidSchema": "the URL is not valid",
    "MissingSchema": "the URL is not valid",
    "TooManyRedirects": "redirected in a circle",
}


def sentence(error: BaseException, *, connect: float, read: float) -> str:
    """What happened, in a few words. `connect` and `read` are the timeouts in seconds."""
    for each in _chain(error):
        words = _words(each)
        if words:
            return words.format(connect=connect, read=read)
    return f"cannot be reached ({type(error).__name__})"


def status_line(code: int, reason: str | None = None) -> str:
    """An HTTP status as words: 503 Service Unavailable."""
    words = reason or http.client.responses.get(code, "")
    return f"{code} {words}".strip()


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The exception and its causes. urllib3 keeps some of them in `reason` and in `args`."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop(0)
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        inner = (each.__cause__, each.__context__, getattr(each, "reason", None), *each.args)
        waiting += [one for one in inner if isinstance(one, BaseException)]


def _words(error: BaseException) -> str | None:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"TLS: certificate refused: {_plain(error.verify_message)}"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {_plain(error.reason or 'handshake failed')}"
    if isinstance(error, socket.gaierror):
        return "the name cannot be resolved"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, ConnectionResetError | BrokenPipeError | http.client.RemoteDisconnected):
        return "connection closed without an answer"
    if isinstance(error, TimeoutError) and type(error) is TimeoutError:
        return "no answer within {read:g} s"
    if type(error) is OSError and error.strerror:
        return _plain(error.strerror[0].lower() + error.strerror[1:])
    return _BY_CLASS_NAME.get(type(error).__name__)


def _plain(text: str) -> str:
    """Braces of foreign texts must not be taken for our own fields."""
    return text.replace("{", "(").replace("}", ")")
