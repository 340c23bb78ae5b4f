"""A database that refuses or cannot be reached becomes a clear 503, never an empty answer.

``classify`` is pure. The middleware sits outside everything of Keystone: it sees exceptions that
Flask lets through (Keystone sets PROPAGATE_EXCEPTIONS; a WSGI server then closes the connection
without an answer) and, by the request's scope, also database errors that Keystone has turned into a
JSON 500 that does not name its cause.

Before that, a request that lost its reader before it wrote anything is made again. A database that
dies, and a load balancer that leaves it, close the connections that requests are using, and the next
connection leads to another database: nobody needs to see that. A service that does sees a 503 for a
token it is asked to trust, and tells its user 401. A write starts with reads too (the token of who
asks), and would blame this site's database although it is the writer that is away.

The body has the shape of Keystone's own errors, so that every client shows the message. It holds no
statement, no host and no account. Codes: MariaDB "Error Codes", client errors 2000-2999.
"""

from __future__ import annotations

import enum
import io
import json
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy.exc
from oslo_db import exception as db_exception
from oslo_log import log

from isthmus.plugins.keystone import scope

LOG = log.getLogger(__name__)


class Cause(enum.StrEnum):
    """Why the database did not do it."""

    READ_ONLY = "the database is read-only"
    NOT_READY = "the database cluster has no quorum"
    UNREACHABLE = "the database cannot be reached"
    BUSY = "the database is busy"


# 1205 and 1213 also arise on a healthy writer, when two requests collide and Keystone does not try
# again by itself; to the client it is the same: nothing was changed, try again.
CODES = {
    1290: Cause.READ_ONLY,
    1792: Cause.READ_ONLY,
    1836: Cause.READ_ONLY,
    1047: Cause.NOT_READY,
    1180: Cause.NOT_READY,
    1020: Cause.BUSY,
    1040: Cause.BUSY,
    1203: Cause.BUSY,
    1205: Cause.BUSY,
    1213: Cause.BUSY,
    1053: Cause.UNREACHABLE,
    1077: Cause.UNREACHABLE,
    1079: Cause.UNREACHABLE,
    1129: Cause.UNREACHABLE,
    1158: Cause.UNREACHABLE,
    1159: Cause.UNREACHABLE,
    1160: Cause.UNREACHABLE,
    1161: Cause.UNREACHABLE,
    1927: Cause.UNREACHABLE,
    2002: Cause.UNREACHABLE,
    2003: Cause.UNREACHABLE,
    2006: Cause.UNREACHABLE,
    2012: Cause.UNREACHABLE,
    2013: Cause.UNREACHABLE,
    2014: Cause.UNREACHABLE,
    2026: Cause.UNREACHABLE,
    2055: Cause.UNREACHABLE,
}
_RETRY_SECONDS = {Cause.BUSY: 1}
_RETRY_DEFAULT_SECONDS = 5
# The first new connection may be one that the load balancer was still making to the dead database.
_ATTEMPTS = 3
# Connections of a hanging database are closed after 3 s. A request that has waited longer than that has used its user's patience.
_AGAIN_SECONDS = 5.0
# Keystone's own limit on a body (`[oslo_middleware] max_request_body_size`).
_BODY_LIMIT = 114_688
# A chain of causes longer than this is a loop.
_CHAIN_LIMIT = 20

StartResponse = Callable[..., Any]


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """What the client is told."""

    message: str
    retry_after: int

    @property
    def body(self) -> bytes:
        """Keystone's error shape."""
        error = {"code": 503, "title": "Service Unavailable", "message": self.message}
        return json.dumps({"error": error}).encode()


def classify(error: BaseException | None) -> Cause | None:
    """Why the database did not do it, or None if the error is of another kind.

    Looks through what SQLAlchemy and oslo.db wrap around the driver's error.
    """
    fallback = None
    for link in _chain(error):
        code = _code(link)
        if code in CODES:
            return CODES[code]
        if isinstance(link, db_exception.DBConnectionError):
            fallback = Cause.UNREACHABLE
        elif isinstance(link, (db_exception.DBDeadlock, sqlalchemy.exc.TimeoutError)):
            fallback = fallback or Cause.BUSY
    return fallback


def rejects_data(error: BaseException) -> bool:
    """Whether the database refuses these very values, so that trying again is vain."""
    kinds = (
        db_exception.DBDataError,
        db_exception.DBDuplicateEntry,
        db_exception.DBConstraintError,
        db_exception.DBReferenceError,
        ValueError,
        KeyError,
        TypeError,
    )
    return any(isinstance(link, kinds) for link in _chain(error))


def refusal(cause: Cause, *, side: scope.Side | None, wrote: bool, changes: bool = True) -> Refusal:
    """The message for a cause, the database it came from, and what the request had done before."""
    if side is scope.Side.READER:
        what = "The identity database of this site cannot answer"
    elif cause is Cause.BUSY:
        what = "The writer site's identity database is busy"
    else:
        what = "The writer site of the identity service cannot be reached"
    if wrote:
        unchanged = (
            "A part of the request may have been carried out: look at the object before you try"
            " again."
        )
    else:
        unchanged = "Nothing was changed." if changes else "This request changes nothing."
    retry = _RETRY_SECONDS.get(cause, _RETRY_DEFAULT_SECONDS)
    advice = (
        f"Try again in {retry} s; logging in and validating tokens work at this site meanwhile."
    )
    if side is scope.Side.READER or cause is Cause.BUSY:
        advice = f"Try again in {retry} s."
    return Refusal(message=f"{what}. {unchanged} {advice}", retry_after=retry)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what it wraps, innermost last. oslo.db may wrap a mere text."""
    for _ in range(_CHAIN_LIMIT):
        if error is None:
            return
        yield error
        wrapped = (getattr(error, "inner_exception", None), getattr(error, "orig", None))
        links = [*wrapped, error.__cause__, error.__context__]
        error = next((link for link in links if isinstance(link, BaseException)), None)


def _code(error: BaseException) -> int | None:
    """The number in a driver's error: pymysql puts it first in the arguments."""
    if isinstance(error, (sqlalchemy.exc.SQLAlchemyError, db_exception.DBError)):
        return None
    first = error.args[0] if error.args else None
    is_driver = type(error).__module__.split(".")[0] in ("pymysql", "MySQLdb")
    return first if is_driver and isinstance(first, int) else None


class Middleware:
    """Wraps a WSGI application; see the module."""

    def __init__(self, application: Callable[..., Any], *, before: Callable[[], None]) -> None:
        self._application = application
        self._before = before

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        attempts = _attempts(environ)
        until = time.monotonic() + _AGAIN_SECONDS
        for left, attempt in zip(reversed(range(len(attempts))), attempts, strict=True):
            answer = self._attempt(attempt, again=left > 0 and time.monotonic() < until)
            if answer is not None:
                return answer.send(start_response, head=environ.get("REQUEST_METHOD") == "HEAD")
        raise AssertionError("the last attempt always has an answer")

    def _attempt(self, environ: dict[str, Any], *, again: bool) -> _Answer | None:
        """One attempt at the request; None if it failed and may be made again."""
        with scope.request() as request:
            answer = _Answer()
            failed: Exception | None = None
            try:
                self._before()
                answer.run(self._application, environ)
            except Exception as error:
                failed = error
                cause = classify(error) or classify(request.error)
            else:
                cause = classify(request.error) if answer.status_code == 500 else None
            if cause is not None:
                if again and repeatable(cause, request):
                    LOG.info("%s is made again: %s (%s)", _where(environ), cause, request.side)
                    return None
                self._refuse(environ, answer, request, cause)
            elif failed is not None:
                LOG.error("%s", _where(environ), exc_info=failed)
                answer.replace("500 Internal Server Error", _UNEXPECTED, ())
            return answer

    def _refuse(
        self, environ: dict[str, Any], answer: _Answer, request: scope.Scope, cause: Cause
    ) -> None:
        changes = environ.get("REQUEST_METHOD") not in ("GET", "HEAD", "OPTIONS")
        told = refusal(cause, side=request.side, wrote=request.wrote, changes=changes)
        LOG.warning("%s answered with 503: %s (%s)", _where(environ), cause, request.side)
        retry = ("Retry-After", str(told.retry_after))
        answer.replace("503 Service Unavailable", told.body, (retry,))


def repeatable(cause: Cause, request: scope.Scope) -> bool:
    """Whether a request may be made again: it failed while it was still reading, so that nothing would be done twice."""
    return (
        cause is Cause.UNREACHABLE
        and request.side is scope.Side.READER
        and not request.wrote
        and not request.counted
    )


def _attempts(environ: dict[str, Any]) -> list[dict[str, Any]]:
    """What the application is called with at each attempt; one if its body is of unknown length or too long to keep.

    Each has its own environment, because what is inside leaves its own things there.
    """
    if environ.get("REQUEST_METHOD") in ("GET", "HEAD"):
        return [environ.copy() for _ in range(_ATTEMPTS)]
    length = environ.get("CONTENT_LENGTH") or ("?" if "HTTP_TRANSFER_ENCODING" in environ else "0")
    if length.isdecimal() and int(length) <= _BODY_LIMIT:
        body = environ["wsgi.input"].read(int(length)) if int(length) else b""
        return [{**environ, "wsgi.input": io.BytesIO(body)} for _ in range(_ATTEMPTS)]
    return [environ]


_UNEXPECTED = json.dumps(
    {
        "error": {
            "code": 500,
            "title": "Internal Server Error",
            "message": "An unexpected error prevented the server from fulfilling your request.",
        }
    }
).encode()


def _path(environ: dict[str, Any]) -> str:
    return f"{environ.get('SCRIPT_NAME', '')}{environ['PATH_INFO']}"


def _where(environ: dict[str, Any]) -> str:
    """Method and path, without the query (it may hold names) and without control characters."""
    path = re.sub(r"[^\x21-\x7e]", "?", _path(environ))
    return f"{environ.get('REQUEST_METHOD')} {path[:200]}"


class _Answer:
    """An application's answer, held back until it is known that it may go out.

    Keystone builds its bodies in memory anyway, so holding one back costs nothing.
    """

    def __init__(self) -> None:
        self._status = "500 Internal Server Error"
        self._headers: list[tuple[str, str]] = []
        self._body: list[bytes] = []

    def run(self, application: Callable[..., Any], environ: dict[str, Any]) -> None:
        chunks = application(environ, self._start)
        try:
            self._body.extend(chunks)
        finally:
            close = getattr(chunks, "close", None)
            if close is not None:
                close()

    def _start(self, status: str, headers: list[tuple[str, str]], _error: Any = None) -> Any:
        self._status, self._headers = status, list(headers)
        return self._body.append

    @property
    def status_code(self) -> int:
        return int(self._status.split(" ", 1)[0])

    def replace(self, status: str, body: bytes, headers: Iterable[tuple[str, str]]) -> None:
        """Another answer, with what does not describe the body kept (the request id)."""
        described = ("content-length", "content-type", "content-encoding", "www-authenticate")
        kept = [pair for pair in self._headers if pair[0].lower() not in described]
        length = ("Content-Length", str(len(body)))
        self._headers = [*kept, ("Content-Type", "application/json"), length, *headers]
        self._status, self._body = status, [body]

    def send(self, start_response: StartResponse, *, head: bool) -> Iterable[bytes]:
        start_response(self._status, self._headers)
        return [] if head else self._body
