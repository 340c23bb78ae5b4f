"""What the hosts of all sites should hold, from the Neutrons' own words, against what they do hold.

It stands apart from the engine: it reads every Neutron and asks every host agent itself.
"""

from __future__ import annotations

from typing import Any

from network_lab import NetworkLab

from isthmus.engine import calling
from isthmus.identity import config
from isthmus.lab import inside, waiting
from isthmus.lab.components import host_agent
from isthmus.network import forwarding
from isthmus.network.views import Port

# An audit every 15 s and up to a fifth more, 2 s between its two looks, and agents that wire a port in two seconds; the view
# of a port that has just become active may wait for one more audit. Busy cores add as much again.
TRUE_DEADLINE = 60.0


def untrue(lab: NetworkLab, *vnis: int) -> str | None:
    """What some host lacks or holds too much of these networks; None if every host holds the truth."""
    for site in (each for each in lab.environment.sites if each.hosts):
        ports = {vni: _ports(lab, site.name, vni) for vni in vnis}
        for host in site.hosts:
            held = forwarding.Fdb.from_document(_fdb(lab, site.name, host))
            should = forwarding.expected(held.vtep, ports)
            for each in forwarding.missing(should, held, vnis):
                return f"{site.name}/{host}: {each}"
    return None


def until_true(lab: NetworkLab, *vnis: int) -> None:
    """Wait until every host holds the truth about these networks."""
    waiting.until(
        lambda: untrue(lab, *vnis),
        deadline=TRUE_DEADLINE,
        what="forwarding is not as the Neutrons say",
        where="lab",
        interval=0.5,
    )


def _fdb(lab: NetworkLab, site: str, host: str) -> Any:
    """What a host agent says, asked as the engine asks it."""
    spec = lab.environment.site(site)
    address = next(each.address for each in spec.host_specs if each.name == host)
    secret = lab.units[f"{site}/engine"].context.template.secret(host_agent.SIGNING).encode()
    url = f"http://{address}:{config.HOST_AGENT_PORT}"
    agents = calling.host_agents({host: url}, secret, site)
    return inside.within(spec.namespace, lambda: agents.get(host, "/fdb"))


def _ports(lab: NetworkLab, site: str, vni: int) -> list[Port]:
    neutron = lab.neutron(site)
    found = neutron.get("/networks", **{"provider:segmentation_id": str(vni)})["networks"]
    if not found:
        return []
    listed = neutron.get("/ports", network_id=found[0]["id"])["ports"]
    return [
        Port(
            id=port["id"],
            network_id=port["network_id"],
            mac=port["mac_address"],
            ips=tuple(each["ip_address"] for each in port["fixed_ips"]),
            vtep_ip=port.get("vtep_ip"),
            remote_vtep=port.get("remote_vtep"),
            status=port["status"],
            device_owner=port["device_owner"],
            device_id=port["device_id"],
        )
        for port in listed
    ]
