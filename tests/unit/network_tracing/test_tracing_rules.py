"""Security groups as Neutron applies them."""

from __future__ import annotations

import dataclasses

import pytest
import tracing_facts as ground

from isthmus.network.tracing import asking, filtering
from isthmus.network.tracing.facts import Group, Packet, Rule


def ruling(rules: list[Rule], packet: Packet, *, ingress: bool = True) -> filtering.Ruling:
    facts = ground.healthy()
    end = dataclasses.replace(
        facts.b, groups=(Group(id="default-lyon", name="default", rules=tuple(rules)),)
    )
    return filtering.ruling(end, facts.a, packet, facts.sites["lyon"], ingress=ingress)


ICMP, WEB = Packet(), Packet(protocol="tcp", port=80)


@pytest.mark.parametrize(
    ("rule", "packet", "passes"),
    [
        (Rule(id="r", ingress=True), ICMP, True),
        (Rule(id="r", ingress=False), ICMP, False),
        (Rule(id="r", ingress=True, protocol="any"), WEB, True),
        (Rule(id="r", ingress=True, protocol="icmp"), ICMP, True),
        (Rule(id="r", ingress=True, protocol="1"), ICMP, True),
        (Rule(id="r", ingress=True, protocol="icmp", first=8), ICMP, True),
        (Rule(id="r", ingress=True, protocol="icmp", first=0), ICMP, False),
        (Rule(id="r", ingress=True, protocol="icmp"), WEB, False),
        (Rule(id="r", ingress=True, protocol="tcp"), WEB, True),
        (Rule(id="r", ingress=True, protocol="6", first=80, last=80), WEB, True),
        (Rule(id="r", ingress=True, protocol="tcp", first=81, last=90), WEB, False),
        (Rule(id="r", ingress=True, protocol="tcp", first=1, last=65535), WEB, True),
        (Rule(id="r", ingress=True, protocol="udp", first=80, last=80), WEB, False),
        (Rule(id="r", ingress=True, prefix="10.7.0.0/24"), ICMP, True),
        (Rule(id="r", ingress=True, prefix="0.0.0.0/0"), ICMP, True),
        (Rule(id="r", ingress=True, prefix="10.8.0.0/24"), ICMP, False),
        (Rule(id="r", ingress=True, remote_group="default-lyon"), ICMP, True),
        (Rule(id="r", ingress=True, remote_group="other"), ICMP, False),
        (Rule(id="r", ingress=True, address_group="partners"), ICMP, None),
    ],
)
def test_a_rule_alone_decides(rule: Rule, packet: Packet, passes: bool | None) -> None:
    assert ruling([rule], packet).passes is passes


def test_without_port_security_everything_passes() -> None:
    facts = ground.healthy()
    end = dataclasses.replace(facts.b, filtered=False, groups=())
    found = filtering.ruling(end, facts.a, ICMP, facts.sites["lyon"], ingress=True)
    assert found.passes is True


def test_the_group_that_the_remote_port_lacks_is_named() -> None:
    facts = ground.with_remote(ground.healthy(), "lyon", security_groups=frozenset())
    found = filtering.ruling(facts.b, facts.a, ICMP, facts.sites["lyon"], ingress=True)
    assert (found.passes, found.missing_members) == (False, ("default",))


def test_a_rule_says_in_words_what_it_lets_through() -> None:
    rule = Rule(id="r", ingress=True, protocol="tcp", first=80, last=90, prefix="10.7.0.0/24")
    assert ruling([rule], WEB).reason == "default: TCP 80-90, 10.7.0.0/24"


def test_rules_for_another_version_of_ip_are_left_out() -> None:
    document = {
        "id": "g",
        "name": "web",
        "security_group_rules": [
            {"id": "4", "ethertype": "IPv4", "direction": "ingress", "protocol": "tcp",
             "port_range_min": 80, "port_range_max": 80, "remote_group_id": None,
             "remote_ip_prefix": None, "remote_address_group_id": None},
            {"id": "6", "ethertype": "IPv6", "direction": "ingress", "protocol": None},
        ],
    }  # fmt: skip
    rules = asking.group(document).rules
    assert rules == (Rule(id="4", ingress=True, protocol="tcp", first=80, last=80),)
