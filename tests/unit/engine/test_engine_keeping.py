"""The thread that keeps one network: what it waits for, and what it does not wait for."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator

import pytest
from engine_world import World, declaration, wait_for

from isthmus.engine.keeping import Keeper
from isthmus.engine.rounds import End
from isthmus.network import actions
from isthmus.network.views import Origin


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    world.sites["lyon"]._do(
        actions.CreateNetwork(
            name="backup",
            project_id="vnf",
            vni=4000,
            mtu=1450,
            description="",
            tags=("isthmus", f"isthmus-network={declaration().id}"),
        )
    )
    yield world
    world.stop()


@pytest.fixture
def keeper(world: World) -> Iterator[Keeper]:
    world.sites["lyon"].boot("l-1", 101)
    keeper = world.keeper()
    wait_for(lambda: keeper.report.converged)
    yield keeper
    keeper.stop()


def test_a_round_makes_the_network_and_the_remote_ports(world: World, keeper: Keeper) -> None:
    assert world.sites["paris"].network is not None
    assert world.sites["paris"].origins == {"lyon/l-1"}
    assert keeper.report.end is End.EMPTY


def test_a_poke_brings_a_port_at_once_with_a_narrow_look(world: World, keeper: Keeper) -> None:
    whole = world.sites["lyon"].looks["whole"]
    world.sites["lyon"].boot("l-2", 102)
    keeper.poked("lyon", {Origin(site="lyon", port_id="l-2"): time.time() - 1.0})
    wait_for(lambda: world.sites["paris"].origins == {"lyon/l-1", "lyon/l-2"})
    assert world.sites["lyon"].looks["whole"] == whole
    wait_for(lambda: "lyon/l-2" in keeper.report.lags)
    assert 1.0 <= keeper.report.lags["lyon/l-2"].seconds < 6.0
    assert len(world.lags) == 1


def test_a_poke_takes_a_port_away_that_is_gone(world: World, keeper: Keeper) -> None:
    del world.sites["lyon"].ports["l-1"]
    keeper.poked("lyon", {Origin(site="lyon", port_id="l-1"): time.time()})
    wait_for(lambda: world.sites["paris"].origins == set())


def test_a_poke_overtakes_a_whole_look_that_takes_long(world: World, keeper: Keeper) -> None:
    lyon = world.sites["lyon"]
    lyon.hold = True
    keeper.want_round()
    wait_for(lambda: lyon.looks["whole"] >= 2)
    lyon.boot("l-2", 102)
    keeper.poked("lyon", {Origin(site="lyon", port_id="l-2"): time.time()})
    wait_for(lambda: "lyon/l-2" in world.sites["paris"].origins)
    # The whole look that comes in now is older than the port: it must not take it away again.
    lyon.released.set()
    wait_for(lambda: keeper.report.converged)
    assert "lyon/l-2" in world.sites["paris"].origins


def test_what_somebody_took_away_here_is_put_back(world: World, keeper: Keeper) -> None:
    paris = world.sites["paris"]
    paris.ports.clear()
    keeper.touched_here([Origin(site="lyon", port_id="l-1")])
    wait_for(lambda: paris.origins == {"lyon/l-1"})


def test_a_site_that_does_not_answer_holds_up_nothing_and_loses_nothing(
    world: World, keeper: Keeper
) -> None:
    lyon = world.sites["lyon"]
    lyon.silent = "connection refused"
    report = keeper.sync().wait(5.0)
    assert report is not None
    assert not report.converged
    assert report.views["lyon"].error == "connection refused"
    assert world.sites["paris"].origins == {"lyon/l-1"}
    lyon.silent = None
    report = keeper.sync().wait(5.0)
    assert report is not None
    assert report.converged


def test_a_site_that_hangs_is_waited_for_no_longer_than_the_timeout(
    world: World, keeper: Keeper
) -> None:
    world.sites["lyon"].hold = True
    began = time.monotonic()
    report = keeper.sync().wait(5.0)
    assert report is not None
    assert time.monotonic() - began < 3.0


def test_a_site_that_is_declared_lost_loses_its_ports_without_being_asked(
    world: World, keeper: Keeper
) -> None:
    lyon = world.sites["lyon"]
    lyon.silent = "no route to host"
    keeper.sync().wait(5.0)
    looks = lyon.looks["whole"]
    world.lost_sites = frozenset({"lyon"})
    keeper.want_round()
    wait_for(lambda: world.sites["paris"].origins == set())
    assert lyon.looks["whole"] == looks
    assert "lyon" not in keeper.views, "what it held may be long gone when it returns"
    lyon.silent, world.lost_sites = None, frozenset()
    keeper.want_round()
    wait_for(lambda: world.sites["paris"].origins == {"lyon/l-1"})


def test_what_cannot_be_done_is_tried_again_and_told(world: World, keeper: Keeper) -> None:
    paris = world.sites["paris"]
    paris.refuses = True
    world.sites["lyon"].boot("l-2", 102)
    keeper.want_round()
    wait_for(lambda: keeper.report.left)
    assert keeper.report.left == ("CreatePort: refused",)
    paris.refuses = False
    wait_for(lambda: keeper.report.converged, seconds=10.0)
    assert paris.origins == {"lyon/l-1", "lyon/l-2"}


def test_a_network_that_is_deleted_is_forgotten_when_every_site_is_rid_of_it(
    world: World, keeper: Keeper
) -> None:
    keeper.declare(dataclasses.replace(declaration(), deleting=True, revision=2))
    wait_for(lambda: world.sites["paris"].network is None)
    wait_for(lambda: keeper.report.end is End.WAITING)
    assert world.forgotten == []
    lyon = world.sites["lyon"]
    lyon.ports.clear()
    lyon.network = None
    wait_for(lambda: world.forgotten, seconds=10.0)


def test_a_hundred_ports_do_not_keep_one_that_was_poked_about_waiting(
    world: World, keeper: Keeper
) -> None:
    """Between portions of a long plan, pokes have their turn."""
    lyon, paris = world.sites["lyon"], world.sites["paris"]
    order: list[str] = []
    apply = paris.apply

    def slow(wanted: object, planned: list[actions.Action]) -> object:
        origins = [str(getattr(each, "origin", "")) for each in planned]
        if len(planned) > 1 and "lyon/new" not in lyon.ports:
            lyon.boot("new", 250)
            keeper.poked("lyon", {Origin(site="lyon", port_id="new"): time.time()})
            wait_for(lambda: lyon.looks["narrow"] > 0)
            time.sleep(0.05)
        order.extend(origins)
        return apply(wanted, planned)  # type: ignore[arg-type]

    paris.apply = slow  # type: ignore[assignment, method-assign]
    for number in range(2, 92):
        lyon.boot(f"l-{number}", number)
    keeper.want_round()
    wait_for(lambda: len(paris.origins) == 92)
    assert order.index("lyon/new") < 90
    assert len(order) == len(set(order)), "nothing was done twice"


def test_somebody_who_waits_is_told_of_a_round_that_began_later(
    world: World, keeper: Keeper
) -> None:
    lyon = world.sites["lyon"]
    lyon.boot("l-2", 102)
    report = keeper.sync().wait(5.0)
    assert report is not None
    assert report.converged
    assert world.sites["paris"].origins == {"lyon/l-1", "lyon/l-2"}


def test_two_keepers_of_one_site_do_no_harm_to_each_other(world: World, keeper: Keeper) -> None:
    other = world.keeper()
    world.sites["lyon"].boot("l-2", 102)
    for each in (keeper, other):
        each.poked("lyon", {Origin(site="lyon", port_id="l-2"): time.time()})
    wait_for(lambda: keeper.report.converged and other.report.converged)
    keeper.sync().wait(5.0)
    assert world.sites["paris"].origins == {"lyon/l-1", "lyon/l-2"}
    other.stop()


def test_the_other_party_of_a_clash_goes_on_as_soon_as_the_first_is_gone(
    world: World, keeper: Keeper
) -> None:
    paris, lyon = world.sites["paris"], world.sites["lyon"]
    mine, theirs = paris.boot("p-9", 109), lyon.boot("l-9", 109)
    assert mine.ips == theirs.ips
    keeper.want_round()
    wait_for(lambda: any(each.names("l-9") for each in keeper.report.findings))
    assert "lyon/l-9" not in paris.origins
    wait_for(lambda: keeper.report.end is End.EMPTY)
    del paris.ports["p-9"]
    keeper.changed_here(["p-9"])
    wait_for(lambda: "lyon/l-9" in paris.origins)
