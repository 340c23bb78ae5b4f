"""One step from any state: what is planned can be carried out, and is then all there is to do."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Any

import hypothesis.strategies as st
from hypothesis import example, given, settings
from network_model import Refused, Site, declaration

from isthmus.network import reconciling, remote_ports, views
from isthmus.network.actions import DeletePort
from isthmus.network.remote_ports import Wanted, difference
from isthmus.network.views import Origin

BACKUP = declaration()
MACS = st.integers(1, 5).map("fa:16:3e:00:00:{:02x}".format)
IPS = st.sampled_from([(), *((f"10.50.0.{n}",) for n in range(1, 6)), ("10.50.0.1", "10.50.0.2")])
ORIGINS = [
    Origin(site=site, port_id=f"{site}-{n}") for site in ("lyon", "nice", "brest") for n in range(3)
]
PORTS = st.tuples(MACS, IPS)
HELD = st.lists(st.tuples(st.sampled_from(ORIGINS), MACS, IPS, st.booleans()), max_size=6)
WANTED = st.dictionaries(st.sampled_from(ORIGINS), PORTS, max_size=7)
KEEPING = st.sets(st.sampled_from(ORIGINS), max_size=5)
ONLY = st.none() | st.sets(st.sampled_from([each.port_id for each in ORIGINS]), min_size=3)


def world(locals_: list[Any], held: list[Any]) -> Site:
    site = Site("paris")
    empty = site.view(BACKUP)
    site.apply(BACKUP, reconciling.plan(BACKUP, empty, {}, frozenset(), 0.0).actions)
    network = site.network_of(BACKUP)
    for number, (mac, ips) in enumerate(locals_):
        with contextlib.suppress(Refused):
            site.boot(network, f"local-{number}", mac=mac, ips=ips)
    for number, (origin, mac, ips, right) in enumerate(held):
        with contextlib.suppress(Refused):
            site.boot(
                network, f"held-{number}", mac=mac, ips=ips, device_owner=views.REMOTE_OWNER,
                device_id=str(origin), remote_vtep="10.99.2.31" if right else "10.99.9.9",
                status="DOWN" if number % 3 else "ACTIVE",
            )  # fmt: skip
    return site


def wanted(origin: Origin, mac: str, ips: tuple[str, ...]) -> Wanted:
    return Wanted(
        origin=origin, name="", mac=mac, ips=ips, vtep="10.99.2.31",
        security_groups=frozenset(), address_pairs=frozenset(),
    )  # fmt: skip


@given(
    locals_=st.lists(PORTS, max_size=2), held=HELD, should=WANTED, keeping=KEEPING, only=ONLY
)  # fmt: skip
@example(
    locals_=[],
    held=[
        (ORIGINS[3], "fa:16:3e:00:00:02", (), False),
        (ORIGINS[3], "fa:16:3e:00:00:01", (), False),
    ],
    should={ORIGINS[0]: ("fa:16:3e:00:00:01", ())},
    keeping=set(),
    only={"lyon-0", "lyon-1", "lyon-2"},
)
@settings(max_examples=200)
def test_what_is_planned_is_never_refused_and_leaves_nothing_to_do(
    locals_: list[Any],
    held: list[Any],
    should: dict[Origin, Any],
    keeping: set[Origin],
    only: set[str] | None,
) -> None:
    site = world(locals_, held)
    targets = [wanted(origin, *values) for origin, values in should.items()]
    protected = keeping - should.keys()

    def reason(origin: Origin) -> str | None:
        return None if origin in protected else "it is gone"

    def step() -> remote_ports.Difference:
        view = site.view(BACKUP)
        narrowed = dataclasses.replace(view, only=frozenset(only) if only is not None else None)
        return difference(BACKUP, narrowed, targets, reason)

    before = dict(site.ports)
    first = step()
    site.apply(BACKUP, first.actions)
    second = step()
    assert not second.actions

    after = {key: port for key, port in site.ports.items() if port.ours}
    untouched = [
        key
        for key, port in before.items()
        if port.ours and only is not None and port.origin and port.origin.port_id not in only
    ]
    assert all(site.ports.get(key) == before[key] for key in untouched)
    doubles = [each for each in first.deletes if "second time" in each.why]
    assert not [d for d in first.deletes if d.origin in protected and d not in doubles]
    _is_as_wanted(site, targets, after, only)


def _is_as_wanted(
    site: Site, targets: list[Wanted], after: dict[str, Any], only: set[str] | None
) -> None:
    by_origin = {port.origin: port for port in after.values()}
    claimed = [{port.mac, *port.ips} for port in site.ports.values()]
    for each in targets:
        if only is not None and each.origin.port_id not in only:
            continue
        port = by_origin.get(each.origin)
        if port is None:
            assert any({each.mac, *each.ips} & others for others in claimed)
        else:
            assert (port.mac, port.ips, port.remote_vtep, port.status) == (
                each.mac, each.ips, each.vtep, "ACTIVE",
            )  # fmt: skip


@given(held=HELD, should=WANTED)
def test_who_has_an_address_keeps_it(held: list[Any], should: dict[Origin, Any]) -> None:
    """A newcomer never takes anything away from a remote port that is as it should be."""
    site = world([], held)
    targets = [wanted(origin, *values) for origin, values in should.items()]
    by_origin = {each.origin: each for each in targets}
    right = {
        port.origin
        for port in site.ports.values()
        if port.origin in by_origin and by_origin[port.origin].matches(port)
    }
    actions = difference(BACKUP, site.view(BACKUP), targets, lambda _: "it is gone").actions
    site.apply(BACKUP, actions)
    assert right <= {port.origin for port in site.ports.values()}


def test_a_second_remote_port_of_a_kept_site_may_go_but_never_the_first() -> None:
    lyon = ORIGINS[0]
    site = world([], [(lyon, "fa:16:3e:00:00:01", (), True), (lyon, "fa:16:3e:00:00:02", (), True)])
    found = difference(BACKUP, site.view(BACKUP), [], lambda _: None)
    assert [type(each) for each in found.actions] == [DeletePort]
