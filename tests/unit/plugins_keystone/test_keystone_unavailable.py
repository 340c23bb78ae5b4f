"""Database errors become a clear 503, and nothing else does."""

from __future__ import annotations

import io
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


class Dying:
    """An application whose database connection is lost in the first `times` requests."""

    def __init__(self, times: int, **scope: Any) -> None:
        self.times, self.scope = times, scope
        self.bodies: list[bytes] = []

    def __call__(self, environ: dict[str, Any], start: Any) -> Any:
        assert "left inside" not in environ, "each attempt has an environment of its own"
        environ["left inside"] = True
        request = scope.current()
        assert request is not None
        self.bodies.append(environ["wsgi.input"].read() if "wsgi.input" in environ else b"")
        if len(self.bodies) <= self.times:
            request.error, request.side = driver(2013), scope.Side.READER
            for name, value in self.scope.items():
                setattr(request, name, value)
            raise request.error
        start("200 OK", [])
        return [b"served"]


def write(application: Any, path: str = "/v3/auth/tokens", **environ: str) -> str:
    seen: list[Any] = []
    said = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": path,
        "CONTENT_LENGTH": "5",
        "wsgi.input": io.BytesIO(b"login and the next request"),
        **environ,
    }
    unavailable.Middleware(application, before=lambda: None)(said, lambda *a: seen.extend(a))
    return str(seen[0])


@pytest.mark.parametrize("times", [1, 2])
def test_a_read_whose_connection_is_lost_is_made_again_and_nobody_sees_it(times: int) -> None:
    dying = Dying(times)
    assert call(dying, method="GET")[0] == "200 OK"
    assert len(dying.bodies) == times + 1


def test_a_read_is_not_made_again_for_ever() -> None:
    dying = Dying(100)
    assert call(dying, method="GET")[0].startswith("503")
    assert len(dying.bodies) == 3


@pytest.mark.parametrize("path", ["/v3/auth/tokens", "/v3/projects"])
def test_a_login_or_write_that_had_only_read_is_made_again_with_its_whole_body(path: str) -> None:
    dying = Dying(1)
    assert write(dying, path) == "200 OK"
    assert dying.bodies == [b"login", b"login"]


def test_a_deletion_has_no_body_and_is_made_again() -> None:
    dying = Dying(1)
    assert write(dying, REQUEST_METHOD="DELETE", CONTENT_LENGTH="") == "200 OK"
    assert dying.bodies == [b"", b""]


@pytest.mark.parametrize("done", [{"wrote": True}, {"counted": True}, {"side": scope.Side.WRITER}])
def test_what_has_left_a_trace_is_not_made_again(done: dict[str, Any]) -> None:
    dying = Dying(1, **done)
    assert write(dying).startswith("503")
    assert len(dying.bodies) == 1


@pytest.mark.parametrize(
    "body",
    [
        {"CONTENT_LENGTH": "200000"},
        {"CONTENT_LENGTH": "-1"},
        {"CONTENT_LENGTH": "", "HTTP_TRANSFER_ENCODING": "chunked"},
    ],
)
def test_bodies_without_a_sane_length_are_not_made_again(body: dict[str, str]) -> None:
    dying = Dying(1)
    assert write(dying, **body).startswith("503")
    assert len(dying.bodies) == 1


def test_a_request_that_has_waited_long_is_not_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 6.0])
    monkeypatch.setattr(unavailable.time, "monotonic", lambda: next(clock))
    dying = Dying(1)
    assert call(dying, method="GET")[0].startswith("503")
    assert len(dying.bodies) == 1
