"""What OpenStack says of servers becomes definitions, and what cannot come back is refused."""

import datetime

import pytest

from isthmus.recovery import documents
from isthmus.recovery.metadata import reading, target, wire
from isthmus.recovery.metadata.definitions import (
    FixedAddress,
    FloatingAddress,
    PortDefinition,
)
from isthmus.recovery.plans.inventory import Inventory, Owner, Room

FLAVOR = {
    "id": "42",
    "name": "m1.vnf",
    "vcpus": 2,
    "ram": 512,
    "disk": 1,
    "OS-FLV-EXT-DATA:ephemeral": 0,
    "swap": "",
    "extra_specs": {"hw:cpu_policy": "dedicated"},
}

PORT = {
    "id": "p1",
    "name": "",
    "network_id": "n1",
    "mac_address": "fa:16:3e:00:00:01",
    "fixed_ips": [{"subnet_id": "s1", "ip_address": "10.0.0.5"}],
    "security_groups": ["g1"],
    "port_security_enabled": True,
    "allowed_address_pairs": [{"ip_address": "10.0.0.100"}],
    "binding:vnic_type": "normal",
    "extra_dhcp_opts": [{"opt_name": "mtu", "opt_value": "1450", "ip_version": 4}],
    "tags": ["b", "a"],
    "device_id": "server",
    "device_owner": "compute:nova",
}

FLOATING = {
    "port_id": "p1",
    "floating_ip_address": "203.0.113.5",
    "fixed_ip_address": "10.0.0.5",
    "floating_network_id": "ext",
    "description": "",
}

SUBNET = {
    "id": "s1",
    "name": "inside-4",
    "network_id": "n1",
    "cidr": "10.0.0.0/24",
    "gateway_ip": None,
    "enable_dhcp": False,
    "dns_nameservers": [],
    "host_routes": [{"destination": "10.9.0.0/24", "nexthop": "10.0.0.254"}],
    "allocation_pools": [{"start": "10.0.0.10", "end": "10.0.0.20"}],
    "ip_version": 4,
}

VOLUME = {
    "id": "v1",
    "name": "root",
    "size": 1,
    "volume_type": "rbd",
    "bootable": "true",
    "availability_zone": "nova",
    "multiattach": False,
    "encrypted": False,
    "metadata": {},
    "volume_image_metadata": {
        "image_id": "i1",
        "image_name": "guest",
        "hw_qemu_guest_agent": "yes",
    },
}


def test_a_port_keeps_its_mac_addresses_pairs_and_floating_addresses() -> None:
    assert wire.port(PORT, [FLOATING, {**FLOATING, "port_id": "other"}]) == PortDefinition(
        id="p1",
        name="",
        network_id="n1",
        mac="fa:16:3e:00:00:01",
        fixed=(FixedAddress(subnet_id="s1", address="10.0.0.5"),),
        security_groups=("g1",),
        allowed_pairs=(("10.0.0.100", "fa:16:3e:00:00:01"),),
        dhcp_options=(("mtu", "1450"),),
        tags=("a", "b"),
        floating=(FloatingAddress(address="203.0.113.5", fixed="10.0.0.5", network_id="ext"),),
    )


def test_the_root_volume_is_the_one_at_the_root_device_and_knows_its_image() -> None:
    attachment = {"volumeId": "v1", "device": "/dev/vda", "delete_on_termination": True}
    root = wire.volume(VOLUME, attachment, "/dev/vda")
    assert (root.boot_index, root.delete_on_termination) == (0, True)
    assert wire.volume(VOLUME, attachment, "/dev/vdb").boot_index is None
    image = wire.image([root])
    assert image is not None
    assert (image.id, image.name) == ("i1", "guest")
    assert image.properties == {"hw_qemu_guest_agent": "yes"}
    assert wire.image([]) is None


def test_devices_are_in_the_order_of_the_bus() -> None:
    names = ["/dev/vdaa", "/dev/vdb", "/dev/vda"]
    assert sorted(names, key=reading._device) == ["/dev/vda", "/dev/vdb", "/dev/vdaa"]


def test_the_flavor_of_a_server_is_that_of_its_making() -> None:
    known = [wire.flavor(FLAVOR)]
    made = {
        "original_name": "m1.vnf",
        "vcpus": 4,
        "ram": 512,
        "disk": 1,
        "ephemeral": 0,
        "swap": 0,
        "extra_specs": {},
    }
    found = wire.embedded_flavor(made, known)
    assert (found.id, found.vcpus) == ("42", 4)
    assert wire.embedded_flavor({**made, "original_name": "gone"}, known).id == "gone"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"encrypted": True}, "encrypted"),
        ({"multiattach": True}, "other servers"),
    ],
)
def test_servers_that_no_backup_brings_back_are_refused(
    change: dict[str, object], reason: str
) -> None:
    attachment = {"volumeId": "v1", "device": "/dev/vda"}
    good = wire.volume(VOLUME, attachment, "/dev/vda")
    reading._check({}, [good])
    with pytest.raises(reading.MetadataError, match=reason):
        reading._check({}, [wire.volume({**VOLUME, **change}, attachment, "/dev/vda")])
    with pytest.raises(reading.MetadataError, match="disk of the compute host"):
        reading._check({}, [])


def test_lists_of_a_target_become_an_inventory_that_survives_writing() -> None:
    rules = [
        {
            "direction": "ingress",
            "ethertype": "IPv4",
            "protocol": "tcp",
            "port_range_min": 22,
            "port_range_max": 22,
            "remote_ip_prefix": None,
            "remote_group_id": None,
            "description": "",
        }
    ]
    remote = {**PORT, "id": "p2", "mac_address": "m2", "device_id": "paris/origin"}
    remote["fixed_ips"] = [{"subnet_id": "s1", "ip_address": "10.0.0.6"}]
    router = [
        {**PORT, "id": "r1", "mac_address": "m3", "device_id": "r", "device_owner": owner,
         "network_id": network, "fixed_ips": [{"subnet_id": subnet, "ip_address": address}]}
        for owner, network, subnet, address in (
            ("network:ha_router_replicated_interface", "n1", "s1", "10.0.0.1"),
            ("network:router_gateway", "x1", "xs1", "198.51.100.2"),
        )
    ]  # fmt: skip
    found = {
        "flavors": [FLAVOR],
        "keypairs": [
            {"keypair": {"name": "ops", "public_key": "k", "fingerprint": "f", "type": "ssh"}}
        ],
        "server_groups": [{"id": "a", "name": "apart", "policy": "anti-affinity", "rules": {}}],
        "zones": [
            {"zoneName": "nova", "zoneState": {"available": True}},
            {"zoneName": "down", "zoneState": {"available": False}},
        ],
        "limits": {"maxTotalInstances": 10, "maxTotalCores": -1, "maxTotalRAMSize": 100},
        "types": [{"id": "t", "name": "rbd"}],
        "volume_limits": {
            "maxTotalVolumes": 10,
            "totalVolumesUsed": 3,
            "maxTotalVolumeGigabytes": 10,
            "totalGigabytesUsed": 10,
        },
        "networks": [
            {"id": "n1", "name": "inside", "mtu": 1450, "shared": False},
            {"id": "x1", "name": "outside", "mtu": 1500, "router:external": True},
        ],
        "subnets": [SUBNET],
        "groups": [{"id": "g1", "name": "vnf", "security_group_rules": rules}],
        "ports": [PORT, remote, *router],
        "floating": [
            {
                "id": "f1",
                "floating_ip_address": "198.51.100.7",
                "floating_network_id": "x1",
                "project_id": "p",
                "port_id": None,
            }
        ],
        "port_quota": {"limit": 50, "used": 2, "reserved": 1},
    }
    inventory = target.inventory(
        found,
        site="lyon",
        project_id="p",
        read_at=datetime.datetime(2026, 11, 23, tzinfo=datetime.UTC),
    )
    assert inventory.zones == ("nova",)
    assert inventory.quotas["ports"] == Room(limit=50, used=3)
    assert inventory.quotas["gigabytes"].left == 0
    assert inventory.quotas["cores"].left == float("inf")
    assert inventory.addresses["n1", "10.0.0.5"].origin is None
    assert inventory.addresses["n1", "10.0.0.6"] == Owner(
        port_id="p2", device_owner="compute:nova", origin="origin"
    )
    assert [each.name for each in inventory.external] == ["outside"]
    assert inventory.routes == {("s1", "x1")}
    assert [(each.address, each.port_id) for each in inventory.floating] == [("198.51.100.7", None)]
    assert inventory.networks[0].subnets[0].routes == (("10.9.0.0/24", "10.0.0.254"),)
    assert isinstance(inventory, Inventory)
    assert documents.written(inventory.read_at) == "2026-11-23T00:00:00.000000Z"
