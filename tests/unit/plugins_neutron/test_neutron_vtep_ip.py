"""``vtep_ip``: where a port is, right in every reply, with few queries for many ports."""

from __future__ import annotations

import contextlib
import types
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy
from hypothesis import given
from hypothesis import strategies as st
from neutron.tests.common import helpers
from neutron_site import Site
from oslo_serialization import jsonutils

from isthmus.plugins.neutron import tunnels


def test_a_bound_port_of_this_site_tells_the_tunnel_address_of_its_host(site: Site) -> None:
    network = site.network()
    port = site.port(network, host="compute2")
    assert (port["vtep_ip"], port["remote_vtep"]) == ("10.99.1.32", None)
    assert site.shown(port)["vtep_ip"] == "10.99.1.32"
    [listed] = site.done("GET", "ports", query="fields=id&fields=vtep_ip")
    assert listed == {"id": port["id"], "vtep_ip": "10.99.1.32"}


def test_a_port_that_is_bound_to_no_host_is_nowhere(site: Site) -> None:
    network = site.network()
    assert site.port(network)["vtep_ip"] is None
    assert site.port(network, host="unknown")["binding:vif_type"] == "binding_failed"
    assert site.port(network, host="unknown")["vtep_ip"] is None


def test_every_reply_follows_the_port_from_host_to_host_and_off(site: Site) -> None:
    port = site.port(site.network(), host="compute1")
    for host, address in [("compute2", "10.99.1.32"), ("", None), ("compute1", "10.99.1.31")]:
        changed = site.change(port, **{"binding:host_id": host}).body["port"]
        assert changed["vtep_ip"] == address
        assert site.shown(port)["vtep_ip"] == address


def test_a_host_with_a_new_tunnel_address_is_seen_at_once(site: Site) -> None:
    port = site.port(site.network(), host="compute1")
    helpers.register_ovs_agent(host="compute1", tunneling_ip="10.99.1.99", tunnel_types=["vxlan"])
    assert site.shown(port)["vtep_ip"] == "10.99.1.99"


def test_an_agent_without_tunnels_on_the_same_host_does_not_hide_the_address(site: Site) -> None:
    port = site.port(site.network(), host="compute1")
    helpers.register_dhcp_agent(host="compute1")
    helpers.register_l3_agent(host="compute1")
    assert site.shown(port)["vtep_ip"] == "10.99.1.31"


def test_a_list_asks_for_tunnel_addresses_once(site: Site) -> None:
    network = site.network()
    wanted = [
        {"network_id": network, "binding:host_id": f"compute{1 + number % 2}"}
        for number in range(6)
    ]
    site.done("POST", "ports", {"ports": wanted})
    site.remote_port(network)
    with counted(site, "FROM agents") as few:
        ports = site.done("GET", "ports")
    assert {port["vtep_ip"] for port in ports} == {"10.99.1.31", "10.99.1.32", "10.99.2.31"}
    assert len(few) == 1
    with counted(site, "FROM isthmus_remote_ports") as none:
        site.done("GET", "ports")
    assert none == []


@contextlib.contextmanager
def counted(site: Site, words: str) -> Iterator[list[str]]:
    """The statements that contain these words."""
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if words in statement.replace("\n", ""):
            seen.append(statement)

    sqlalchemy.event.listen(site.engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        sqlalchemy.event.remove(site.engine, "before_cursor_execute", note)


@given(
    st.none()
    | st.text()
    | st.builds(jsonutils.dumps, st.dictionaries(st.text(), st.none() | st.text()))
)
def test_whatever_an_agent_reports_never_breaks_a_listing(configurations: str | None) -> None:
    found = tunnels.address(configurations)
    assert found is None or found


@pytest.mark.parametrize(
    ("status", "host", "vif_type", "bound"),
    [
        ("ACTIVE", "compute1", "ovs", "compute1"),
        ("INACTIVE", "compute1", "ovs", None),
        ("ACTIVE", "compute1", "unbound", None),
        ("ACTIVE", "compute1", "binding_failed", None),
        ("ACTIVE", "", "distributed", None),
    ],
)
def test_a_port_is_on_the_host_of_its_active_binding_only(
    status: str, host: str, vif_type: str, bound: str | None
) -> None:
    binding = types.SimpleNamespace(status=status, host=host, vif_type=vif_type)
    assert tunnels.bound_host([binding]) == bound
    assert tunnels.bound_host([]) is None
