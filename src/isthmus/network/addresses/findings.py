"""Findings on service addresses: what is not as it should be, where, and what to do."""

from __future__ import annotations

import dataclasses
import enum
from typing import Any

from isthmus.outcomes import Outcome


class Code(enum.StrEnum):
    """What kind of finding; stable, for scripts and documentation."""

    NO_MAJORITY = "no-majority"  # too few voters answer: nobody may hold the address
    VOTER_SILENT = "voter-silent"
    NOT_HELD = "not-held"
    GATEWAY = "gateway-not-ready"
    TARGET_UNHEALTHY = "target-unhealthy"
    ONE_SITE = "one-site-able"  # no site could take over
    ADDRESS_TAKEN = "address-taken"  # a port of Neutron has the address as a fixed one
    NOT_RESERVED = "not-reserved"
    NETWORK_MISSING = "network-missing"
    TARGET_MISSING = "target-missing"
    PAIR_MISSING = "address-pair-missing"
    VRRP_BLOCKED = "vrrp-blocked"
    REFUSED = "refused"  # Neutron refuses what would put it right
    SITE_SILENT = "site-silent"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """Something that is not as it should be, why, and what to do. `site`: where, None: everywhere."""

    code: Code
    outcome: Outcome
    address: str
    site: str | None
    summary: str
    cause: str
    remedy: str

    def document(self) -> dict[str, Any]:
        """For the API."""
        return {
            name: str(value) if isinstance(value, enum.Enum) else value
            for name, value in dataclasses.asdict(self).items()
        }
