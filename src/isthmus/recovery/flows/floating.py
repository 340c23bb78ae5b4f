"""Floating addresses of servers that were brought up here: led to their ports, and taken away again.

It exists beside `bringing` because a floating address may be somebody's: one that is in the project
and leads nowhere is only *led* to a port, and is let go when the failover is rolled back; one that is
not there is *made*, bears the mark of the operation in its description, and is deleted.
"""

from __future__ import annotations

from typing import Any

from isthmus import errors
from isthmus.operations.recipes import Result, Run, Thing
from isthmus.recovery import documents
from isthmus.recovery.flows.bringing import Bringing, named
from isthmus.recovery.flows.bringing_undo import Remover
from isthmus.recovery.plans.inventory import TargetFloating
from isthmus.recovery.rest import Api, CloudError

MADE, LED = "floating-address", "association"
PATH = "/v2.0/floatingips"
_LONGEST = 255
"""Characters of a description in Neutron."""
_FOR_GOOD = frozenset({400, 404, 409})
"""What Neutron answers to what will not become better by trying again."""


class Lead(Bringing):
    """The floating addresses of one server."""

    def act(self, run: Run) -> Result:
        wanted = [documents.read(TargetFloating, each) for each in run.arguments["floating"]]
        return {each.source: self._led(run, each) for each in wanted}

    def _led(self, run: Run, wanted: TargetFloating) -> str:
        """The address that leads to the server."""
        network = self.clients(run).network
        mark = run.name(f"floating-{wanted.source}")
        ports = _Port.read(network, run, wanted)
        found = _found(network, wanted, mark)
        if found is None or _marked(found, mark):
            identity = run.ensure(
                MADE,
                mark,
                site=self.means.site,
                find=lambda: found and str(found["id"]),
                create=lambda: str(self._made(network, wanted, ports, mark)["id"]),
            )
        else:
            self._refuse_if_taken(found, ports, network.project_id)
            identity = run.ensure(
                LED,
                # The only name that it is found by though nothing was written down.
                run.name(f"lead-{found['id']}"),
                site=self.means.site,
                find=lambda: str(found["id"]) if found["port_id"] == ports.id else None,
                create=lambda: str(self._associated(network, found, ports)["id"]),
            )
        return str(network.get(f"{PATH}/{identity}")["floatingip"]["floating_ip_address"])

    def _made(self, network: Api, wanted: TargetFloating, port: _Port, mark: str) -> Any:
        body = {
            "floating_network_id": wanted.network_id,
            "port_id": port.id,
            "fixed_ip_address": port.fixed,
            "description": f"{mark}: {wanted.description}"[:_LONGEST],
        }
        if wanted.address is not None:
            body["floating_ip_address"] = wanted.address
        return self._asked(lambda: network.post(PATH, {"floatingip": body}), wanted.source)

    def _associated(self, network: Api, found: Any, port: _Port) -> Any:
        body = {"port_id": port.id, "fixed_ip_address": port.fixed}
        path = f"{PATH}/{found['id']}"
        asked = found["floating_ip_address"]
        return self._asked(lambda: network.put(path, {"floatingip": body}), asked)

    def _asked(self, ask: Any, address: str) -> Any:
        try:
            return ask()["floatingip"]
        except CloudError as error:
            if error.status not in _FOR_GOOD:
                raise
            raise self._failed(address, str(error.cause)) from error

    def _refuse_if_taken(self, found: Any, port: _Port, project_id: str) -> None:
        owner = None
        if found["port_id"] not in (None, port.id):
            owner = f"it leads to port {found['port_id']}"
        elif found["project_id"] != project_id:
            owner = f"it belongs to project {found['project_id']}"
        if owner:
            raise self._failed(found["floating_ip_address"], owner)

    def _failed(self, address: str, cause: str) -> errors.IsthmusError:
        return errors.IsthmusError(
            f"the floating address {address} leads nowhere",
            where=f"site {self.means.site}",
            cause=cause,
            unchanged="the server runs; no floating address was changed",
            next_command="mend it and retry, or skip the step: isthmus operation retry OPERATION",
        )


class _Port:
    """A port that the operation made: its id and the address that is to be led to."""

    def __init__(self, identity: str, fixed: str) -> None:
        self.id, self.fixed = identity, fixed

    @classmethod
    def read(cls, network: Api, run: Run, wanted: TargetFloating) -> _Port:
        name = run.name(f"port-{wanted.port_id}")
        identity = named(network, "ports", name)
        if identity is None:
            raise errors.IsthmusError(
                "a floating address has nothing to lead to",
                where=name,
                cause="the port is gone",
                unchanged="no floating address was changed",
            )
        held = network.get(f"/v2.0/ports/{identity}")["port"]["fixed_ips"]
        inside = (each["ip_address"] for each in held if each["subnet_id"] == wanted.subnet_id)
        return cls(identity, wanted.fixed or str(next(inside)))


def _found(network: Api, wanted: TargetFloating, mark: str) -> Any | None:
    """The floating address with that address or, of those of the project, with that mark."""
    known = (
        {"floating_ip_address": wanted.address}
        if wanted.address
        else {"project_id": network.project_id}
    )
    there = network.all(PATH, "floatingips", **known)
    if wanted.address:
        return next((each for each in there if each["floating_ip_address"] == wanted.address), None)
    return next((each for each in there if _marked(each, mark)), None)


def _marked(found: Any, mark: str) -> bool:
    return str(found.get("description") or "").startswith(f"{mark}:")


class MadeAddresses(Remover):
    """Floating addresses with that mark."""

    def remove(self, thing: Thing, run: Run) -> None:
        network = self.clients(run).network
        mine = network.all(PATH, "floatingips", project_id=network.project_id)
        for each in [each for each in mine if _marked(each, thing.name)]:
            run.guard()
            self.delete(network, f"{PATH}/{each['id']}", "floatingip", thing)


class LedAddresses(Remover):
    """Lets one that was there before lead nowhere again, unless somebody led it elsewhere since."""

    def remove(self, thing: Thing, run: Run) -> None:
        network = self.clients(run).network
        before, _, identity = thing.name.partition("-lead-")
        found = network.find(f"{PATH}/{identity}", "floatingip")
        if found is None or found["port_id"] is None:
            return
        port = network.find(f"/v2.0/ports/{found['port_id']}", "port")
        if port is not None and str(port["name"]).startswith(f"{before}-port-"):
            run.guard()
            network.put(f"{PATH}/{identity}", {"floatingip": {"port_id": None}})
