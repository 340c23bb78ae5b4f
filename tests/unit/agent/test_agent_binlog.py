"""What the server sends is read as it is meant, and a log that does not tell everything is not followed."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from isthmus.agent import binlog, config, databases, generation_file
from isthmus.agent.coherence import Follower
from isthmus.identity import coherence
from isthmus.identity.coherence import Kind, Place


class Session:
    """Answers each statement that begins with a key."""

    address = config.Address(host="192.0.2.1", port=3306)

    def __init__(self, answers: dict[str, list[dict[str, Any]]]) -> None:
        self.answers = answers
        self.closed = False

    def rows(self, statement: str, *_: object) -> list[dict[str, Any]]:
        return next(a for k, a in self.answers.items() if statement.startswith(k))

    def change(self, *_: object) -> int:
        return 0

    def value(self, statement: str) -> Any:
        return next(iter(self.rows(statement)[0].values()))

    def close(self) -> None:
        self.closed = True


def stream() -> binlog.Stream:
    found = object.__new__(binlog.Stream)
    found._file = "binlog.000007"
    return found


def event(kind: int, body: bytes, *, offset: int = 500, flags: int = 0) -> bytes:
    return struct.pack("<IBIIIH", 0, kind, 1, 19 + len(body), offset, flags) + body


def test_a_table_map_names_its_schema() -> None:
    body = bytes(8) + b"\x08keystone\x00\x04user\x00\x02"
    found = stream()._event(event(Kind.TABLE_MAP, body))
    assert (found.schema, found.at, found.touches) == ("keystone", Place(7, 500), True)


def test_a_statement_is_found_behind_its_variables() -> None:
    head = struct.pack("<IIBHH", 0, 0, 4, 0, 3)
    found = stream()._event(
        event(Kind.QUERY, head + b"abc" + b"test\x00" + b"DROP TABLE keystone.t")
    )
    assert (found.statement, found.touches) == ("DROP TABLE keystone.t", True)


def test_the_next_file_is_known_from_then_on() -> None:
    source = stream()
    turn = event(Kind.ROTATE, struct.pack("<Q", 4) + b"binlog.000008", offset=0, flags=0x20)
    assert source._event(turn).at == Place(8, 4)
    assert source._event(event(Kind.XID, bytes(8))).at == Place(8, 500)


@pytest.mark.parametrize(("offset", "flags"), [(0, 0), (500, 0x20)])
def test_what_the_server_makes_up_has_no_place(offset: int, flags: int) -> None:
    made = event(Kind.FORMAT_DESCRIPTION, bytes(60), offset=offset, flags=flags)
    assert stream()._event(made).at is None


@pytest.mark.parametrize("content", [b"", b"\x00" * 10, event(Kind.QUERY, b"\x00")])
def test_a_broken_event_ends_the_stream(content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    class Packet:
        @staticmethod
        def get_all_data() -> bytes:
            return b"\x00" + content

    class Driver:
        @staticmethod
        def _read_packet() -> type[Packet]:
            return Packet

    source = stream()
    source.address = Session.address
    monkeypatch.setattr(source, "_connection", Driver, raising=False)
    with pytest.raises(databases.DatabaseError):
        source.next()


@pytest.mark.parametrize(
    ("log_bin", "applied", "why"), [(1, 1, None), (0, 1, "log_bin"), (1, 0, "log_slave_updates")]
)
def test_a_log_must_tell_everything(log_bin: int, applied: int, why: str | None) -> None:
    session: Any = Session({"SELECT": [{"log_bin": log_bin, "applied": applied}]})
    found = binlog.unfit(session)
    assert found is None if why is None else why in str(found)


def test_a_look_needs_what_only_mariadb_says() -> None:
    rows = [
        {"Variable_name": "Binlog_snapshot_file", "Value": "binlog.000012"},
        {"Variable_name": "Binlog_snapshot_position", "Value": "77"},
    ]
    session: Any = Session({"SHOW STATUS": rows})
    assert binlog.look(session).place == Place(12, 77)
    session.answers = {"SHOW STATUS": []}
    with pytest.raises(databases.DatabaseError, match="does not say"):
        binlog.look(session)


def test_a_database_that_cannot_be_followed_says_why_and_is_told_as_not_followed(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = config.Account(user="repl", password="hunter2")
    database = config.Database(
        name="one", kind=config.Kind.REPLICA, address=Session.address, node="paris", account=account
    )
    follower = Follower(database, account, generation_file.File(tmp_path / "generations"))
    session = Session({"SELECT": [{"log_bin": 1, "applied": 0}]})
    monkeypatch.setattr(databases, "Session", lambda *_: session)
    follower.tick()
    assert session.closed
    told = follower.told.document(0.0)
    assert told["followed"] is False
    assert "log_slave_updates" in told["error"]
    assert "hunter2" not in str(told)


def test_events_of_unknown_types_count() -> None:
    assert stream()._event(event(250, b"")).touches
    assert not coherence.touches(Kind.HEARTBEAT)
