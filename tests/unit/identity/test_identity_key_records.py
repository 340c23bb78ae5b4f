"""The statements on boxes: how many there are, because each may wait for another site."""

from __future__ import annotations

from typing import Any

from isthmus.identity.keys import records
from isthmus.identity.keys.generations import Kind
from isthmus.identity.keys.records import Box


class Session:
    """Keeps what is run."""

    def __init__(self) -> None:
        self.changes: list[tuple[str, tuple[object, ...]]] = []

    def rows(self, statement: str, *arguments: object) -> list[dict[str, Any]]:
        raise AssertionError(statement)

    def change(self, statement: str, *arguments: object) -> int:
        assert statement.count("%s") == len(arguments)
        self.changes.append((statement, arguments))
        return 1


def test_boxes_of_many_nodes_are_written_and_removed_in_one_statement_each() -> None:
    session = Session()
    made = [Box(generation=7, node=f"n{n}", sealer="paris", box=f"b{n}") for n in range(3)]
    records.add_boxes(session, Kind.TOKEN, made)
    records.drop_boxes(session, Kind.TOKEN, [(5, "n0"), (6, "n1")])
    (written, rows), (removed, keys) = session.changes
    assert written.startswith("REPLACE INTO isthmus_identity.key_box")
    assert rows[5:10] == ("token", 7, "n1", "paris", "b1")
    assert removed.startswith("DELETE FROM isthmus_identity.key_box WHERE kind = %s AND")
    assert keys == ("token", 5, "n0", 6, "n1")


def test_nothing_to_write_or_to_remove_is_no_statement() -> None:
    session = Session()
    records.add_boxes(session, Kind.TOKEN, [])
    records.drop_boxes(session, Kind.TOKEN, [])
    assert session.changes == []
