"""What may be made in a target site before the disaster, because it can harm nobody there.

A network without a router, a security group that no port uses, a keypair, a flavor and an empty
server group stand for themselves. What needs a backend (volume types, zones) or a decision about money
(quotas) is the operator's.
"""

from __future__ import annotations

import dataclasses

from isthmus.recovery.metadata.definitions import (
    FlavorDefinition,
    KeypairDefinition,
    NetworkDefinition,
    SecurityGroupDefinition,
    ServerGroupDefinition,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CreateFlavor:
    """`name` is what it is to be called in the target; so in all of these."""

    name: str
    like: FlavorDefinition


@dataclasses.dataclass(frozen=True, kw_only=True)
class CreateKeypair:
    name: str
    like: KeypairDefinition


@dataclasses.dataclass(frozen=True, kw_only=True)
class CreateSecurityGroup:
    """With all rules; those that name another group wait until that exists (`remote_names` gives its
    name in the target by the source's ID)."""

    name: str
    like: SecurityGroupDefinition
    remote_names: tuple[tuple[str, str], ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class CreateServerGroup:
    name: str
    like: ServerGroupDefinition


@dataclasses.dataclass(frozen=True, kw_only=True)
class CreateNetwork:
    """With its subnets; no router, no gateway to anywhere."""

    name: str
    like: NetworkDefinition


Creation = CreateFlavor | CreateKeypair | CreateSecurityGroup | CreateServerGroup | CreateNetwork
