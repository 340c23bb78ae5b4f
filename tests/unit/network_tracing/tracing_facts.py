"""Facts of two guests that reach each other: the ground from which tests break one thing."""

from __future__ import annotations

import dataclasses
from typing import Any

from isthmus.network.tracing.facts import End, Facts, Group, Host, Plug, Rule, Site, Way
from isthmus.network.views import Network, Port

VNI = 4001
VTEPS = {"paris": "10.99.1.31", "lyon": "10.99.2.31"}
MACS = {"paris": "fa:16:3e:01:00:0a", "lyon": "fa:16:3e:02:00:0a"}
IPS = {"paris": "10.7.0.10", "lyon": "10.7.0.130"}
IDS = {
    "paris": "aaaaaaaa-0000-4000-8000-000000000001",
    "lyon": "bbbbbbbb-0000-4000-8000-000000000002",
}
NAMES = {"paris": "web", "lyon": "db"}
OTHER = {"paris": "lyon", "lyon": "paris"}


def group(site: str) -> Group:
    """What Neutron gives every project: out everywhere, in from members."""
    own = f"default-{site}"
    return Group(
        id=own,
        name="default",
        rules=(
            Rule(id="out", ingress=False),
            Rule(id="in", ingress=True, remote_group=own),
        ),
    )


def real(site: str) -> Port:
    return Port(
        id=IDS[site],
        network_id=f"net-{site}",
        mac=MACS[site],
        ips=(IPS[site],),
        vtep_ip=VTEPS[site],
        status="ACTIVE",
        name=NAMES[site],
        host="compute1",
        security_groups=frozenset({f"default-{site}"}),
    )


def remote(site: str, origin: str) -> Port:
    """The port that stands in `site` for the real one of `origin`."""
    return Port(
        id=f"remote-{origin}",
        network_id=f"net-{site}",
        mac=MACS[origin],
        ips=(IPS[origin],),
        vtep_ip=VTEPS[origin],
        remote_vtep=VTEPS[origin],
        status="ACTIVE",
        device_owner="isthmus:remote",
        device_id=f"{origin}/{IDS[origin]}",
        name=NAMES[origin],
        host=f"remote-vtep-{VTEPS[origin]}",
        security_groups=frozenset({f"default-{site}"}),
    )


def site(name: str) -> Site:
    return Site(
        name=name,
        network=Network(id=f"net-{name}", name="backbone", project_id="p", vni=VNI, mtu=1450),
        ports=(real(name), remote(name, OTHER[name])),
        groups={f"default-{name}": "default"},
    )


def host(name: str) -> Host:
    far = OTHER[name]
    return Host(
        site=name,
        name="compute1",
        vtep=VTEPS[name],
        unicast={MACS[far]: frozenset({VTEPS[far]})},
        flood=frozenset({VTEPS[far]}),
        arp={IPS[far]: MACS[far]},
        arrives_in=1,
        tunnels=frozenset({VTEPS[far]}),
        plugs={IDS[name]: Plug(interface="tap1", local_vlan=1, mtu=1450)},
        alive=True,
        connected=True,
    )


def healthy() -> Facts:
    """Two guests, two sites, nothing wrong."""
    good = Way(reached=True, largest=1500, milliseconds=0.6)
    return Facts(
        network="backbone",
        vni=VNI,
        mtu=1450,
        a=End(site="paris", port=real("paris"), groups=(group("paris"),)),
        b=End(site="lyon", port=real("lyon"), groups=(group("lyon"),)),
        sites={name: site(name) for name in VTEPS},
        hosts={(name, "compute1"): host(name) for name in VTEPS},
        ways={(VTEPS[name], VTEPS[far]): good for name, far in OTHER.items()},
    )


def with_host(facts: Facts, name: str, **changes: Any) -> Facts:
    key = (name, "compute1")
    changed = dataclasses.replace(facts.hosts[key], **changes)
    return dataclasses.replace(facts, hosts={**facts.hosts, key: changed})


def with_site(facts: Facts, name: str, **changes: Any) -> Facts:
    changed = dataclasses.replace(facts.sites[name], **changes)
    return dataclasses.replace(facts, sites={**facts.sites, name: changed})


def with_end(facts: Facts, which: str, **changes: Any) -> Facts:
    return dataclasses.replace(
        facts, **{which: dataclasses.replace(getattr(facts, which), **changes)}
    )


def with_port(facts: Facts, which: str, **changes: Any) -> Facts:
    return with_end(facts, which, port=dataclasses.replace(getattr(facts, which).port, **changes))


def with_remote(facts: Facts, name: str, **changes: Any) -> Facts:
    """Change the remote port that `name` has, or drop it with gone=True."""
    own, stands = facts.sites[name].ports
    ports = (own,) if changes.pop("gone", False) else (own, dataclasses.replace(stands, **changes))
    return with_site(facts, name, ports=ports)
