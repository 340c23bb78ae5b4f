"""Declarations come, change and vanish; a keeper follows each, and a vanished one removes nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest
from engine_bench import MemoryStore, Writer
from engine_world import Site, World, declaration, wait_for

from isthmus import errors
from isthmus.engine.keepers import Catalog, Keepers
from isthmus.network.remembering import Kind


class Region(Site):
    """A site that the catalog may or may not know."""

    in_catalog = True
    catalog_down = False

    def offered(self) -> bool:
        if self.catalog_down:
            raise errors.UnavailableError("no token", cause="connection refused")
        return self.in_catalog

    def tagged(self) -> tuple[Any, ...]:
        return (self.network,) if self.network else ()


class Home:
    """What keepers need of an engine: a world, and declarations in a dictionary."""

    sites = ("lyon", "paris")

    def __init__(self) -> None:
        self.world = World()
        self.world.sites = {name: Region(name) for name in self.sites}
        self.writer = Writer()
        self.store = MemoryStore(self.writer)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.world, name)

    def region(self, name: str) -> Any:
        return self.world.sites[name]

    @property
    def lost_sites(self) -> frozenset[str]:
        return self.store.lost_sites()

    def write(self, **changes: Any) -> None:
        document = dataclasses.replace(declaration(), **changes).to_document()
        self.writer.tables[Kind.NETWORK][document["id"]] = document


@pytest.fixture
def home(tables: None) -> Iterator[Home]:
    home = Home()
    yield home
    home.world.stop()


@pytest.fixture
def keepers(home: Home) -> Iterator[Keepers]:
    keepers = Keepers(home, 60.0)  # type: ignore[arg-type]
    yield keepers
    keepers.close()


def test_a_declaration_gets_a_keeper_and_a_network(home: Home, keepers: Keepers) -> None:
    home.write()
    keepers.tick()
    wait_for(lambda: home.region("paris").network is not None)
    assert list(keepers.all) == [declaration().id]


def test_a_changed_declaration_is_worked_on(home: Home, keepers: Keepers) -> None:
    home.write()
    keepers.tick()
    home.write(revision=2, deleting=True)
    keepers.tick()
    keeper = keepers.all[declaration().id]
    wait_for(lambda: keeper.report.revision == 2)
    assert home.region("paris").network is None


def test_a_declaration_that_vanished_ends_its_keeper_and_removes_nothing(
    home: Home, keepers: Keepers
) -> None:
    home.write()
    keepers.tick()
    keeper = keepers.all[declaration().id]
    wait_for(lambda: keeper.report.converged or home.region("paris").network)
    home.writer.tables[Kind.NETWORK].clear()
    keepers.tick()
    keeper.join(5)
    assert not keeper.is_alive()
    assert home.region("paris").network is not None
    keepers._tagged_at = float("-inf")
    home.write(id="another", name="another", vni=4001)
    keepers.tick()
    assert [each.code for each in keepers.orphans] == ["orphan"]


def test_a_witness_keeps_nothing(home: Home, keepers: Keepers) -> None:
    home.region("paris").in_catalog = False
    home.write()
    keepers.tick()
    assert not keepers.all
    assert keepers.catalog.with_neutron == {"lyon"}


def test_a_catalog_that_cannot_be_read_changes_nothing(home: Home) -> None:
    catalog = Catalog(home.region, home.sites)
    for region in home.world.sites.values():
        region.catalog_down = True  # type: ignore[attr-defined]
    catalog.read()
    assert (catalog.with_neutron, bool(catalog.error)) == (frozenset(), True)
    for region in home.world.sites.values():
        region.catalog_down = False  # type: ignore[attr-defined]
    catalog.read()
    assert (catalog.with_neutron, catalog.error) == ({"lyon", "paris"}, None)


def test_a_site_that_is_declared_lost_makes_every_keeper_look(home: Home, keepers: Keepers) -> None:
    home.write()
    keepers.tick()
    keeper = keepers.all[declaration().id]
    wait_for(lambda: keeper.report.end is not None)
    before = home.region("paris").looks["whole"]
    home.store.declare_lost("lyon", by="admin")
    keepers.tick()
    wait_for(lambda: home.region("paris").looks["whole"] > before)


def test_declarations_are_read_again_and_again_after_somebody_changed_one(
    keepers: Keepers,
) -> None:
    keepers.tick()
    assert keepers._interval == 60.0
    keepers.hurry()
    keepers.tick()
    assert keepers._interval < 1.0
