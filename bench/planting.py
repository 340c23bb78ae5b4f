"""Remote ports laid into Neutron's database past its API, and taken out again: ten thousand in seconds instead of hours.

What they cost to *make* is measured with those that Neutron makes; these are for what they cost to *keep*. Each is a copy of one
that Neutron made for the same VTEP, in every table that refers to ports, with its own ids, name, MAC and address. No agent is
told of them: to hosts they are entries whose casts were lost, which the engine finds and repairs.
"""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pymysql

from isthmus.errors import IsthmusError

Row = dict[str, Any]
# That of `isthmus.plugins.neutron.db.models`. To import it would load Neutron, and with it eventlet, which puts its own locks into
# this process: every thread that is started then waits for ever.
TABLE = "isthmus_remote_ports"
_BATCH = 1000
_SECONDS = 120.0


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A remote port as the engine would make it; `device_id` names its origin."""

    device_id: str
    name: str
    mac: str
    ip: str
    vtep: str


@dataclass(kw_only=True)
class Planter:
    """Lays ports into the database behind `socket`, and remembers which."""

    socket: Path
    planted: list[str] = field(default_factory=list)
    """Ids of their standard attributes: whatever refers to one goes with it."""
    addresses: list[tuple[str, str]] = field(default_factory=list)

    def plant(self, wanted: Sequence[Wanted]) -> int:
        """Those of `wanted` that are not there yet; how many. Raises `IsthmusError` without a model for a VTEP."""
        with self._cursor() as cursor:
            made = {
                str(row["device_id"]): (str(row["id"]), str(row["vtep"]))
                for row in _all(
                    cursor,
                    f"SELECT p.id, p.device_id, r.vtep FROM ports p JOIN {TABLE} r ON r.port_id = p.id",  # noqa: S608
                )
            }
            models = {vtep: port for port, vtep in made.values()}
            missing = [each for each in wanted if each.device_id not in made]
            without = sorted({each.vtep for each in missing} - set(models))
            if without:
                raise IsthmusError("no remote port to copy", where=", ".join(without))
            tables = [
                str(row["t"])
                for row in _all(
                    cursor,
                    "SELECT DISTINCT table_name AS t FROM information_schema.key_column_usage WHERE "
                    "table_schema = DATABASE() AND referenced_table_name = 'ports' AND column_name = 'port_id'",
                )
            ]
            copies = {vtep: _Model(cursor, port, tables) for vtep, port in models.items()}
            for at in range(0, len(missing), _BATCH):
                self._lay(cursor, missing[at : at + _BATCH], copies)
        return len(missing)

    def uproot(self) -> None:
        """Take out what was laid in."""
        with self._cursor() as cursor:
            for at in range(0, len(self.planted), _BATCH):
                ids = [(each,) for each in self.planted[at : at + _BATCH]]
                cursor.executemany("DELETE FROM standardattributes WHERE id = %s", ids)
            cursor.executemany(
                "DELETE FROM ipamallocations WHERE ip_address = %s AND ipam_subnet_id = %s",
                self.addresses,
            )
        self.planted, self.addresses = [], []

    def _lay(self, cursor: Any, wanted: Sequence[Wanted], copies: Mapping[str, "_Model"]) -> None:
        first = next(iter(copies.values()))
        inserted: dict[str, list[Row]] = {}
        for each in wanted:
            model = copies[each.vtep]
            cursor.execute(*_insert("standardattributes", {**model.attributes, "id": None}))
            attribute, port_id = str(cursor.lastrowid), str(uuid.uuid4())
            self.planted.append(attribute)
            own = {"id": port_id, "standard_attr_id": attribute, "name": each.name}
            port = {**model.port, **own, "mac_address": each.mac, "device_id": each.device_id}
            inserted.setdefault("ports", []).append(port)
            for table, rows in model.rows.items():
                for row in rows:
                    copy = {**row, "port_id": port_id}
                    if table == "ipallocations":
                        copy["ip_address"] = each.ip
                    inserted.setdefault(table, []).append(copy)
            inserted.setdefault("ipamallocations", []).append(
                {"ip_address": each.ip, "status": "ALLOCATED", "ipam_subnet_id": first.ipam_subnet}
            )
            self.addresses.append((each.ip, first.ipam_subnet))
        for table, rows in inserted.items():
            text, _ = _insert(table, rows[0])
            cursor.executemany(text, [tuple(row.values()) for row in rows])

    @contextmanager
    def _cursor(self) -> Iterator[Any]:
        """One transaction in Neutron's database."""
        connection = pymysql.connect(
            unix_socket=str(self.socket),
            user="root",
            database="neutron",
            read_timeout=_SECONDS,
            cursorclass=pymysql.cursors.DictCursor,
        )
        with connection, connection.cursor() as cursor:
            yield cursor
            connection.commit()


class _Model:
    """A port that Neutron made, in all tables."""

    def __init__(self, cursor: Any, port_id: str, tables: Sequence[str]) -> None:
        self.port = _all(cursor, "SELECT * FROM ports WHERE id = %s", port_id)[0]
        self.attributes = _all(
            cursor, "SELECT * FROM standardattributes WHERE id = %s", self.port["standard_attr_id"]
        )[0]
        found = {
            table: _all(cursor, f"SELECT * FROM {table} WHERE port_id = %s", port_id)  # noqa: S608
            for table in tables
        }
        self.rows = {table: rows for table, rows in found.items() if rows}
        subnet = self.rows["ipallocations"][0]["subnet_id"]
        self.ipam_subnet = str(
            _all(cursor, "SELECT id FROM ipamsubnets WHERE neutron_subnet_id = %s", subnet)[0]["id"]
        )


def _all(cursor: Any, text: str, *arguments: Any) -> list[Row]:
    cursor.execute(text, arguments or None)
    return list(cursor.fetchall())


def _insert(table: str, row: Row) -> tuple[str, tuple[Any, ...]]:
    """A statement, and the row's values for it; names of columns come from the database itself."""
    columns = ", ".join(f"`{name}`" for name in row)
    places = ", ".join(["%s"] * len(row))
    return f"INSERT INTO {table} ({columns}) VALUES ({places})", tuple(row.values())  # noqa: S608
