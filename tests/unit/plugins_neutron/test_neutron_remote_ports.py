"""Remote ports through Neutron's API, and what l2population tells the agents about them."""

from __future__ import annotations

from neutron_site import FLOOD, OWNER, SERVICE, Site, Told, entry


def test_a_remote_port_is_active_in_the_very_reply_and_all_agents_are_told(site: Site) -> None:
    network = site.network()
    port = site.remote_port(network, "10.99.2.31", name="vm-b1")
    assert port["status"] == "ACTIVE"
    assert port["remote_vtep"] == port["vtep_ip"] == "10.99.2.31"
    assert port["binding:host_id"] == "remote-vtep-10.99.2.31"
    assert port["binding:vif_type"] == "remote_vtep"
    assert port["binding:profile"] == {}
    assert site.shown(port) == port
    assert site.told() == [
        Told(method="add_fdb_entries", entries={"10.99.2.31": [FLOOD, entry(port)]})
    ]


def test_a_port_of_this_site_learns_of_remote_ports_when_its_host_gets_its_first(
    site: Site,
) -> None:
    network = site.network()
    remote = site.remote_port(network)
    local = site.port(network, host="compute1")
    site.plugin.update_port_status(site.context, local["id"], "ACTIVE", "compute1")
    [cast] = [call.args for call in site.casts.call_args_list if call.args[3] == "compute1"]
    told = cast[2][network]["ports"]["10.99.2.31"]
    assert [tuple(item) for item in told] == [FLOOD, entry(remote)]


def test_a_machine_that_has_moved_is_one_update(site: Site) -> None:
    network = site.network()
    port = site.remote_port(network, "10.99.2.31")
    site.told()
    moved = site.done("PUT", f"ports/{port['id']}", {"port": {"remote_vtep": "10.99.2.32"}})
    assert (moved["remote_vtep"], moved["vtep_ip"]) == ("10.99.2.32", "10.99.2.32")
    assert moved["binding:host_id"] == "remote-vtep-10.99.2.32"
    assert moved["status"] == "ACTIVE"
    assert site.told() == [
        Told(method="remove_fdb_entries", entries={"10.99.2.31": [FLOOD, entry(port)]}),
        Told(method="add_fdb_entries", entries={"10.99.2.32": [FLOOD, entry(port)]}),
    ]


def test_naming_the_vtep_again_changes_nothing(site: Site) -> None:
    port = site.remote_port(site.network())
    site.told()
    again = {"remote_vtep": port["remote_vtep"], "binding:host_id": port["binding:host_id"]}
    assert site.change(port, **again, device_owner=OWNER).status == 200
    assert site.told() == []
    assert site.shown(port)["status"] == "ACTIVE"


def test_an_address_changes_in_place(site: Site) -> None:
    network = site.network()
    port = site.remote_port(network)
    old = port["fixed_ips"][0]
    new = old | {"ip_address": old["ip_address"].rsplit(".", 1)[0] + ".250"}
    site.told()
    changed = site.change(port, fixed_ips=[new]).body["port"]
    assert changed["status"] == "ACTIVE"
    change = {"before": [entry(port)], "after": [entry(changed)]}
    assert site.told() == [Told(method="chg_ip", entries={"10.99.2.31": change})]


def test_a_deleted_port_is_taken_back_and_the_last_takes_the_flood_entry_with_it(
    site: Site,
) -> None:
    network = site.network()
    first, second = site.remote_port(network), site.remote_port(network)
    site.told()
    site.done("DELETE", f"ports/{first['id']}")
    site.done("DELETE", f"ports/{second['id']}")
    assert site.told() == [
        Told(method="remove_fdb_entries", entries={"10.99.2.31": [entry(first)]}),
        Told(method="remove_fdb_entries", entries={"10.99.2.31": [FLOOD, entry(second)]}),
    ]


def test_a_deletion_is_granted_even_if_no_agent_can_be_told(site: Site) -> None:
    port = site.remote_port(site.network())
    site.fanouts.side_effect = RuntimeError("the broker is gone")
    assert site.ask("DELETE", f"ports/{port['id']}").status == 204
    assert site.ask("GET", f"ports/{port['id']}").status == 404


def test_a_bulk_makes_all_ports_with_one_row_per_vtep(site: Site) -> None:
    network = site.network()
    wanted = [
        site.remote_request(network, f"10.99.2.{31 + number % 2}", name=f"vm-{number}")["port"]
        for number in range(6)
    ]
    made = site.done("POST", "ports", {"ports": wanted})
    assert [port["name"] for port in made] == [port["name"] for port in wanted]
    assert [port["remote_vtep"] for port in made] == [port["remote_vtep"] for port in wanted]
    assert {port["status"] for port in made} == {"ACTIVE"}
    assert site.rows().keys() == {"remote-vtep-10.99.2.31", "remote-vtep-10.99.2.32"}
    told = [item for message in site.told() for told in message.entries.values() for item in told]
    assert {entry(port) for port in made} <= set(told)


def test_one_wrong_port_of_a_bulk_leaves_nothing_behind(site: Site) -> None:
    network = site.network()
    wanted = [site.remote_request(network, vtep)["port"] for vtep in ("10.99.2.31", "10.1.1.1")]
    assert site.ask("POST", "ports", {"ports": wanted}).status == 400
    assert site.ask("GET", "ports", query=f"network_id={network}").body == {"ports": []}
    assert site.rows() == {}
    assert site.told() == []


def test_groups_of_the_tenant_count_a_remote_port_of_the_service_project(site: Site) -> None:
    group = {"security_group": {"name": "replicas", "project_id": "tenant"}}
    made = site.done("POST", "security-groups", group)
    port = site.remote_port(site.network(), security_groups=[made["id"]])
    assert port["project_id"] == "cloud"
    assert port["security_groups"] == [made["id"]]
    assert site.remote_port(site.network())["security_groups"] == []


def test_a_service_that_is_no_administrator_cannot_use_groups_of_tenants(site: Site) -> None:
    network = site.network()
    group = {"security_group": {"name": "replicas", "project_id": "tenant"}}
    made = site.done("POST", "security-groups", group)
    wanted = site.remote_request(network, "10.99.2.31", security_groups=[made["id"]])
    assert site.ask("POST", "ports", wanted, roles=SERVICE).status == 404
    wanted = site.remote_request(network, "10.99.2.31")
    assert site.ask("POST", "ports", wanted, roles=SERVICE).status == 201


def test_a_prepared_port_becomes_remote_by_one_update(site: Site) -> None:
    port = site.port(site.network())
    changed = site.change(port, remote_vtep="10.99.2.31", device_owner=OWNER).body["port"]
    assert (changed["status"], changed["vtep_ip"]) == ("ACTIVE", "10.99.2.31")
    assert site.told()[-1].entries == {"10.99.2.31": [FLOOD, entry(changed)]}


def test_a_port_without_an_address_is_bound_and_only_floods(site: Site) -> None:
    port = site.remote_port(site.network(), fixed_ips=[])
    assert port["status"] == "ACTIVE"
    assert site.told() == [Told(method="add_fdb_entries", entries={"10.99.2.31": [FLOOD]})]
