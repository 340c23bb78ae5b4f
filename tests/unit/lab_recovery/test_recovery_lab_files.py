"""What the components of a site with computing read, and the environments that have them."""

import configparser
import json
from pathlib import Path

import pytest

from isthmus.lab import environment as environments
from isthmus.lab import faults, tap_links, template_compute, units
from isthmus.lab.components import (
    ceph_config,
    libvirt_config,
    neutron_config,
    nova_config,
    room,
    swift_config,
)
from isthmus.lab.home import Home
from isthmus.lab.templates import Template

STOCK = "[composite:a]\nkeystone = cors authtoken keystonecontext legacy osapi\n[filter:keystonecontext]\n"


def read(text: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, strict=True)
    parser.read_string(text)
    return parser


@pytest.mark.parametrize("name", ["recovery", "full"])
def test_every_unit_of_the_environments_finds_what_it_needs(name: str, tmp_path: Path) -> None:
    _, environment = environments.load(name)
    every = units.of(Home(root=tmp_path), environment, Template(path=tmp_path, gtid=""))
    for site in ("paris", "lyon"):
        assert f"{site}/compute1-compute" in every
        assert f"{site}/ceph" in every
    assert "lyon/swift" in every
    assert "paris/swift" not in every
    assert "madrid/ceph" not in every


def test_a_site_without_nova_has_the_hosts_that_it_had() -> None:
    _, environment = environments.load("network")
    parts = {
        name for name in environment.site("paris").every_component if name.startswith("compute1-")
    }
    assert parts == {"compute1-ovs", "compute1-l2", "compute1-agent"}
    assert not template_compute.wanted(environment)


def test_the_catalog_names_what_the_site_has() -> None:
    _, environment = environments.load("recovery")
    paris, lyon = (template_compute.endpoints(environment.site(name)) for name in ("paris", "lyon"))
    assert set(lyon) - set(paris) == {"object-store"}
    assert paris["compute"] == (8774, "/v2.1")


def test_the_filter_of_the_api_stands_after_the_context_and_only_there() -> None:
    text = nova_config.pipeline(STOCK, quiesce=True)
    assert "keystonecontext isthmus_quiesce legacy" in text
    assert read(text)["filter:isthmus_quiesce"]["paste.filter_factory"].endswith("Quiesce.factory")
    assert nova_config.pipeline(STOCK, quiesce=False) == STOCK


def test_an_agent_answers_for_addresses_only_where_there_are_servers() -> None:
    _, environment = environments.load("recovery")
    host = environment.site("paris").host("compute1")
    told = {
        "host": host, "transport": "rabbit://", "directory": "/d", "path": "/d/agent.ini", "ovsdb": "unix:/s",
        "privsep_helper": "helper", "log_file": "/l", "external_bridge": None,
    }  # fmt: skip
    assert read(neutron_config.agent(**told, dhcp=True))["agent"]["extensions"] == "dhcp"  # type: ignore[arg-type]
    assert "extensions" not in read(neutron_config.agent(**told))["agent"]  # type: ignore[arg-type]


def test_a_ceph_keeps_all_that_it_writes_in_its_directory() -> None:
    parsed = read(ceph_config.server(folder=Path("/x"), fsid="f", address="198.18.0.1"))
    for section, name in (
        ("global", "keyring"),
        ("mon", "mon_data"),
        ("mgr", "mgr_data"),
        ("osd", "osd_data"),
    ):
        assert parsed[section][name].startswith("/x/")
    assert "198.18.0.1:3300" in parsed["global"]["mon_host"]


def test_two_clusters_have_two_names_for_their_keys() -> None:
    one, other = (
        libvirt_config.secret_uuid(f"{n}a1b2c3d-0000-4000-8000-000000000000") for n in (1, 2)
    )
    assert one != other
    assert one in libvirt_config.secret(one)


def test_the_proxy_checks_tokens_before_anything_is_served() -> None:
    parsed = read(
        swift_config.proxy(
            folder=Path("/x"), address="a", memcached="m", identity="i", public_identity="p", region="r", password="s"
        )
    )  # fmt: skip
    pipeline = parsed["pipeline:main"]["pipeline"].split()
    assert (
        pipeline.index("authtoken")
        < pipeline.index("keystoneauth")
        < pipeline.index("proxy-server")
    )


def test_a_room_shows_each_directory_in_its_place_and_then_runs_the_command() -> None:
    words = room.enter(
        ["virsh", "list"], mounts={Path("/a"): Path("/b"), Path("/c"): Path("/d")}, hostname="h"
    )
    assert words[-9:] == ["room", "h", "/a", "/b", "/c", "/d", "--", "virsh", "list"]


def table(*rows: list[object]) -> str:
    return json.dumps(
        {"headings": ["row", "action", "name", "admin_state", "external_ids"], "data": list(rows)}
    )


def test_only_plugged_interfaces_that_are_there_and_down_are_set_up() -> None:
    ids = ["map", [["iface-id", "p"]]]
    text = table(
        ["1", "new", "tap1", "down", ids],
        ["2", "new", "tap2", "up", ids],
        ["3", "initial", "tap3", "down", ["map", []]],
        ["4", "delete", "tap4", "down", ids],
        ["5", "old", "tap5", "down", ["set", []]],
        ["6", "insert", "br-int", "down", ids],
        ["7", "new", "tap7", ["set", []], ids],
    )
    assert tap_links.down(tap_links.rows(text)) == ["tap1"]


def test_a_lost_host_takes_its_guests_along_and_a_lost_libvirt_does_not(tmp_path: Path) -> None:
    _, environment = environments.load("recovery")
    every = units.of(Home(root=tmp_path), environment, Template(path=tmp_path, gtid=""))
    guests = "paris/compute1-guests"
    assert guests in faults.names_hit(units.select(every, "paris"))
    assert guests in faults.names_hit(units.select(every, "paris/compute1"))
    assert guests not in faults.names_hit(units.select(every, "paris/compute1-libvirt"))
    assert guests not in faults.names_hit(units.select(every, "lyon"))
