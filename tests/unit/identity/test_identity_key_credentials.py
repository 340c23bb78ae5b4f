"""Credentials encrypted anew: real encryption over a table, and somebody who changes a row meanwhile."""

from __future__ import annotations

import base64
import os
import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography import fernet

from isthmus.identity.keys import credentials

KEYS = {number: base64.urlsafe_b64encode(os.urandom(32)) for number in (1, 2, 3)}


class Session:
    """The table in SQLite, with the statements as they are written for MariaDB."""

    def __init__(self) -> None:
        self.database = sqlite3.connect(":memory:", isolation_level=None)
        self.database.execute("ATTACH ':memory:' AS keystone")
        self.database.execute("CREATE TABLE keystone.credential (id, encrypted_blob, key_hash)")
        self.before_change: Any = None

    def rows(self, statement: str, *arguments: object) -> list[dict[str, Any]]:
        cursor = self.database.execute(statement.replace("%s", "?"), arguments)
        names = [each[0] for each in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor]

    def change(self, statement: str, *arguments: object) -> int:
        if statement.startswith("UPDATE") and self.before_change:
            change, self.before_change = self.before_change, None
            change()
        text = statement.replace("START TRANSACTION", "BEGIN").replace("%s", "?")
        return self.database.execute(text, arguments).rowcount

    def add(self, name: str, text: str, key: bytes) -> None:
        blob = fernet.Fernet(key).encrypt(text.encode()).decode()
        row = (name, blob, credentials.key_hash(key))
        self.database.execute("INSERT INTO keystone.credential VALUES (?, ?, ?)", row)

    def text(self, name: str, key: bytes) -> str:
        [row] = self.rows("SELECT encrypted_blob FROM keystone.credential WHERE id = %s", name)
        return fernet.Fernet(key).decrypt(row["encrypted_blob"].encode()).decode()


@pytest.fixture
def session() -> Iterator[Session]:
    found = Session()
    yield found
    found.database.close()


def test_everything_is_encrypted_with_the_newest_key_in_portions(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credentials, "PORTION", 2)
    for number in range(5):
        session.add(f"c{number}", f"text {number}", KEYS[1 + number % 2])
    session.add("null", "of old", credentials.NULL_KEY)
    changed, used = [], []
    for _ in range(4):
        done = credentials.encrypt_anew(session, KEYS, 3)
        changed.append(done.changed)
        used.append(done.used)
    assert changed == [2, 2, 2, 0]
    assert used[0] == (1, 2, 3)
    assert used[-1] == (3,)
    assert [session.text(f"c{n}", KEYS[3]) for n in range(5)] == [f"text {n}" for n in range(5)]
    assert session.text("null", KEYS[3]) == "of old"


def test_what_nobody_can_decrypt_stays_and_holds_nothing_up(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credentials, "PORTION", 1)
    stranger = base64.urlsafe_b64encode(os.urandom(32))
    for name in ("a", "b"):
        session.add(name, "lost", stranger)
    session.add("c", "kept", KEYS[1])
    assert credentials.encrypt_anew(session, KEYS, 2) == credentials.Done(
        changed=1, failed=2, used=(2,)
    )
    assert session.text("a", stranger) == "lost"


def test_a_row_that_somebody_changed_meanwhile_is_left_to_the_next_time(session: Session) -> None:
    session.add("c", "old", KEYS[1])
    blob = fernet.Fernet(KEYS[1]).encrypt(b"new").decode()
    session.before_change = lambda: session.database.execute(
        "UPDATE keystone.credential SET encrypted_blob = ?", (blob,)
    )
    done = credentials.encrypt_anew(session, KEYS, 2)
    assert (done.changed, done.used) == (0, (1,))
    assert credentials.encrypt_anew(session, KEYS, 2).changed == 1
    assert session.text("c", KEYS[2]) == "new"
