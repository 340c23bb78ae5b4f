"""Probes of one site: ports of the own Neutron, plugged by the own hosts, for one verification.

The engine of each site makes and removes its own, asked by the engine that verifies. Each port
carries the time until which it may live, in its description, so that whatever dies in between, the
janitor of that site's engine removes it; the host's agent does the same with what is plugged.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import re
import time
from collections.abc import Mapping
from typing import Any

from isthmus import errors
from isthmus.network.tracing import asking, world
from isthmus.sites import fanout

LOG = logging.getLogger(__name__)

MAKE_SECONDS = 20.0
"""One port and one plug; Neutron and the host's tools each take less than a second."""

_UNTIL = re.compile(r"until=(\d+)")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Order:
    """What is to be plugged in one site. `network_id`: the site's own network. `seconds`: how long
    the probes live if nobody removes them. `one`: on one host that works, instead of on all."""

    run: str
    network_id: str
    prefix: int
    mtu: int
    seconds: float
    one: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plugged:
    """What became of it on one host: either a port with its address, or an error."""

    host: str
    port_id: str | None = None
    ip: str | None = None
    error: str | None = None


def plug(engine: world.Engine, order: Order) -> list[Plugged]:
    """Plug a probe on every host of the own site; one result per host, nothing raised for one."""
    if order.one:
        return _first(engine, order)
    questions = {host: functools.partial(_plug, engine, order, host) for host in engine.hosts.names}
    answers = fanout.ask_all(questions, timeout=MAKE_SECONDS)
    return [each.value or Plugged(host=host, error=each.error) for host, each in answers.items()]


def _first(engine: world.Engine, order: Order) -> list[Plugged]:
    tried = []
    for host in engine.hosts.names:
        try:
            return [_plug(engine, order, host)]
        except errors.IsthmusError as error:
            tried.append(Plugged(host=host, error=str(error)))
    return tried


def _plug(engine: world.Engine, order: Order, host: str) -> Plugged:
    neutron = asking.Neutron(engine.session, engine.site)
    # A host whose agent is away gets no port: nobody could plug it, and nobody would remove it.
    engine.hosts.get(host, "/status", timeout=5.0)
    port = neutron.create_port(
        {
            "network_id": order.network_id,
            "name": f"isthmus-probe-{host}",
            "description": f"probe of isthmus network verify; until={time.time() + order.seconds:.0f}",
            "device_owner": asking.PROBE_OWNER,
            "device_id": order.run,
            "binding:host_id": host,
            # Probes prove the network; what security groups do to guests is told by trace.
            "port_security_enabled": False,
        }
    )
    ip = str(port["fixed_ips"][0]["ip_address"])
    spec = {
        "port_id": port["id"],
        "mac": port["mac_address"],
        "ip": ip,
        "prefix": order.prefix,
        # One byte more than is declared, so that a packet that is too large meets the network.
        "mtu": order.mtu + 1,
        "seconds": order.seconds,
    }
    engine.hosts.post(host, "/probes", spec, timeout=10.0)
    return Plugged(host=host, port_id=str(port["id"]), ip=ip)


def ping(engine: world.Engine, host: str, port_id: str, order: Mapping[str, Any]) -> Any:
    """Ping from a probe of the own site; the answer of its host's agent."""
    seconds = float(order.get("count", 3)) * float(order.get("interval", 0.2)) + 10.0
    path = f"/probes/{port_id[:8]}/ping"
    return engine.hosts.post(host, path, dict(order), timeout=seconds)["results"]


def remove(engine: world.Engine, run: str) -> list[str]:
    """Remove all probes of a run from the own site; returns what could not be removed."""
    ports = asking.Neutron(engine.session, engine.site).probes(run)
    return _removed(engine, ports)


def remove_expired(engine: world.Engine, now: float) -> list[str]:
    """Remove the ports of probes whose time is over; `now` in seconds of the Unix epoch."""
    ports = asking.Neutron(engine.session, engine.site).probes()
    over = [port for port in ports if expired(str(port.get("description")), now)]
    return _removed(engine, tuple(over))


def expired(description: str, now: float) -> bool:
    """Whether the time in a probe's description is over. One without a time is not ours to judge."""
    found = _UNTIL.search(description)
    return found is not None and now > int(found.group(1))


def _removed(engine: world.Engine, ports: tuple[Mapping[str, Any], ...]) -> list[str]:
    questions = {str(port["id"]): functools.partial(_remove, engine, port) for port in ports}
    answers = fanout.ask_all(questions, timeout=MAKE_SECONDS)
    return [f"{port_id}: {each.error}" for port_id, each in answers.items() if each.error]


def _remove(engine: world.Engine, port: Mapping[str, Any]) -> bool:
    """First what is plugged, then the port: a plug without a port would be shut by the agent, a
    port without a plug is only a line in a list."""
    host = str(port.get("binding:host_id") or "")
    if host in engine.hosts.names:
        try:
            engine.hosts.delete(host, f"/probes/{str(port['id'])[:8]}", timeout=10.0)
        except errors.UnavailableError as error:
            # Gone already, or its agent is away and removes it by itself when it is back.
            LOG.debug("probe %s stays plugged: %s", port["id"], error)
    asking.Neutron(engine.session, engine.site).delete_port(str(port["id"]))
    return True
