"""What agents have been told adds up to the remote ports, whatever was asked in whatever order.

This is what keeps forwarding right as long as no message is lost: a model agent applies every
message as the Open vSwitch agent does, and its table must be the one that the ports ask for.
"""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from neutron_site import FLOOD, Site, Told, entry

VTEPS = ("10.99.2.31", "10.99.2.32")
Table = dict[str, set[tuple[str, str]]]

steps = st.one_of(
    st.tuples(st.just("create"), st.sampled_from(VTEPS)),
    st.tuples(st.just("create bulk"), st.sampled_from(VTEPS)),
    st.tuples(st.just("move"), st.sampled_from(VTEPS)),
    st.tuples(st.just("readdress"), st.integers(200, 250)),
    st.tuples(st.just("delete"), st.integers(0, 5)),
    st.tuples(st.just("refuse"), st.sampled_from(["10.1.1.1", None])),
)


def apply(table: Table, told: Told) -> None:
    """One message, as an agent applies it: a VTEP without entries has no tunnel."""
    for vtep, entries in told.entries.items():
        held = table.setdefault(vtep, set())
        if told.method == "add_fdb_entries":
            held.update(entries)
        elif told.method == "remove_fdb_entries":
            held.difference_update(entries)
        else:
            held.difference_update(entries.get("before", ()))
            held.update(entries.get("after", ()))
        if not held:
            del table[vtep]


def wanted(ports: list[dict[str, Any]]) -> Table:
    """The table that the remote ports of one network ask for."""
    table: Table = {}
    for port in ports:
        table.setdefault(port["remote_vtep"], {FLOOD}).add(entry(port))
    return table


class Network:
    """One network, and what an agent with a port on it holds."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.id = site.network()
        self.table: Table = {}

    def ports(self) -> list[dict[str, Any]]:
        return sorted(self.site.done("GET", "ports"), key=lambda port: str(port["id"]))

    def step(self, what: str, how: Any) -> None:
        ports = self.ports()
        if what == "create":
            self.site.remote_port(self.id, how)
        elif what == "create bulk":
            made = [self.site.remote_request(self.id, vtep)["port"] for vtep in (how, *VTEPS)]
            self.site.done("POST", "ports", {"ports": made})
        elif ports:
            self.change(ports[0], what, how, ports)
        for told in self.site.told():
            apply(self.table, told)

    def change(self, port: dict[str, Any], what: str, how: Any, ports: list[Any]) -> None:
        if what == "delete":
            self.site.done("DELETE", f"ports/{ports[how % len(ports)]['id']}")
        elif what == "readdress":
            address = f"{port['fixed_ips'][0]['ip_address'].rsplit('.', 1)[0]}.{how}"
            self.site.change(port, fixed_ips=[{"ip_address": address}])
        else:
            reply = self.site.change(port, remote_vtep=how)
            assert (reply.status == 200) == (what == "move")


@settings(
    max_examples=4,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(script=st.lists(steps, min_size=3, max_size=7))
def test_an_agent_that_heard_everything_holds_what_the_ports_ask_for(
    site: Site, script: list[tuple[str, Any]]
) -> None:
    site.start_anew()
    network = Network(site)
    for what, how in script:
        network.step(what, how)
        assert network.table == wanted(network.ports()), (what, how)
