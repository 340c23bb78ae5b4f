"""Gathers the facts of two ports: asks Neutrons and hosts of all sites at once, judges nothing.

Hosts of other sites are asked through the engine there, because host agents listen to their own
engine only. What does not answer becomes an `error` in the facts, and never an exception.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from isthmus.network import declarations, views
from isthmus.network.tracing import asking, resolving, world
from isthmus.network.tracing.facts import End, Facts, Host, Packet, Plug, Site, Way
from isthmus.sites import fanout

HOST_PATH = "/v1/tracing/host"
"""Where an engine tells another engine what one of its hosts holds."""

LOOK_SECONDS = 15.0
"""A whole look at a network of some thousand ports."""

HOST_SECONDS = 15.0
"""A host measures the underlay meanwhile: up to some seconds for a way that swallows."""


def gather(
    engine: world.Engine, network: declarations.StretchedNetwork, a: str, b: str, packet: Packet
) -> Facts:
    """All facts of the ports that `a` and `b` mean.

    Raises `errors.UsageError` when one of them means no port or several.
    """
    sites = look(engine, network)
    ends = _ends(engine, [resolving.resolve(words, sites) for words in (a, b)])
    facts = Facts(
        network=network.name,
        vni=network.vni,
        mtu=network.mtu,
        a=ends[0],
        b=ends[1],
        sites=sites,
        hosts={},
        packet=packet,
        overhead=engine.config.networks.tunnel_overhead,
    )
    return with_hosts(engine, network, facts)


def look(engine: world.Engine, network: declarations.StretchedNetwork) -> dict[str, Site]:
    """What the Neutron of each site holds of the network, by site."""
    questions = {
        name: functools.partial(engine.neutron(name).view, network) for name in network.sites
    }
    answers = fanout.ask_all(questions, timeout=LOOK_SECONDS)
    return {
        name: _site(answer.value)
        if answer.value is not None
        else Site(name=name, error=answer.error)
        for name, answer in answers.items()
    }


def _site(view: views.SiteView) -> Site:
    if not view.good:
        return Site(name=view.site, error=view.error)
    return Site(
        name=view.site,
        network=view.network,
        ports=view.ports,
        groups={each.id: each.name for each in view.security_groups},
    )


def _ends(engine: world.Engine, meant: Iterable[tuple[str, views.Port]]) -> tuple[End, ...]:
    chosen = list(meant)
    questions = {
        index: functools.partial(_end, engine, site, port)
        for index, (site, port) in enumerate(chosen)
    }
    answers = fanout.ask_all(questions, timeout=LOOK_SECONDS)
    return tuple(
        answers[index].value or End(site=site, port=port)
        for index, (site, port) in enumerate(chosen)
    )


def _end(engine: world.Engine, site: str, port: views.Port) -> End:
    neutron = asking.Neutron(engine.session, site)
    document = neutron.port(port.id)
    return End(
        site=site,
        port=port,
        admin_up=bool(document.get("admin_state_up", True)),
        filtered=bool(document.get("port_security_enabled", True)),
        groups=neutron.groups(port.security_groups),
    )


def with_hosts(engine: world.Engine, network: declarations.StretchedNetwork, facts: Facts) -> Facts:
    """The facts with what both hosts hold, and with the ways between their tunnel ends."""
    ends = [end for end in (facts.a, facts.b) if end.port.host]
    vteps = {end.port.vtep_ip for end in ends} - {None}
    questions = {}
    for end in ends:
        body = {
            "host": end.port.host,
            "vni": network.vni,
            "to": sorted(str(vtep) for vtep in vteps - {end.port.vtep_ip}),
            "size": network.mtu + facts.overhead,
        }
        asking_it = functools.partial(ask_host, engine, end.site, body)
        questions[end.site, end.port.host] = asking_it
    answers = fanout.ask_all(questions, timeout=HOST_SECONDS, grace=1.0)
    hosts, ways = {}, {}
    for (site, name), answer in answers.items():
        document = answer.value or {"error": answer.error}
        hosts[site, name] = host(site, name, network.vni, document)
        own = next(e.port.vtep_ip for e in ends if (e.site, e.port.host) == (site, name))
        for to, way in document.get("ways", {}).items():
            ways[str(own), str(to)] = Way(**way)
    return dataclasses.replace(facts, hosts=hosts, ways=ways)


def ask_host(engine: world.Engine, site: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a host of any site holds. Raises `errors.UnavailableError`."""
    if site == engine.site:
        return tell_host(engine, body)
    return dict(engine.peers.post(site, HOST_PATH, dict(body), timeout=HOST_SECONDS))


def tell_host(engine: world.Engine, body: Mapping[str, Any]) -> dict[str, Any]:
    """What a host of the own site holds: the answer at `HOST_PATH`."""
    name, vni = str(body["host"]), int(body["vni"])
    neutron = asking.Neutron(engine.session, engine.site)
    question = {"to": body["to"], "size": body["size"]}
    questions: dict[str, Callable[[], Any]] = {
        "fdb": lambda: engine.hosts.get(name, f"/fdb?vni={vni}", timeout=HOST_SECONDS - 2),
        "ports": lambda: engine.hosts.get(name, "/ports", timeout=HOST_SECONDS - 2),
        "underlay": lambda: engine.hosts.post(name, "/underlay", question, HOST_SECONDS - 2),
        "agents": neutron.l2_agents,
    }
    answers = fanout.ask_all(questions, timeout=HOST_SECONDS - 1)
    agents = answers["agents"].value or {}
    failed = [answers[each].error for each in ("fdb", "ports") if answers[each].error]
    return {
        "error": failed[0] if failed else None,
        "fdb": answers["fdb"].value or {},
        "ports": (answers["ports"].value or {}).get("ports", {}),
        "ways": (answers["underlay"].value or {}).get("ways", {}),
        "alive": agents.get(name),
    }


def host(site: str, name: str, vni: int, document: Mapping[str, Any]) -> Host:
    """A host from the answer at `HOST_PATH`."""
    fdb: Mapping[str, Any] = document.get("fdb") or {}
    entries: Mapping[str, Any] = (fdb.get("networks") or {}).get(str(vni), {})
    return Host(
        site=site,
        name=name,
        error=document.get("error"),
        vtep=fdb.get("vtep"),
        unicast=_sets(entries.get("unicast", {})),
        learned=_sets(entries.get("learned", {})),
        flood=frozenset(entries.get("flood", ())),
        arp=dict(entries.get("arp", {})),
        arrives_in=entries.get("local_vlan"),
        tunnels=frozenset(fdb.get("tunnels") or ()),
        plugs={key: _plug(each) for key, each in (document.get("ports") or {}).items()},
        alive=document.get("alive"),
        connected=fdb.get("connected"),
    )


def _sets(entries: Mapping[str, Iterable[str]]) -> dict[str, frozenset[str]]:
    return {mac: frozenset(vteps) for mac, vteps in entries.items()}


def _plug(document: Mapping[str, Any]) -> Plug:
    return Plug(
        interface=str(document["interface"]),
        local_vlan=document.get("local_vlan"),
        mtu=document.get("mtu"),
        link_up=document.get("link_state") != "down",
    )
