"""Errors as JSON documents: every refusal has the same shape, and none shows a stack.

::

    {"error": {"kind": "UnavailableError", "exit_code": 69, "what": ..., "where": ..., "cause": ...,
               "unchanged": ..., "next_command": ..., "field": ..., "request_id": "req-..."}}
"""

from __future__ import annotations

import logging
import re
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import fastapi
from fastapi import exceptions, responses
from starlette.exceptions import HTTPException

from isthmus import errors
from isthmus.engine.rights import UnknownCallerError
from isthmus.network.declarations import DeclarationError
from isthmus.network.store import ConflictError

LOG = logging.getLogger(__name__)

REQUEST_ID = "X-OpenStack-Request-ID"

LARGEST_REQUEST = 4 << 20
"""Bytes of a body: a poke about ten thousand ports has less than one million. It is read before it
is known whose it is."""

_GIVEN = re.compile(r"req-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

_STATUS: tuple[tuple[type[errors.IsthmusError], int], ...] = (
    (UnknownCallerError, 401),
    (errors.PrivilegeError, 403),
    (DeclarationError, 400),
    (errors.InputError, 400),
    (errors.UsageError, 404),
    (ConflictError, 409),
    (errors.BusyError, 409),
    (errors.UnavailableError, 503),
)


def install(app: fastapi.FastAPI) -> None:
    """Give every request an id and every error its document."""
    app.middleware("http")(_identified)
    app.add_exception_handler(errors.IsthmusError, _refused)
    app.add_exception_handler(exceptions.RequestValidationError, _misshapen)
    app.add_exception_handler(HTTPException, _plain)


def status_of(error: errors.IsthmusError) -> int:
    """The HTTP status of an error."""
    return next((code for kind, code in _STATUS if isinstance(error, kind)), 500)


async def _identified(
    request: fastapi.Request,
    call_next: Callable[[fastapi.Request], Awaitable[fastapi.Response]],
) -> fastapi.Response:
    given = request.headers.get(REQUEST_ID, "")
    request.state.request_id = given if _GIVEN.fullmatch(given) else f"req-{uuid.uuid4()}"
    try:
        response = _too_large(request) or await call_next(request)
    except Exception as error:
        LOG.exception("%s: an error in the engine itself", request.state.request_id)
        text = f"unexpected {type(error).__name__}; the engine's log has the trace"
        response = _answer(request, 500, kind="Unexpected", exit_code=errors.UNEXPECTED, what=text)
    response.headers[REQUEST_ID] = request.state.request_id
    return response


def _too_large(request: fastapi.Request) -> fastapi.Response | None:
    """The refusal of a body that is too long, or that does not say how long it is."""
    length = request.headers.get("Content-Length", "0")
    chunked = "Transfer-Encoding" in request.headers
    if not chunked and length.isdigit() and int(length) <= LARGEST_REQUEST:
        return None
    return _answer(
        request,
        413,
        kind=errors.InputError.__name__,
        exit_code=errors.InputError.exit_code,
        what="the body of the request is too long",
        cause=f"{LARGEST_REQUEST} bytes are the most, and Content-Length has to say how many",
        unchanged="nothing was done",
    )


async def _refused(request: fastapi.Request, error: Exception) -> fastapi.Response:
    if not isinstance(error, errors.IsthmusError):
        raise error
    status = status_of(error)
    if status >= 500:
        LOG.warning("%s %s: %s", request.method, request.url.path, error)
    return _answer(
        request,
        status,
        kind=_family(error),
        exit_code=error.exit_code,
        what=error.what,
        where=error.where,
        cause=error.cause,
        unchanged=error.unchanged,
        next_command=error.next_command,
        field=getattr(error, "field", None),
    )


async def _misshapen(request: fastapi.Request, error: Exception) -> fastapi.Response:
    """The values are not repeated: somebody may have put a secret into the wrong field."""
    found = error.errors() if isinstance(error, exceptions.RequestValidationError) else ()
    faults = [(".".join(str(part) for part in each["loc"][1:]), each["msg"]) for each in found]
    return _answer(
        request,
        400,
        kind=errors.InputError.__name__,
        exit_code=errors.InputError.exit_code,
        what="the request has not the promised shape",
        cause="; ".join(f"{field}: {text}" if field else str(text) for field, text in faults),
        unchanged="nothing was done",
        next_command=f"see {request.base_url}docs",
        field=faults[0][0] if faults else None,
    )


async def _plain(request: fastapi.Request, error: Exception) -> fastapi.Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    what = str(getattr(error, "detail", error))
    kind = errors.UsageError
    return _answer(
        request,
        status,
        kind=kind.__name__,
        exit_code=kind.exit_code,
        what=what,
        where=request.url.path,
        next_command=f"see {request.base_url}docs",
    )


def _family(error: errors.IsthmusError) -> str:
    """The class in the one tree of errors that clients know."""
    for kind in type(error).__mro__:
        if kind.__module__ == errors.__name__:
            return kind.__name__
    return errors.IsthmusError.__name__


def _answer(request: fastapi.Request, status: int, **parts: Any) -> responses.JSONResponse:
    parts["request_id"] = getattr(request.state, "request_id", None)
    return responses.JSONResponse({"error": parts}, status_code=status)
