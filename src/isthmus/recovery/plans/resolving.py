"""Single objects of the source in the target: found, missing, ambiguous, different.

It exists so that flavors, keypairs, security groups, server groups, types and zones are judged by one
rule. Each distinct object is judged once, however many servers use it.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping as Dict
from typing import TypeVar

from isthmus.outcomes import Outcome
from isthmus.recovery.findings import Code
from isthmus.recovery.mapping import Kind, Mapping
from isthmus.recovery.metadata.definitions import (
    Definitions,
    FlavorDefinition,
    SecurityGroupDefinition,
    ServerDefinition,
)
from isthmus.recovery.plans.collecting import Collector
from isthmus.recovery.plans.creations import (
    CreateFlavor,
    CreateKeypair,
    CreateSecurityGroup,
    CreateServerGroup,
    Creation,
)
from isthmus.recovery.plans.inventory import Index, Inventory, Named

N = TypeVar("N", bound=Named)

_FLAGS = {
    Kind.FLAVOR: "flavors",
    Kind.NETWORK: "networks",
    Kind.SUBNET: "subnets",
    Kind.VOLUME_TYPE: "volume_types",
    Kind.ZONE: "zones",
    Kind.KEYPAIR: "keypairs",
    Kind.SECURITY_GROUP: "security_groups",
    Kind.IMAGE: "images",
    Kind.SERVER_GROUP: "server_groups",
}
"""Where in a mapping the entries of a kind stand."""


class Resolver:
    """The objects of one plan. Findings go to the collector, what can be made to `creations`."""

    def __init__(
        self,
        definitions: Definitions,
        mapping: Mapping,
        inventory: Inventory,
        collector: Collector,
    ) -> None:
        self.mapping, self.inventory, self.collector = mapping, inventory, collector
        self._flavors = Index(inventory.flavors)
        self._groups = Index(inventory.security_groups)
        self._server_groups = Index(inventory.server_groups)
        self._keypairs = {each.name: each for each in inventory.keypairs}
        self._source_groups = {each.id: each for each in definitions.security_groups}
        self._source_server_groups = {each.id: each for each in definitions.server_groups}
        self._creations: dict[tuple[str, str], Creation] = {}

    @property
    def creations(self) -> tuple[Creation, ...]:
        """Groups last: their rules may name each other, and then they must all be there."""
        last = [each for each in self._creations.values() if isinstance(each, CreateSecurityGroup)]
        first = [each for each in self._creations.values() if each not in last]
        return (*first, *last)

    def create(self, creation: Creation) -> None:
        self._creations.setdefault((type(creation).__name__, creation.name), creation)

    def one(
        self,
        kind: Kind,
        source_id: str | None,
        name: str | None,
        index: Index[N],
        server: str,
        creation: Callable[[str], Creation] | None = None,
    ) -> N | None:
        """The counterpart in the target; None with a finding. `creation` makes it, if that is safe."""
        subject = f"{kind} {name or source_id}"
        wanted = self.mapping.counterpart(kind, source_id, name)
        if wanted is None:
            self.not_mapped(kind, subject, name or source_id or "", server)
            return None
        found = index.find(wanted)
        if len(found) == 1:
            return found[0]
        if found:
            self._ambiguous(kind, subject, wanted, len(found), server)
        else:
            self.missing(kind, subject, wanted, server, creation)
        return None

    def not_mapped(self, kind: Kind, subject: str, name: str, server: str) -> None:
        self.collector.add(
            Code.NOT_MAPPED,
            Outcome.ERROR,
            subject,
            summary="nobody has said what it is in the backup site",
            cause=f"the mapping {self.mapping.name} has no entry for it",
            remedy=f"add {name!r} to {_FLAGS[kind]} of the mapping {self.mapping.name}",
            server=server,
        )

    def missing(
        self,
        kind: Kind,
        subject: str,
        wanted: str,
        server: str,
        creation: Callable[[str], Creation] | None,
    ) -> None:
        if creation is not None:
            self.create(creation(wanted))
        self.collector.add(
            Code.MISSING,
            Outcome.ERROR,
            subject,
            summary=f"its counterpart {wanted} is not there",
            cause=f"site {self.inventory.site} has no {kind} of that name or ID",
            remedy=(
                "isthmus plan validate --create makes it"
                if creation
                else f"make the {kind} {wanted}"
            ),
            server=server,
        )

    def _ambiguous(self, kind: Kind, subject: str, wanted: str, count: int, server: str) -> None:
        self.collector.add(
            Code.AMBIGUOUS,
            Outcome.ERROR,
            subject,
            summary=f"its counterpart {wanted} is there {count} times",
            cause=f"{count} objects in site {self.inventory.site} have that name",
            remedy=f"put the ID of the right one into {_FLAGS[kind]} of the mapping",
            server=server,
        )

    def flavor(self, server: ServerDefinition) -> str | None:
        """The flavor's ID."""
        like = server.flavor
        found = self.one(
            Kind.FLAVOR,
            like.id,
            like.name,
            self._flavors,
            server.name,
            lambda name: CreateFlavor(name=name, like=like),
        )
        if found is None:
            return None
        self._compare_flavors(like, found, server.name)
        return found.id

    def _compare_flavors(
        self, source: FlavorDefinition, target: FlavorDefinition, server: str
    ) -> None:
        sizes = ("vcpus", "ram_mib", "ephemeral_gib", "swap_mib")
        less = [
            f"{size} {getattr(target, size)} instead of {getattr(source, size)}"
            for size in sizes
            if getattr(target, size) < getattr(source, size)
        ]
        subject = f"flavor {source.name}"
        if less:
            self.collector.add(
                Code.TOO_SMALL,
                Outcome.WARN,
                subject,
                summary=f"its counterpart {target.name} is smaller",
                cause=", ".join(less),
                remedy="map it to a flavor that is at least as large",
                server=server,
            )
        if dict(source.extra_specs) != dict(target.extra_specs):
            self.collector.add(
                Code.DIFFERS,
                Outcome.INFO,
                subject,
                summary=f"its counterpart {target.name} has other extra specs",
                cause=f"here: {_words(source.extra_specs)}; there: {_words(target.extra_specs)}",
                remedy="check that the guests do not depend on the difference",
                server=server,
            )

    def image(self, server: ServerDefinition) -> None:
        """An image is not needed to boot from a restored volume, whose image metadata decides."""
        if server.image is None or server.image.properties.get("hw_qemu_guest_agent") == "yes":
            return
        self.collector.add(
            Code.DIFFERS,
            Outcome.WARN,
            f"image {server.image.name or server.image.id}",
            summary="guests made from it cannot be frozen",
            cause="it has no property hw_qemu_guest_agent=yes",
            remedy="set the image metadata of the root volumes, and start the guests again",
            server=server.name,
        )

    def keypair(self, server: ServerDefinition) -> str | None:
        """The keypair's name; None if the server has none, or with a finding."""
        like = server.keypair
        if like is None:
            return None
        wanted = self.mapping.counterpart(Kind.KEYPAIR, None, like.name)
        subject = f"keypair {like.name}"
        if wanted is None:
            self.not_mapped(Kind.KEYPAIR, subject, like.name, server.name)
            return None
        found = self._keypairs.get(wanted)
        if found is None:
            self.missing(
                Kind.KEYPAIR,
                subject,
                wanted,
                server.name,
                lambda name: CreateKeypair(name=name, like=like),
            )
        elif found.fingerprint != like.fingerprint:
            self.collector.add(
                Code.DIFFERS,
                Outcome.WARN,
                subject,
                summary=f"its counterpart {wanted} is another key",
                cause=f"fingerprint {found.fingerprint} instead of {like.fingerprint}",
                remedy="map it to the right one, if guests are to be entered by it",
                server=server.name,
            )
        return wanted

    def zone(self, server: ServerDefinition) -> str | None:
        """The availability zone's name."""
        return self._word(Kind.ZONE, server.zone, self.inventory.zones, server.name)

    def volume_types(self, server: ServerDefinition) -> dict[str, str | None]:
        """The type of each volume in the target; None: the default."""
        known = self.inventory.volume_types
        return {
            volume.id: self._word(Kind.VOLUME_TYPE, volume.volume_type, known, server.name)
            for volume in server.volumes
        }

    def _word(
        self, kind: Kind, name: str | None, known: tuple[str, ...], server: str
    ) -> str | None:
        """The counterpart of something that has a name only."""
        if name is None:
            return None
        wanted = self.mapping.counterpart(kind, None, name)
        if wanted is None:
            self.not_mapped(kind, f"{kind} {name}", name, server)
        elif wanted not in known:
            self.missing(kind, f"{kind} {name}", wanted, server, None)
        return wanted

    def server_group(self, server: ServerDefinition) -> str | None:
        """The server group's ID; None if the server has none, or with a finding."""
        like = self._source_server_groups.get(server.server_group or "")
        if like is None:
            return None
        found = self.one(
            Kind.SERVER_GROUP,
            like.id,
            like.name,
            self._server_groups,
            server.name,
            lambda name: CreateServerGroup(name=name, like=like),
        )
        return None if found is None else found.id

    def security_group(self, group_id: str, server: str) -> str | None:
        """The security group's ID."""
        like = self._source_groups.get(group_id)
        found = self.one(
            Kind.SECURITY_GROUP,
            group_id,
            like.name if like else None,
            self._groups,
            server,
            (lambda name: self._new_group(name, like)) if like else None,
        )
        if found is None:
            return None
        if like is not None and self._rules(like) != self._rules(found):
            self.collector.add(
                Code.DIFFERS,
                Outcome.WARN,
                f"security-group {like.name}",
                summary=f"its counterpart {found.name} has other rules",
                cause=f"{len(like.rules)} rules here, {len(found.rules)} rules there",
                remedy="compare them: openstack security group rule list",
                server=server,
            )
        return found.id

    def _new_group(self, name: str, like: SecurityGroupDefinition) -> CreateSecurityGroup:
        """With the names of the groups that its rules speak of."""
        remotes = {rule.remote_group for rule in like.rules if rule.remote_group}
        names = []
        for remote in sorted(remotes):
            source = self._source_groups.get(remote)
            wanted = self.mapping.counterpart(
                Kind.SECURITY_GROUP, remote, source.name if source else None
            )
            if wanted is not None:
                names.append((remote, wanted))
        return CreateSecurityGroup(name=name, like=like, remote_names=tuple(names))

    @staticmethod
    def _rules(group: SecurityGroupDefinition) -> list[tuple[str, ...]]:
        """What the rules let through, without names of groups, which differ between sites."""
        return sorted(
            (
                rule.direction,
                rule.ethertype,
                str(rule.protocol),
                f"{rule.port_min}-{rule.port_max}",
                str(rule.remote_prefix),
                "group" if rule.remote_group else "",
            )
            for rule in group.rules
        )


def _words(specs: Dict[str, str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in sorted(specs.items())) or "none"
