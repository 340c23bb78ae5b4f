"""What Neutron's API refuses about remote ports: to whom, with which words, and nothing changed."""

from __future__ import annotations

from typing import Any

import pytest
from neutron_site import ADMIN, ALLOWED, MEMBER, OWNER, SERVICE, Site
from oslo_config import cfg

from isthmus.plugins.neutron import acceptance, options

READER = ("reader",)


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"remote_vtep": "10.1.1.1"}, "remote_vtep 10.1.1.1 lies outside the networks"),
        ({"remote_vtep": "fd00:99::31"}, "the tunnels of this site are IPv4"),
        ({"remote_vtep": "10.99.1.32"}, "the tunnel address of host compute2 of this site"),
        ({"remote_vtep": "somewhere"}, "'somewhere' is not a valid IP address"),
        (
            {"remote_vtep": None},
            "the device_owner 'isthmus:remote' is for ports with a remote_vtep",
        ),
        ({"device_owner": ""}, "a remote port has the device_owner 'isthmus:remote', not ''"),
        ({"device_owner": "compute:nova"}, "not 'compute:nova'"),
        ({"binding:host_id": "compute1"}, "cannot be remote and on host compute1 of this site"),
        ({"binding:vnic_type": "direct"}, "binding:vnic_type 'normal', not 'direct'"),
        ({"vtep_ip": "10.99.2.31"}, "Attribute 'vtep_ip' not allowed in POST"),
    ],
)
def test_a_remote_port_is_not_made(site: Site, attributes: dict[str, Any], words: str) -> None:
    network = site.network()
    body = site.remote_request(network, "10.99.2.31", **attributes)
    reply = site.ask("POST", "ports", body)
    assert reply.status in (400, 409)
    assert words in reply.words
    assert site.done("GET", "ports") == []
    assert site.rows() == {}


def test_a_bulk_is_refused_with_the_same_words(site: Site) -> None:
    network = site.network()
    wanted = site.remote_request(network, "10.99.2.31", **{"binding:host_id": "compute1"})["port"]
    reply = site.ask("POST", "ports", {"ports": [wanted]})
    assert reply.status == 400
    assert "cannot be remote and on host compute1 of this site" in reply.words


def test_a_network_that_is_no_vxlan_is_refused(site: Site) -> None:
    reply = site.ask("POST", "ports", site.remote_request(site.network("flat"), "10.99.2.31"))
    assert reply.status == 400
    assert "need a network of type vxlan; this network's type is flat" in reply.words


@pytest.mark.parametrize(
    ("attributes", "status", "words"),
    [
        ({"remote_vtep": None}, 409, "cannot become a port of this site; delete it instead"),
        ({"remote_vtep": "10.1.1.1"}, 400, "outside the networks that this server allows"),
        ({"binding:host_id": "compute1"}, 409, "cannot be plugged into host compute1"),
        ({"binding:host_id": ""}, 409, "cannot be plugged into host none"),
        ({"device_owner": "compute:nova"}, 409, "device_owner of a remote port stays"),
        ({"device_owner": ""}, 409, "device_owner of a remote port stays"),
        ({"mac_address": "fa:16:3e:00:00:99"}, 409, "delete the port and create it again"),
    ],
)
def test_a_remote_port_is_not_changed(
    site: Site, attributes: dict[str, Any], status: int, words: str
) -> None:
    port = site.remote_port(site.network())
    site.told()
    reply = site.change(port, **attributes)
    assert reply.status == status
    assert words in reply.words
    assert site.shown(port) == port
    assert site.told() == []


def test_a_port_on_a_host_of_this_site_does_not_become_remote(site: Site) -> None:
    port = site.port(site.network(), host="compute1")
    reply = site.change(port, remote_vtep="10.99.2.31", device_owner=OWNER)
    assert reply.status == 409
    assert "cannot be remote and on host compute1 of this site" in reply.words
    assert site.shown(port) == port


def test_a_tenant_cannot_make_a_port_that_passes_for_a_remote_one(site: Site) -> None:
    network = site.network()
    forged = site.remote_request(network, None, device_id="lyon/1", project_id="tenant")
    del forged["port"]["remote_vtep"]
    assert site.ask("POST", "ports", forged, roles=MEMBER, project="tenant").status == 400
    port = site.port(network)
    change = {"port": {"device_owner": OWNER}}
    reply = site.ask("PUT", f"ports/{port['id']}", change, roles=MEMBER, project="tenant")
    assert reply.status == 409


@pytest.mark.parametrize("roles", [MEMBER, READER, ("manager", *MEMBER)])
def test_only_administrators_and_services_may_set_a_vtep(site: Site, roles: tuple[str]) -> None:
    network = site.network()
    body = site.remote_request(network, "10.99.2.31", project_id="tenant")
    reply = site.ask("POST", "ports", body, roles=roles, project="tenant")
    assert reply.status == 403
    port = site.port(network)
    change = {"port": {"remote_vtep": "10.99.2.31", "device_owner": OWNER}}
    reply = site.ask("PUT", f"ports/{port['id']}", change, roles=roles, project="tenant")
    assert reply.status == 403
    assert site.rows() == {}


def test_a_service_may_make_move_and_delete_remote_ports(site: Site) -> None:
    network = site.network()
    body = site.remote_request(network, "10.99.2.31")
    port = site.done("POST", "ports", body, roles=SERVICE)
    assert port["vtep_ip"] == "10.99.2.31"
    change = {"port": {"remote_vtep": "10.99.2.32"}}
    moved = site.done("PUT", f"ports/{port['id']}", change, roles=SERVICE)
    assert moved["remote_vtep"] == "10.99.2.32"
    assert site.ask("DELETE", f"ports/{port['id']}", roles=SERVICE).status == 204


def test_tenants_see_the_port_but_no_tunnel_address(site: Site) -> None:
    network = site.network()
    remote, local = site.remote_port(network), site.port(network, host="compute1")
    for port in (remote, local):
        assert site.shown(port, roles=ADMIN)["vtep_ip"] is not None
        assert site.shown(port, roles=SERVICE)["vtep_ip"] is not None
        seen = site.shown(port, roles=MEMBER, project="tenant")
        assert seen.keys().isdisjoint({"vtep_ip", "remote_vtep", "binding:host_id"})
        assert seen["device_owner"] == port["device_owner"]


def test_a_tenant_cannot_change_a_remote_port_of_its_network(site: Site) -> None:
    port = site.remote_port(site.network(project="tenant"))
    change = {"port": {"security_groups": []}}
    reply = site.ask("PUT", f"ports/{port['id']}", change, roles=MEMBER, project="tenant")
    assert reply.status == 403


def test_without_an_allow_list_every_vtep_is_refused_and_the_words_say_why() -> None:
    limits = acceptance.Limits(allowed=(), overlay_version=4)
    reason = acceptance.refuse_vtep("10.99.2.31", limits)
    assert reason is not None
    assert "allows no remote_vtep at all" in reason
    assert "[remote_port] allowed_vteps" in reason


def test_the_default_allow_list_is_empty_and_a_wrong_entry_is_named() -> None:
    conf = cfg.ConfigOpts()
    conf([])
    assert options.networks(options.register(conf).allowed_vteps) == ()
    assert len(options.networks(ALLOWED)) == 2
    with pytest.raises(ValueError, match=r"allowed_vteps holds '10\.99\.0\.1/16'"):
        options.networks(["10.99.0.1/16"])
