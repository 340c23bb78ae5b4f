"""Values as JSON documents and back, strictly.

It exists so that declarations, checkpoints and manifests are read by one rule: nothing is dropped
silently. A field that this release does not know, a text where a number belongs or a time without a
zone is refused, because what is refused at the drill does not go missing on the day of the disaster.
It knows nothing of any of the values; their modules say which kind they are.
"""

from __future__ import annotations

import datetime
import functools
import json
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

import pydantic

T = TypeVar("T")


class ShapeError(ValueError):
    """A document has not the promised shape; the text says which field, without its value."""


def utc(moment: datetime.datetime) -> datetime.datetime:
    """The same moment in UTC; raises ValueError for a time without a zone."""
    if moment.tzinfo is None:
        raise ValueError("the time has no zone")
    return moment.astimezone(datetime.UTC)


def written(moment: datetime.datetime) -> str:
    """RFC 3339 in UTC with microseconds, always of the same length so that texts sort as times."""
    return utc(moment).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


Moment = Annotated[
    datetime.datetime,
    pydantic.AfterValidator(utc),
    pydantic.PlainSerializer(written, return_type=str),
]
"""A point in time: an aware datetime in values, RFC 3339 with microseconds in documents."""


@functools.cache
def _adapter(kind: Any) -> pydantic.TypeAdapter[Any]:
    """Building one costs milliseconds and reading 1,000 servers needs it 1,000 times."""
    return pydantic.TypeAdapter(kind)


def write(value: Any) -> Any:
    """A value as a JSON document: mappings, lists, texts, numbers, booleans and None only."""
    kind: Any = type(value)
    return _adapter(kind).dump_python(value, mode="json")


def read(kind: type[T], document: Any) -> T:
    """The value of a document. Raises ShapeError.

    Fields that the document leaves out get their default; so older documents stay readable. Fields
    that are unknown, or that say something that would be written otherwise, are refused.
    """
    sought: Any = kind
    try:
        value = _adapter(sought).validate_python(document)
    except pydantic.ValidationError as error:
        raise ShapeError(_first(error)) from None
    lost = difference(document, write(value))
    if lost:
        raise ShapeError(lost)
    return value  # type: ignore[no-any-return]


def difference(given: Any, understood: Any, place: str = "") -> str | None:
    """Where a document says more, or something else, than was understood; None if nowhere."""
    if isinstance(given, Mapping) and isinstance(understood, Mapping):
        for name, part in given.items():
            inner = f"{place}.{name}" if place else f"{name}"
            if name not in understood:
                return f"field {inner} is not known"
            found = difference(part, understood[name], inner)
            if found:
                return found
        return None
    if isinstance(given, list | tuple) and isinstance(understood, list | tuple):
        if len(given) != len(understood):
            return f"field {place} has entries that are there twice or are not known"
        pairs = zip(given, understood, strict=True)
        found_in = (difference(*pair, f"{place}[{n}]") for n, pair in enumerate(pairs))
        return next((found for found in found_in if found), None)
    if given != understood or isinstance(given, bool) != isinstance(understood, bool):
        return f"field {place} is not written as this release would write it"
    return None


def canonical(document: Any) -> bytes:
    """The one sequence of bytes for a document: keys sorted, no blanks, UTF-8, no NaN.

    Numbers are written as Python writes them (shortest form that reads back the same). Signatures
    are over the bytes as they are stored, so that nobody needs to repeat this to verify one.
    """
    text = json.dumps(
        document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode()


def _first(error: pydantic.ValidationError) -> str:
    """The first thing that is wrong; never the value, which may be what must not be shown."""
    one = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = ".".join(str(part) for part in one["loc"])
    words = str(one["msg"])
    return f"field {place}: {words}" if place else words
