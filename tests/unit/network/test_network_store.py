"""The store goes on with what it knows when no database answers."""

from __future__ import annotations

import datetime
import time
from pathlib import Path

import pytest

from isthmus import errors
from isthmus.network import databases, remembering
from isthmus.network.declarations import StretchedNetwork
from isthmus.network.remembering import Documents, Kind
from isthmus.network.store import Store

NOWHERE = databases.Listener(host="127.0.0.1", port=1, user="engine", password="never-to-be-shown")


def network(name: str = "backup") -> StretchedNetwork:
    return StretchedNetwork(
        id=f"id of {name}",
        name=name,
        project_id="vnf",
        cidr="10.20.0.0/24",
        vni=4000,
        sites=("paris",),
        pools={"paris": (("10.20.0.1", "10.20.0.63"),)},
    )


def store(directory: Path | None = None) -> Store:
    return Store(reader=NOWHERE, writer=NOWHERE, site="paris", state=directory)


def kept(directory: Path, *documents: dict[str, object]) -> None:
    networks = {str(each["id"]): dict(each) for each in documents}
    sites = {"lyon": {"site": "lyon", "lost": True, "revision": 1}}
    remembering.write(
        directory / "declarations.json",
        Documents({Kind.NETWORK: networks, Kind.SITE: sites}),
        read_at=time.time(),
    )


def test_an_engine_that_starts_while_its_database_is_down_still_knows_its_networks(
    tmp_path: Path,
) -> None:
    kept(tmp_path, network().to_document())
    found = store(tmp_path)
    assert found.networks() == (network(),)
    assert found.network("backup") == found.network("id of backup")
    assert found.lost_sites() == {"lyon"}


def test_a_database_that_cannot_be_read_leaves_everything_as_it_was(tmp_path: Path) -> None:
    kept(tmp_path, network().to_document())
    found = store(tmp_path)
    assert found.refresh() is False
    assert found.networks() == (network(),)
    assert "127.0.0.1:1" in str(found.freshness.error)


def test_a_declaration_that_cannot_be_read_hides_no_other(tmp_path: Path) -> None:
    broken = {**network("broken").to_document(), "sites": 7}
    kept(tmp_path, network().to_document(), broken)
    assert [each.name for each in store(tmp_path).networks()] == ["backup"]


def test_a_network_that_is_not_there_is_an_error_that_lists_those_that_are(
    tmp_path: Path,
) -> None:
    kept(tmp_path, network().to_document())
    with pytest.raises(errors.UsageError, match="backup"):
        store(tmp_path).network("front")


def test_without_a_writer_nothing_is_written_and_no_secret_is_told() -> None:
    found = store()
    changes = (
        lambda: found.put(network()),
        lambda: found.remove(network()),
        lambda: found.put_address({"id": "a", "name": "vip", "revision": 1}),
        lambda: found.declare_lost("lyon", by="admin"),
        lambda: found.add_event("site", "lyon", {}, at=datetime.datetime.now(datetime.UTC)),
        lambda: found.latest_networks(),
    )
    for change in changes:
        with pytest.raises(errors.UnavailableError) as caught:
            change()
        assert "never-to-be-shown" not in caught.value.describe()
    assert found.networks() == ()
    assert "never-to-be-shown" not in repr(NOWHERE)
