"""The order of starting, and what a wrong environment says about its components."""

import pathlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.lab import environment, errors, home, templates, units
from isthmus.lab.components import registry

TRIAL = environment.load("identity")[1]
NETWORKED = environment.load("network")[1]


def every(trial: environment.Environment = TRIAL) -> dict[str, units.Unit]:
    place = home.Home(root=pathlib.Path("/nowhere"))
    template = templates.Template(path=pathlib.Path("/nowhere/template"), gtid="100-100-1")
    return units.of(place, trial, template)


def test_every_component_of_every_site_is_a_unit_and_the_login_url_too() -> None:
    names = list(every())
    assert "madrid/replica-lyon" in names
    assert "outside/login" in names
    assert len(names) == sum(len(site.components) for site in TRIAL.sites) + 1


def test_a_replica_waits_for_its_master_and_an_agent_for_its_databases() -> None:
    found = every()
    assert list(found["madrid/replica-lyon"].needs) == ["lyon/identity-db"]
    assert set(found["madrid/agent"].needs) == {"madrid/replica-paris", "madrid/replica-lyon"}
    assert list(found["lyon/identity-db"].needs) == ["paris/identity-db"]


def test_a_missing_need_is_named() -> None:
    with pytest.raises(
        errors.BadEnvironment, match="madrid/agent needs madrid/replica-paris, which is not listed"
    ):
        units.check(TRIAL, {"madrid/agent": ["madrid/replica-paris"]})


def test_a_circle_is_named() -> None:
    with pytest.raises(errors.BadEnvironment, match="need each other: a, b"):
        units.check(TRIAL, {"a": ["b"], "b": ["a"], "c": []})


def test_an_unknown_target_lists_what_there_is() -> None:
    with pytest.raises(errors.BadRequest, match="paris/keystone"):
        units.select(every(), "paris/nova")


def test_a_site_selects_its_units_and_no_other_sites() -> None:
    assert {unit.name.partition("/")[0] for unit in units.select(every(), "paris")} == {"paris"}


def test_a_host_is_its_units_and_no_other_hosts() -> None:
    found = every(NETWORKED)
    names = {unit.name for unit in units.select(found, "lyon/compute1")}
    assert names >= {"lyon/compute1-ovs", "lyon/compute1-l2"}
    assert all(name.startswith("lyon/compute1-") for name in names)
    assert "lyon/compute1-ovs" in found["lyon/compute1-l2"].needs


def test_a_host_part_is_known_only_where_the_host_is() -> None:
    with pytest.raises(errors.BadEnvironment, match="unknown component 'compute1-ovs'"):
        registry.find(NETWORKED, NETWORKED.site("madrid"), "compute1-ovs")


def test_the_slowest_chain_ends_with_the_last_and_follows_what_it_waited_for() -> None:
    needs = {"bus": [], "database": [], "server": ["bus", "database"], "agent": ["server"]}
    finished = {"bus": 30.0, "database": 3.0, "server": 45.0, "agent": 50.0}
    assert units.slowest_chain(needs, finished) == [("bus", 30.0), ("server", 15.0), ("agent", 5.0)]
    assert units.slowest_chain({}, {}) == []


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, list[str]]:
    """Needs without circles: each unit needs only units listed before it."""
    count = draw(st.integers(1, 12))
    names = [f"u{i}" for i in range(count)]
    return {
        name: draw(st.lists(st.sampled_from(names[:i]), unique=True)) if i else []
        for i, name in enumerate(names)
    }


@given(graphs(), st.randoms())
def test_nothing_starts_before_its_needs_and_everything_starts_once(
    needs: dict[str, list[str]], random: object
) -> None:
    ready: set[str] = set()
    begun: list[str] = []
    order: list[str] = []
    while len(ready) < len(needs):
        for name in units.startable(needs, ready, begun):
            assert set(needs[name]) <= ready
            begun.append(name)
            order.append(name)
        done = begun.pop(random.randrange(len(begun)))  # type: ignore[attr-defined]
        ready.add(done)
    assert sorted(order) == sorted(needs)
