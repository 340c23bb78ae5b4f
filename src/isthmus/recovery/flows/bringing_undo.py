"""What a drill or a failover made, taken away: found by id, or by the name that follows from it.

A drill that was killed anywhere is cleaned up by these; so is a failover that is rolled back. What
carries another mark is never touched.
"""

from __future__ import annotations

from typing import Any

from isthmus.operations.recipes import Run, Thing
from isthmus.recovery import waiting
from isthmus.recovery.backups import restoring
from isthmus.recovery.flows.bringing import MARK, NETWORK, PORT, SERVER, VOLUME, named
from isthmus.recovery.flows.means import Means
from isthmus.recovery.metadata.reading import Clients
from isthmus.recovery.rest import Api

GONE_S = 300.0


class Remover:
    """What the removers share."""

    def __init__(self, means: Means) -> None:
        self.means = means

    def clients(self, run: Run) -> Clients:
        group = self.means.declared.group(run.operation.group_id)
        return self.means.clients(self.means.target_project(group))

    def delete(self, api: Api, path: str, noun: str, thing: Thing) -> None:
        """Delete, and wait until it is seen to be gone: what it stands on cannot go before."""
        api.delete(path)
        where = f"{thing.kind} {thing.name}, site {thing.site}"
        waiting.until(
            lambda: True if api.find(path, noun) is None else None,
            within_s=GONE_S,
            every_s=0.5,
            what="it to be gone",
            where=where,
        )


class Servers(Remover):
    """Servers with the mark of the operation and of their source."""

    def remove(self, thing: Thing, run: Run) -> None:
        compute = self.clients(run).compute
        source = thing.name.partition("-server-")[2]
        for each in list(compute.all("/servers/detail", "servers")):
            found = each["metadata"]
            mine = found.get(MARK) == thing.operation_id
            if mine and str(found.get("isthmus_source", "")).startswith(source):
                run.guard()
                self.delete(compute, f"/servers/{each['id']}", "server", thing)


class Ports(Remover):
    """Ports of that name."""

    def remove(self, thing: Thing, run: Run) -> None:
        network = self.clients(run).network
        found = thing.object_id or named(network, "ports", thing.name)
        if found is not None:
            run.guard()
            network.delete(f"/v2.0/ports/{found}")


class Networks(Remover):
    """Networks of that name, with their subnets."""

    def remove(self, thing: Thing, run: Run) -> None:
        network = self.clients(run).network
        found = thing.object_id or named(network, "networks", thing.name)
        if found is not None:
            run.guard()
            network.delete(f"/v2.0/networks/{found}")


class Volumes(Remover):
    """Volumes with the mark of the operation and of their source, or with the name that they have
    while a restore has taken their marks away."""

    def remove(self, thing: Thing, run: Run) -> None:
        block = self.clients(run).block
        source = thing.name.partition("-volume-")[2]
        for each in list(block.all("/volumes/detail", "volumes")):
            found = each.get("metadata") or {}
            marked = found.get(restoring.OPERATION) == thing.operation_id
            mine = marked and str(found.get(restoring.SOURCE, "")).startswith(source)
            working = restoring.working_name(thing.operation_id, source)
            if mine or str(each.get("name") or "").startswith(working):
                run.guard()
                self.delete(block, f"/volumes/{each['id']}", "volume", thing)


def removers(means: Means) -> dict[str, Any]:
    """By kind of thing."""
    return {
        SERVER: Servers(means),
        PORT: Ports(means),
        NETWORK: Networks(means),
        VOLUME: Volumes(means),
    }
