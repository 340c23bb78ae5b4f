"""Database errors become a clear 503, and nothing else does."""

from __future__ import annotations

import json
import logging
from typing import Any

import pymysql
import pytest
import sqlalchemy.exc
from hypothesis import given
from hypothesis import strategies as st
from oslo_db import exception as db_exception

from isthmus.plugins.keystone import scope, unavailable
from isthmus.plugins.keystone.unavailable import Cause, classify

SECRET = "mysql://keystone:hunter2@10.99.3.1 SELECT password"


def driver(code: int) -> pymysql.err.Error:
    return pymysql.err.OperationalError(code, SECRET)


def plain(error: BaseException) -> BaseException:
    return error


def by_sqlalchemy(error: BaseException) -> BaseException:
    return sqlalchemy.exc.OperationalError(SECRET, {}, error)


def by_oslo_db(error: BaseException) -> BaseException:
    return db_exception.DBConnectionError(error)


def by_cause(error: BaseException) -> BaseException:
    outer = RuntimeError("something failed")
    outer.__cause__ = error
    return outer


wrappers = st.lists(st.sampled_from([plain, by_sqlalchemy, by_oslo_db, by_cause]), max_size=4)


@given(st.sampled_from(sorted(unavailable.CODES)), wrappers)
def test_every_known_code_is_found_however_it_is_wrapped(code: int, layers: list[Any]) -> None:
    error: BaseException = driver(code)
    for layer in layers:
        error = layer(error)
    assert classify(error) is unavailable.CODES[code]


@given(st.integers(1, 5000).filter(lambda code: code not in unavailable.CODES))
def test_other_codes_are_not_the_database_being_away(code: int) -> None:
    assert classify(by_sqlalchemy(driver(code))) is None


@given(st.sampled_from(sorted(unavailable.CODES)))
def test_a_number_in_an_error_of_another_kind_means_nothing(code: int) -> None:
    assert classify(ValueError(code, "no database here")) is None


def test_errors_without_a_code_are_known_by_their_kind() -> None:
    assert classify(db_exception.DBConnectionError("gone")) is Cause.UNREACHABLE
    assert classify(db_exception.DBDeadlock("locked")) is Cause.BUSY
    assert classify(sqlalchemy.exc.TimeoutError("pool")) is Cause.BUSY
    assert classify(db_exception.DBDuplicateEntry()) is None
    assert classify(None) is None


def test_a_loop_of_causes_ends() -> None:
    one, other = RuntimeError("one"), RuntimeError("other")
    one.__cause__, other.__cause__ = other, one
    assert classify(one) is None


def call(application: Any, method: str = "POST") -> tuple[str, dict[str, str], bytes]:
    seen: list[Any] = []
    middleware = unavailable.Middleware(application, before=lambda: None)
    environ = {"REQUEST_METHOD": method, "PATH_INFO": "/v3/projects", "QUERY_STRING": "secret"}
    body = b"".join(middleware(environ, lambda *answer: seen.extend(answer)))
    return seen[0], dict(seen[1]), body


def raising(error: BaseException) -> Any:
    def application(_environ: Any, _start: Any) -> Any:
        raise error

    return application


def answering(status: str, *, error: BaseException | None = None, wrote: bool = False) -> Any:
    def application(_environ: Any, start: Any) -> Any:
        request = scope.current()
        assert request is not None
        request.error, request.side, request.wrote = error, scope.Side.WRITER, wrote
        start(status, [("Content-Length", "3"), ("x-openstack-request-id", "req-1")])
        return [b"one"]

    return application


@pytest.mark.parametrize("code", sorted(unavailable.CODES))
def test_a_database_error_that_nobody_catches_is_a_503_without_details(code: int) -> None:
    status, headers, body = call(raising(by_oslo_db(driver(code))))
    assert status == "503 Service Unavailable"
    assert headers["Content-Type"] == "application/json"
    assert headers["Content-Length"] == str(len(body))
    assert int(headers["Retry-After"]) > 0
    error = json.loads(body)["error"]
    assert (error["code"], error["title"]) == (503, "Service Unavailable")
    assert "Nothing was changed" in error["message"]
    for word in ("hunter2", "SELECT", "10.99", str(code)):
        assert word not in error["message"]


def test_a_500_that_a_database_error_caused_becomes_a_503_and_keeps_its_request_id() -> None:
    status, headers, body = call(answering("500 Internal Server Error", error=driver(2003)))
    assert status.startswith("503")
    assert headers["x-openstack-request-id"] == "req-1"
    assert json.loads(body)["error"]["code"] == 503


@pytest.mark.parametrize("status", ["200 OK", "401 Unauthorized", "409 Conflict"])
def test_an_answer_that_keystone_gave_in_spite_of_an_error_stays(status: str) -> None:
    assert call(answering(status, error=driver(2003)))[0] == status


def test_a_500_without_a_database_error_stays() -> None:
    status, _, body = call(answering("500 Internal Server Error"))
    assert (status, body) == ("500 Internal Server Error", b"one")


def test_any_other_exception_is_a_500_in_keystones_shape_and_never_an_empty_answer() -> None:
    status, _, body = call(raising(RuntimeError(SECRET)))
    assert status.startswith("500")
    assert json.loads(body)["error"]["code"] == 500
    assert b"hunter2" not in body


def test_a_request_that_had_committed_is_not_told_that_nothing_was_changed() -> None:
    _, _, body = call(answering("500 x", error=driver(2013), wrote=True))
    message = json.loads(body)["error"]["message"]
    assert "Nothing was changed" not in message
    assert "may have been carried out" in message


def test_the_answer_to_head_has_no_body() -> None:
    status, headers, body = call(raising(driver(2003)), method="HEAD")
    assert status.startswith("503")
    assert int(headers["Content-Length"]) > 0
    assert body == b""


def test_one_line_is_logged_without_the_query(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        call(raising(driver(2003)))
    assert len(caplog.records) == 1
    message = caplog.records[0].getMessage()
    assert "POST /v3/projects" in message
    assert "secret" not in message
