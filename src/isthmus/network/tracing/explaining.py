"""The words of each fault: what is wrong, why, and what to type.

Pure. Each function looks at one station and returns its fault, or None when it is well.
"""

from __future__ import annotations

from isthmus.network.tracing.facts import End, Facts, Host, Plug, Way
from isthmus.network.tracing.faults import Code, Fault
from isthmus.network.tracing.filtering import Ruling
from isthmus.network.views import Port
from isthmus.outcomes import Outcome

DEAD_VLAN = 4095
"""Neutron's agent gives this VLAN to ports that it does not serve."""


def port_fault(end: End, host: Host, facts: Facts) -> Fault | None:
    """What keeps a real port from sending and receiving at all."""
    port, site = end.port, end.site
    place = f"{site}/{port.host}" if port.host else site
    show = f"openstack --os-region-name {site} port"
    if not end.admin_up:
        return _error(
            Code.PORT_DISABLED,
            place,
            f"{end.label} is disabled",
            "its admin state is down",
            f"{show} set --enable {port.id}",
        )
    if not port.host or not port.vtep_ip:
        return _error(
            Code.PORT_UNBOUND,
            place,
            f"{end.label} is on no host",
            "nothing has been plugged as this port, or its host runs no agent with a tunnel address",
            f"{show} show {port.id} -c binding_host_id -c binding_vif_type -c vtep_ip",
        )
    if not port.ips:
        return _error(
            Code.NO_ADDRESS,
            place,
            f"{end.label} has no address",
            "no fixed address is set",
            f"{show} set --fixed-ip subnet={facts.network} {port.id}",
        )
    return _plug_fault(end, host, place)


def _plug_fault(end: End, host: Host, place: str) -> Fault | None:
    plug = host.plugs.get(end.port.id)
    if not host.error and plug is None:
        return _error(
            Code.PORT_NOT_PLUGGED,
            place,
            f"no interface on {place} is {end.label}",
            f"no interface of the integration bridge carries the port's id; Neutron says {end.port.status}",
            f"start the guest again, or bind the port to the host where the guest is: "
            f"openstack --os-region-name {end.site} port show {end.port.id}",
        )
    if end.port.status == "ACTIVE" and (plug is None or plug.local_vlan not in (None, DEAD_VLAN)):
        return None
    return _error(
        Code.PORT_DOWN,
        place,
        f"{end.label} is {end.port.status}",
        _why_down(host, plug),
        start_agent(host)
        if host.deaf
        else f"openstack --os-region-name {end.site} port show {end.port.id}",
    )


def _why_down(host: Host, plug: Plug | None) -> str:
    if host.deaf:
        return f"Neutron's agent on {host.place} does not work, so nobody wires the interface"
    if host.error:
        return f"the host's agent does not answer: {host.error}"
    if plug and not plug.link_up:
        return f"the link of {plug.interface} is down: the guest is off, or is just starting"
    return "Neutron's agent has not wired it (yet); its log says why"


def start_agent(host: Host) -> str:
    """What to do about a dead agent of Neutron."""
    return f"start neutron-openvswitch-agent on {host.place}"


def no_remote(end: End, site: str, facts: Facts) -> Fault:
    """Nothing stands in `site` for a real port of another site."""
    if error := facts.sites[end.site].error:
        cause = f"{end.site} cannot be asked: {error}"
    elif not end.port.vtep_ip:
        cause = f"{end.label} is on no host yet"
    else:
        cause = "the engine there has not made it, or somebody deleted it"
    return _error(
        Code.REMOTE_PORT_MISSING,
        site,
        f"{end.label} has no remote port in {site}",
        cause,
        f"isthmus network sync {facts.network}",
    )


def remote_fault(end: End, port: Port, site: str, facts: Facts) -> Fault | None:
    """What is wrong with the port that stands in `site` for a real one."""
    real, sync = end.port, f"isthmus network sync {facts.network}"
    pairs = [
        ("tunnel end", port.remote_vtep, real.vtep_ip),
        ("MAC address", port.mac, real.mac),
        ("addresses", ", ".join(port.ips), ", ".join(real.ips)),
    ]
    wrong = [f"{what} {has}, not {should}" for what, has, should in pairs if has != should]
    if wrong:
        return _error(
            Code.REMOTE_PORT_DIFFERS,
            site,
            f"the remote port for {end.label} in {site} is out of date",
            f"it has the {'; the '.join(wrong)}",
            sync,
        )
    if port.status != "ACTIVE":
        return _error(
            Code.REMOTE_PORT_DOWN,
            site,
            f"the remote port for {end.label} in {site} is {port.status}",
            "the mechanism driver remote_port did not bind it; see the log of that Neutron",
            sync,
        )
    return None


def entry_lost(host: Host, code: Code, summary: str, outcome: Outcome, network: str) -> Fault:
    """The host does not hold what its Neutron should have told it."""
    if host.deaf:
        why = "has lost the switch" if host.connected is False else "is dead"
        cause, remedy = f"Neutron's agent on {host.place} {why}", start_agent(host)
    else:
        cause = "the message to the host's agent was lost, or somebody changed the flow"
        remedy = f"isthmus network sync {network}"
    return Fault(
        code=code, outcome=outcome, place=host.place, summary=summary, cause=cause, remedy=remedy
    )


def blocked(end: End, other: End, ruling: Ruling, facts: Facts, *, ingress: bool) -> Fault:
    """Security groups drop the packet at `end`."""
    names = ", ".join(sorted(group.name for group in end.groups)) or "none"
    way = f"from {other.label}" if ingress else f"to {other.label}"
    if ruling.missing_members:
        group = ", ".join(ruling.missing_members)
        cause = (
            f"the rule is for members of {group}, and {other.ip} is no member in {end.site}: "
            f"its remote port there lacks the group"
        )
        remedy = f"isthmus network sync {facts.network}"
    else:
        cause = f"{ruling.reason} (groups: {names})"
        remedy = _rule_command(end, other, facts, ingress=ingress)
    return _error(
        Code.GROUP_BLOCKS,
        end.site,
        f"the security groups of {end.label} drop {facts.packet} {way}",
        cause,
        remedy,
    )


def _rule_command(end: End, other: End, facts: Facts, *, ingress: bool) -> str:
    if not end.groups:
        return (
            f"openstack --os-region-name {end.site} port set --security-group GROUP {end.port.id}"
        )
    way = "ingress" if ingress else "egress"
    port = f" --dst-port {facts.packet.port}" if facts.packet.port else ""
    return (
        f"openstack --os-region-name {end.site} security group rule create --{way} "
        f"--protocol {facts.packet.protocol}{port} --remote-ip {other.ip}/32 {end.groups[0].id}"
    )


def underlay_fault(facts: Facts, here: Host, there: Host, way: Way) -> Fault | None:
    """Tunnels between two hosts: dead, or too narrow for the network's MTU."""
    between = f"{here.place} and {there.place}"
    if way.reached is False:
        return _error(
            Code.UNDERLAY_DOWN,
            here.place,
            f"the tunnel ends of {between} do not reach each other",
            way.error or f"no answer from {there.vtep}",
            f"on {here.place}: ping {there.vtep}; then look at the link between the sites, "
            "at routes, and at filters for UDP port 4789",
        )
    needed = facts.mtu + facts.overhead
    if way.largest is None or way.largest >= needed:
        return None
    fits = way.largest - facts.overhead
    return _error(
        Code.MTU_HOLE,
        here.place,
        f"packets above {fits} bytes vanish between {between}",
        f"the network promises {facts.mtu} bytes and a tunnel adds {facts.overhead}, "
        f"but only {way.largest} pass",
        f"raise the MTU of the link to {needed}, or: "
        f"isthmus network set {facts.network} --mtu {fits}",
    )


def no_arrival(facts: Facts, there: Host, source: End) -> Fault | None:
    """The receiving host drops what comes out of the tunnel."""
    if source.port.vtep_ip not in there.tunnels:
        fault = entry_lost(
            there,
            Code.TUNNEL_MISSING,
            f"{there.place} drops packets from {source.port.vtep_ip}: it has no tunnel to it",
            Outcome.ERROR,
            facts.network,
        )
        return fault
    if there.arrives_in is None:
        return _error(
            Code.VNI_NOT_RECEIVED,
            there.place,
            f"{there.place} drops packets with VNI {facts.vni}",
            "no port of the network is wired on this host, or the flow is gone",
            start_agent(there)
            if there.deaf
            else f"restart neutron-openvswitch-agent on {there.place}",
        )
    return None


def agent_dead(host: Host) -> Fault:
    """Neutron's agent is away, and what it set up still works."""
    return Fault(
        code=Code.AGENT_DEAD,
        outcome=Outcome.WARN,
        place=host.place,
        summary=f"Neutron's agent on {host.place} does not work",
        cause="it does not control the switch now"
        if host.connected is False
        else "Neutron has not heard of it for longer than agent_down_time",
        remedy=start_agent(host),
    )


def host_silent(host: Host) -> Fault:
    """The host's isthmus-agent does not answer: what the host holds is not known."""
    return Fault(
        code=Code.HOST_SILENT,
        outcome=Outcome.WARN,
        place=host.place,
        summary=f"what {host.place} holds is not known",
        cause=host.error or "its agent did not answer",
        remedy=f"start isthmus-agent on {host.place}, and see that the host is up",
    )


def mtu_differs(host: Host, plug: Plug, mtu: int) -> Fault:
    """A guest's interface is larger than the network carries."""
    return Fault(
        code=Code.MTU_DIFFERS,
        outcome=Outcome.WARN,
        place=host.place,
        summary=f"{plug.interface} on {host.place} has the MTU {plug.mtu}, the network {mtu}",
        cause="the interface was made before the network's MTU was lowered, or by hand",
        remedy=f"start the guest again, or set the MTU of its interface to {mtu}",
    )


def site_faults(facts: Facts) -> tuple[Fault, ...]:
    """Whole sites: silent, without the network, or with another VNI."""
    found = []
    for name in sorted({facts.a.site, facts.b.site}):
        site = facts.sites[name]
        if site.error:
            found.append(_silent_site(name, site.error))
        elif site.network is None:
            found.append(_no_network(name, facts))
        elif site.network.vni != facts.vni:
            found.append(_other_vni(name, site.network.vni, facts))
    return tuple(found)


def _silent_site(site: str, error: str) -> Fault:
    return _error(
        Code.SITE_SILENT,
        site,
        f"the Neutron of {site} cannot be asked",
        error,
        f"isthmus site show {site}",
    )


def _no_network(site: str, facts: Facts) -> Fault:
    return _error(
        Code.NETWORK_MISSING,
        site,
        f"{site} has no network {facts.network}",
        "the engine there has not made it, or somebody deleted it",
        f"isthmus network sync {facts.network}",
    )


def _other_vni(site: str, vni: int | None, facts: Facts) -> Fault:
    return _error(
        Code.VNI_DIFFERS,
        site,
        f"{facts.network} has the VNI {vni} in {site}, {facts.vni} is declared",
        "packets arrive in another network, or in none",
        f"isthmus network show {facts.network}; then delete the network in {site}, "
        "and the engine makes it anew",
    )


def _error(code: Code, place: str, summary: str, cause: str, remedy: str) -> Fault:
    return Fault(
        code=code,
        outcome=Outcome.ERROR,
        place=place,
        summary=summary,
        cause=cause,
        remedy=remedy,
    )
