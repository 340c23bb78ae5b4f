"""Bringing a group up in this site: volumes, networks, ports, servers, in the order of boot.

Shared by drills and failovers; what differs is in the arguments of the steps (`isolated`). Each
object carries a name or a mark that follows from the operation, and is looked for before it is made.
What is made from what was resolved by `isthmus.recovery.plans`; nothing is decided here.
"""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Mapping
from typing import Any

from isthmus import errors
from isthmus.operations.recipes import Result, Run
from isthmus.recovery import documents, waiting
from isthmus.recovery.backups import restoring
from isthmus.recovery.checkpoints import VolumeBackup
from isthmus.recovery.flows.means import Kept, Means
from isthmus.recovery.manifest import Manifest
from isthmus.recovery.mapping import AddressPolicy
from isthmus.recovery.metadata import target
from isthmus.recovery.metadata.definitions import NetworkDefinition, ServerDefinition
from isthmus.recovery.metadata.reading import Clients
from isthmus.recovery.plans import validating
from isthmus.recovery.plans.inventory import TargetPort, TargetServer
from isthmus.recovery.plans.validating import Validation

VOLUME, NETWORK, PORT, SERVER = "volume", "network", "port", "server"
MARK = "isthmus_operation"

ACTIVE_S = 600.0
"""A server that is emulated, on a busy host, boots in a minute; ten mean that it does not."""
ANSWER_S = 300.0
"""How long a guest may take from being active to answering."""


class Bringing:
    """What the steps share. The manifest of an operation's checkpoint is read and verified once."""

    def __init__(self, means: Means, kept: Kept) -> None:
        self.means, self._kept = means, kept

    def look(self, run: Run) -> Result | None:
        """Most steps find out in acting what is done already."""
        return None

    def manifest(self, run: Run) -> Manifest:
        plan = run.operation.plan
        assert plan is not None  # noqa: S101 - nothing runs without a plan
        assert plan.checkpoint_id is not None  # noqa: S101 - neither without a checkpoint
        return self._kept.manifest(plan.checkpoint_id)

    def project(self, run: Run) -> str:
        return self.means.target_project(self.manifest(run).group)

    def clients(self, run: Run) -> Clients:
        return self.means.clients(self.project(run))

    def server(self, run: Run) -> ServerDefinition:
        wanted = run.arguments["server"]
        servers = self.manifest(run).definitions.servers
        return next(each for each in servers if each.id == wanted)


class Import(Bringing):
    """Make the backups of the checkpoint known here, parents first."""

    def act(self, run: Run) -> Result:
        found = self.manifest(run)
        run.guard()
        records = records_of(self.means, found)
        imported = restoring.import_records(self.means.cinder(self.project(run)), records)
        return {"backups": len(imported)}


def records_of(means: Means, found: Manifest) -> list[Any]:
    """The records of all backups that the checkpoint needs, each chain from its full backup on.

    Those of earlier backups stand in the manifests of their checkpoints. Raises RestoreError.
    """
    known = {
        backup.backup_id: backup.record
        for each in means.declared.checkpoints(found.group.id)
        for backup in each.backups
    }
    known |= {each.backup_id: each.record for each in found.checkpoint.backups}
    wanted = [part for each in found.checkpoint.backups for part in each.chain]
    missing = [part for part in wanted if part not in known]
    if missing:
        raise restoring.RestoreError(
            "the checkpoint cannot be restored: a parent is missing",
            where=f"checkpoint {found.checkpoint.seq} of group {found.group.name}",
            cause=f"there is no record of backup {missing[0]}",
            unchanged="nothing was restored",
            next_command="use another checkpoint: isthmus checkpoint list",
        )
    return [known[part] for part in dict.fromkeys(wanted)]


class Restore(Bringing):
    """One volume from its backup, held against its hash."""

    def act(self, run: Run) -> Result:
        backup, cinder = self._backup(run), self.means.cinder(self.project(run))
        wanted = restoring.Target(
            backup=backup,
            name=str(run.arguments.get("name") or run.name(f"volume-{backup.volume_id}")),
            volume_type=run.arguments.get("volume_type"),
            zone=run.arguments.get("zone"),
        )

        def restored() -> str:
            return restoring.restore(
                cinder, wanted, operation_id=run.operation.id, digest_of=self.means.digest_of
            )

        mark = run.name(f"volume-{backup.volume_id}")
        found = run.ensure(VOLUME, mark, site=self.means.site, find=lambda: None, create=restored)
        return {"volume": found, "bytes": backup.size_gib << 30}

    def _backup(self, run: Run) -> VolumeBackup:
        wanted = run.arguments["volume"]
        backups = self.manifest(run).checkpoint.backups
        return next(each for each in backups if each.volume_id == wanted)


class Isolate(Bringing):
    """A network of a drill: the same CIDR, no router, no gateway, shared with nobody."""

    def act(self, run: Run) -> Result:
        source = self._source(run)
        network = self.clients(run).network
        name = run.name(f"network-{source.id}")
        found = run.ensure(
            NETWORK,
            name,
            site=self.means.site,
            find=lambda: named(network, "networks", name),
            create=lambda: str(
                network.post("/v2.0/networks", {"network": {"name": name, "mtu": source.mtu}})[
                    "network"
                ]["id"]
            ),
        )
        return {"network": found, "subnets": self._subnets(run, source, found)}

    def _source(self, run: Run) -> NetworkDefinition:
        wanted = run.arguments["network"]
        return next(n for n in self.manifest(run).definitions.networks if n.id == wanted)

    def _subnets(self, run: Run, source: NetworkDefinition, network_id: str) -> dict[str, str]:
        """By source subnet. They go with the network and need no record of their own."""
        network, made = self.clients(run).network, {}
        there = list(network.all("/v2.0/subnets", "subnets", network_id=network_id))
        for subnet in source.subnets:
            known = next((each["id"] for each in there if each["cidr"] == subnet.cidr), None)
            if known is None:
                run.guard()
                body = {
                    "network_id": network_id,
                    "name": run.name(f"subnet-{subnet.id}"),
                    "cidr": subnet.cidr,
                    "ip_version": subnet.ip_version,
                    "enable_dhcp": subnet.dhcp,
                    # A route out of an isolated network would lead the guests to the others.
                    "gateway_ip": None,
                }
                known = network.post("/v2.0/subnets", {"subnet": body})["subnet"]["id"]
            made[subnet.id] = str(known)
        return made


class Boot(Bringing):
    """One server with its ports and volumes."""

    def act(self, run: Run) -> Result:
        wanted, source = self._target(run), self.server(run)
        ports = [self._port(run, source, each) for each in wanted.ports]
        compute, name = self.clients(run).compute, run.name(f"server-{source.id}")
        server = run.ensure(
            SERVER,
            name,
            site=self.means.site,
            find=lambda: self._known(run, source.id),
            create=lambda: str(
                compute.post("/servers", self._body(run, source, wanted, ports))["server"]["id"]
            ),
        )
        self._active(run, server)
        return {"server": server, "ports": ports}

    def _target(self, run: Run) -> TargetServer:
        """As it was resolved when the plan was made: by now our own ports have the addresses, and a
        new judgement would find them taken."""
        return documents.read(TargetServer, run.arguments["target"])

    def _known(self, run: Run, source_id: str) -> str | None:
        servers = self.clients(run).compute.all("/servers/detail", "servers")
        wanted = {MARK: run.operation.id, "isthmus_source": source_id}
        mine = (each for each in servers if wanted.items() <= each["metadata"].items())
        return next((str(each["id"]) for each in mine), None)

    def _port(self, run: Run, source: ServerDefinition, wanted: TargetPort) -> str:
        network = self.clients(run).network
        name = run.name(f"port-{wanted.source_id}")
        return run.ensure(
            PORT,
            name,
            site=self.means.site,
            find=lambda: named(network, "ports", name),
            create=lambda: str(
                network.post("/v2.0/ports", {"port": self._port_body(run, source, wanted, name)})[
                    "port"
                ]["id"]
            ),
        )

    def _port_body(
        self, run: Run, source: ServerDefinition, wanted: TargetPort, name: str
    ) -> dict[str, Any]:
        origin = next(each for each in source.ports if each.id == wanted.source_id)
        body: dict[str, Any] = {
            "name": name,
            "network_id": wanted.network_id,
            "port_security_enabled": origin.port_security,
            "fixed_ips": [
                {"subnet_id": subnet, **({"ip_address": address} if address else {})}
                for subnet, address in zip(wanted.subnet_ids, wanted.addresses, strict=True)
            ],
        }
        if wanted.mac:
            body["mac_address"] = wanted.mac
        if origin.port_security:
            body["security_groups"] = list(wanted.security_groups)
            body["allowed_address_pairs"] = [
                {"ip_address": address, **({"mac_address": mac} if mac else {})}
                for address, mac in origin.allowed_pairs
            ]
        if run.arguments.get("isolated"):
            made = run.result(f"isolate-{origin.network_id}")
            body["network_id"] = made["network"]
            body["fixed_ips"] = [
                {"subnet_id": made["subnets"][each.subnet_id], "ip_address": each.address}
                for each in origin.fixed
            ]
            body["mac_address"] = origin.mac
        return body

    def _body(
        self, run: Run, source: ServerDefinition, wanted: TargetServer, ports: list[str]
    ) -> dict[str, Any]:
        isolated = bool(run.arguments.get("isolated"))
        server: dict[str, Any] = {
            "name": run.name(source.name) if isolated else source.name,
            "flavorRef": wanted.flavor_id,
            "networks": [{"port": port} for port in ports],
            "block_device_mapping_v2": [self._disk(run, each) for each in source.volumes],
            "config_drive": source.config_drive,
            "metadata": {
                **source.metadata,
                MARK: run.operation.id,
                "isthmus_source": source.id,
                "isthmus_epoch": str(run.epoch),
            },
        }
        if wanted.keypair:
            server["key_name"] = wanted.keypair
        if wanted.zone:
            server["availability_zone"] = wanted.zone
        text = self.means.unsealed(source.user_data, source.id) if source.user_data else None
        if text is not None:
            server["user_data"] = base64.b64encode(text.encode()).decode()
        hints = {"group": wanted.server_group_id} if wanted.server_group_id else {}
        return {"server": server, **({"os:scheduler_hints": hints} if hints else {})}

    def _disk(self, run: Run, volume: Any) -> dict[str, Any]:
        return {
            "uuid": run.result(f"restore-{volume.id}")["volume"],
            "source_type": "volume",
            "destination_type": "volume",
            "boot_index": -1 if volume.boot_index is None else volume.boot_index,
            "delete_on_termination": False,
            **({"tag": volume.tag} if volume.tag else {}),
        }

    def _active(self, run: Run, server_id: str) -> None:
        compute, where = self.clients(run).compute, f"server {server_id}, site {self.means.site}"

        def seen() -> bool | None:
            found = compute.get(f"/servers/{server_id}")["server"]
            if found["status"] == "ERROR":
                raise errors.IsthmusError(
                    "a server could not be started",
                    where=where,
                    cause=str(found.get("fault", {}).get("message", "Nova gives no reason")),
                )
            return True if found["status"] == "ACTIVE" else None

        waiting.until(seen, within_s=ACTIVE_S, every_s=1.0, what="it to be active", where=where)


class Test(Bringing):
    """The guest of one member answers, and says that it is what it should be."""

    def act(self, run: Run) -> Result:
        probe, server = self.means.probe, self.server(run)
        member = next(m for m in self.manifest(run).group.members if m.server_id == server.id)
        made, compute = str(run.result(f"boot-{server.id}")["server"]), self.clients(run).compute
        if probe is None:
            return {"tested": False}

        def answer() -> Mapping[str, Any] | None:
            try:
                return probe(compute, member, made)
            except errors.UnavailableError:
                return None

        where = f"member {member.name}, server {made}"
        found = waiting.until(
            answer, within_s=ANSWER_S, every_s=1.0, what="an answer of the guest", where=where
        )
        return {"tested": True, **found}


def named(api: Any, collection: str, name: str) -> str | None:
    """The id of the project's object with that name."""
    found = list(api.all(f"/v2.0/{collection}", collection, name=name))
    return str(found[0]["id"]) if found else None


def validated(means: Means, found: Manifest, *, isolated: bool = False) -> Validation:
    """Whether the servers of a manifest can come back here now; addresses do not matter where their
    networks are `isolated`. Raises UsageError without a plan."""
    plan = means.declared.plan_for(found.group)
    if plan is None:
        raise errors.UsageError(
            f"there is no recovery plan for group {found.group.name}",
            cause=f"none leads from {found.group.site} to {means.site}",
            unchanged="nothing was done",
            next_command="isthmus plan set NAME --file FILE",
        )
    if isolated:
        plan = dataclasses.replace(
            plan, addresses={}, address_policy=AddressPolicy.ANY, keep_macs=False
        )
    project = plan.target_project_id or found.group.project_id
    there = target.read(means.clients(project), means.unsealing_keys)
    return validating.validate(found.definitions, plan, there, isolated=isolated)
