"""Whom a Neutron notification concerns."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from isthmus.network.events import Poke, decide
from isthmus.network.views import REMOTE_OWNER

NETWORKS = {"net-1": "decl-1", "net-2": "decl-2"}


def port(port_id: str = "p1", network: str = "net-1", **values: Any) -> dict[str, Any]:
    return {"id": port_id, "network_id": network, "device_owner": "compute:nova", **values}


@pytest.mark.parametrize("event", ["port.create.end", "port.update.end", "port.delete.end"])
def test_a_port_of_a_stretched_network_pokes_its_peers(event: str) -> None:
    poke = decide(event, {"port": port(), "port_id": "p1"}, NETWORKS)
    assert poke == Poke(ports={"decl-1": frozenset({"p1"})})


def test_a_bulk_request_pokes_once_for_all() -> None:
    ports = [port("a"), port("b"), port("c", "net-2"), port("d", "elsewhere")]
    poke = decide("port.create.end", {"ports": ports}, NETWORKS)
    assert poke.ports == {"decl-1": {"a", "b"}, "decl-2": {"c"}}


def test_other_networks_concern_nobody() -> None:
    assert decide("port.create.end", {"port": port(network="other")}, NETWORKS).empty


def test_our_own_creations_are_no_news_but_others_may_change_them() -> None:
    ours = port(device_owner=REMOTE_OWNER, device_id="lyon/x")
    assert decide("port.create.end", {"port": ours}, NETWORKS).empty
    for event in ("port.update.end", "port.delete.end"):
        poke = decide(event, {"port": ours}, NETWORKS)
        assert poke == Poke(own_ports={"decl-1": frozenset({"lyon/x"})})


def test_a_deletion_that_only_names_an_id_makes_everybody_look() -> None:
    poke = decide("port.delete.end", {"port": {}, "port_id": "p1"}, NETWORKS)
    assert poke.whole == poke.own_whole == {"decl-1", "decl-2"}
    assert decide("port.update.end", {}, NETWORKS).empty


@pytest.mark.parametrize(
    ("event", "payload"),
    [
        ("network.update.end", {"network": {"id": "net-1"}}),
        ("network.delete.end", {"network": {}, "network_id": "net-1"}),
        ("subnet.update.end", {"subnet": {"network_id": "net-1"}}),
    ],
)
def test_the_network_itself_concerns_all_of_it(event: str, payload: dict[str, Any]) -> None:
    assert decide(event, payload, NETWORKS) == Poke(
        whole=frozenset({"decl-1"}), own_whole=frozenset({"decl-1"})
    )


def test_a_security_group_concerns_all_networks() -> None:
    poke = decide("security_group.create.end", {"security_group": {"id": "x"}}, NETWORKS)
    assert poke.own_whole == {"decl-1", "decl-2"}
    assert decide("security_group_rule.create.end", {}, NETWORKS).empty


@pytest.mark.parametrize(
    "event", ["port.create.start", "port", "", "port.create", "router.update.end"]
)
def test_beginnings_and_other_resources_concern_nobody(event: str) -> None:
    assert decide(event, {"port": port(), "router": {}}, NETWORKS).empty


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["port", "ports", "network", "subnet", "id", "network_id", "port_id"]), inner
    ),
    max_leaves=12,
)  # fmt: skip


@given(
    event=st.sampled_from(["port.create.end", "port.delete.end", "network.update.end", "subnet.delete.end"]),
    payload=JSON,
)  # fmt: skip
def test_whatever_comes_over_the_bus_raises_nothing(event: str, payload: Any) -> None:
    assert isinstance(decide(event, payload, NETWORKS), Poke)
