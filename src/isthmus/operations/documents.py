"""Values of operations as JSON documents and back.

Times are seconds since 1970 in values and RFC 3339 in UTC with microseconds in documents. Unknown
fields are refused: a document that a newer release wrote must not lose half of an approval.
"""

from __future__ import annotations

import datetime
import functools
import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

import pydantic

from isthmus import errors

T = TypeVar("T")


def written(at: float) -> str:
    """Seconds since 1970 as RFC 3339."""
    moment = datetime.datetime.fromtimestamp(at, datetime.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def seconds(value: Any) -> Any:
    """RFC 3339 as seconds since 1970; what is no text passes through to be judged by its type."""
    if not isinstance(value, str):
        return value
    moment = datetime.datetime.fromisoformat(value)
    if moment.tzinfo is None:
        raise ValueError("the time has no zone")
    return moment.timestamp()


Moment = Annotated[
    float,
    pydantic.BeforeValidator(seconds),
    pydantic.PlainSerializer(written, return_type=str),
]


@functools.cache
def _made(kind: Any) -> pydantic.TypeAdapter[Any]:
    return pydantic.TypeAdapter(kind)


def _adapter(kind: Any) -> pydantic.TypeAdapter[Any]:
    """Making one costs milliseconds, and steps are written again and again."""
    return _made(kind)


def write(value: Any) -> Any:
    """A value as mappings, lists, texts, numbers, booleans and None only."""
    return _adapter(type(value)).dump_python(value, mode="json")


def read(kind: type[T], document: Any) -> T:
    """The value of a document. Raises InputError without the value that was found."""
    try:
        value = _adapter(kind).validate_python(document)
    except pydantic.ValidationError as error:
        one = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(str(part) for part in one["loc"])
        raise _unreadable(kind, f"field {place}: {one['msg']}" if place else one["msg"]) from None
    if unknown := _unknown(document, write(value)):
        raise _unreadable(kind, f"field {unknown} is not known")
    return value  # type: ignore[no-any-return]


def _unknown(given: Any, understood: Any, place: str = "") -> str | None:
    """The first field that the document has and the value has not."""
    if isinstance(given, Mapping) and isinstance(understood, Mapping):
        for name, part in given.items():
            inner = f"{place}.{name}" if place else str(name)
            found = inner if name not in understood else _unknown(part, understood[name], inner)
            if found:
                return found
    elif isinstance(given, list) and isinstance(understood, list):
        inner_ones = (
            _unknown(part, other, f"{place}[{n}]")
            for n, (part, other) in enumerate(zip(given, understood, strict=False))
        )
        return next((each for each in inner_ones if each), None)
    return None


def _unreadable(kind: type[Any], cause: str) -> errors.InputError:
    return errors.InputError(
        f"the document of {kind.__name__.lower()} cannot be read",
        cause=cause,
        unchanged="it is left as it is",
    )


def digest(document: Any) -> str:
    """SHA-256 (hex) of a document, whatever the order of its keys."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
