"""What Neutron and its agents of the lab read, and what the message bus keeps of a password."""

import base64
import configparser
import hashlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.lab import environment
from isthmus.lab.components import neutron_config, rabbitmq
from isthmus.lab.environment import Role, SiteSpec

TRIAL = environment.load("network")[1]
PARIS, LYON = TRIAL.site("paris"), TRIAL.site("lyon")


def parsed(text: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(text)
    return parser


def server(*, remote_ports: bool = True, external: bool = True) -> configparser.ConfigParser:
    text = neutron_config.server(
        site=PARIS,
        peers=[LYON],
        database="mysql+pymysql://neutron:x@10.99.1.21/neutron",
        transport="rabbit://isthmus:x@10.99.1.6:5672/neutron",
        password="x",
        memcached="10.99.1.4:11211",
        directory="/lab/neutron",
        paste="/lab/api-paste.ini",
        log_file="/lab/neutron.log",
        external=external,
        remote_ports=remote_ports,
    )
    return parsed(text)


def test_remote_ports_are_bound_before_the_switch_is_asked_and_only_to_peers() -> None:
    found = server()
    assert found["ml2"]["mechanism_drivers"] == "remote_port,openvswitch,l2population"
    assert found["ml2"]["extension_drivers"] == "port_security,remote_port"
    assert found["remote_port"]["allowed_vteps"] == "10.99.2.0/24"


def test_without_our_drivers_neutron_is_stock() -> None:
    found = server(remote_ports=False, external=False)
    assert "remote_port" not in found
    assert "ml2_type_flat" not in found
    assert found["ml2"]["mechanism_drivers"] == "openvswitch,l2population"


def test_notifications_are_sent_for_the_engine() -> None:
    section = server()["oslo_messaging_notifications"]
    assert (section["driver"], section["topics"]) == ("messagingv2", "notifications")


def test_every_privileged_helper_of_an_agent_is_ours_and_not_sudo() -> None:
    text = neutron_config.agent(
        host=PARIS.host("compute1"),
        transport="rabbit://",
        directory="/lab/l2",
        path="/lab/l2/agent.ini",
        ovsdb="unix:/lab/ovs/db.sock",
        privsep_helper="/venv/bin/privsep-helper",
        log_file="/lab/l2.log",
        external_bridge="br-ex",
    )
    found = parsed(text)
    assert found["ovs"]["local_ip"] == "10.99.1.31"
    assert found["ovs"]["bridge_mappings"] == "external:br-ex"
    for section in neutron_config.PRIVSEP:
        helper = found[section]["helper_command"]
        assert helper == "/venv/bin/privsep-helper --config-file /lab/l2/agent.ini"


def site(number: int) -> SiteSpec:
    return SiteSpec(
        name=f"s{number}",
        number=number,
        role=Role.WRITER,
        components=(),
        wan=TRIAL.wan,
        management_net=TRIAL.management,
    )


@given(st.sets(st.integers(1, environment.MOST_SITES), min_size=2, max_size=6))
def test_sites_never_share_network_ids_with_each_other_or_with_stretched_networks(
    numbers: set[int],
) -> None:
    ranges = [neutron_config.vnis(site(number)) for number in numbers]
    ranges.append(neutron_config.STRETCHED_VNIS)
    ordered = sorted(ranges)
    assert all(one[1] < other[0] for one, other in itertools.pairwise(ordered))
    assert len({neutron_config.base_mac(site(number)) for number in numbers}) == len(numbers)


def test_the_contract_ranges_of_the_first_sites() -> None:
    assert [neutron_config.vnis(s) for s in (PARIS, LYON)] == [(1000, 1999), (2000, 2999)]
    assert neutron_config.base_mac(PARIS) == "fa:16:3e:01:00:00"


@pytest.mark.parametrize("salt", [b"\0\0\0\0", b"\x90\x8d\xc6\x0a"])
def test_a_password_is_kept_as_rabbitmq_keeps_it(salt: bytes) -> None:
    kept = base64.b64decode(rabbitmq.hashed("test12", salt))
    assert kept[:4] == salt
    assert kept[4:] == hashlib.sha256(salt + b"test12").digest()


def test_the_documented_example_of_a_kept_password() -> None:
    # The example of RabbitMQ's documentation on password hashing.
    assert rabbitmq.hashed("test12", bytes.fromhex("908DC60A")) == (
        "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR"
    )
