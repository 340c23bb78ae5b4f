"""Findings on stretched networks: what is not as it should be, whose it is, and what to do.

It exists so that the reconciler, the clashes and the faces share one shape. It judges nothing
itself. A finding is no error: the rest of the plan goes on.
"""

from __future__ import annotations

import dataclasses
import enum

from isthmus.outcomes import Outcome


class Code(enum.StrEnum):
    """What kind of finding; stable, for scripts and documentation."""

    IP_CLASH = "ip-clash"
    MAC_CLASH = "mac-clash"
    VNI_CLASH = "vni-clash"
    VTEP_CLASH = "vtep-clash"
    CIDR_DIFFERS = "cidr-differs"
    CIDR_OVERLAP = "cidr-overlap"
    POOLS_OVERLAP = "pools-overlap"
    SAME_HOST_NAME = "same-host-name"
    SAME_BASE_MAC = "same-base-mac"
    QUOTA = "quota"
    NOT_BOUND = "remote-port-not-bound"
    GROUP_MISSING = "security-group-missing"
    GROUP_AMBIGUOUS = "security-group-ambiguous"
    ADDRESS_OUTSIDE = "address-outside"
    DHCP_PER_SITE = "dhcp-per-site"
    SITE_SILENT = "site-silent"
    SITE_STALE = "site-stale"
    SITE_PURGED = "site-purged"
    PURGE_HELD = "purge-held"
    SITE_LOST = "site-lost"
    FOREIGN_PORTS = "foreign-ports"
    FOREIGN_OBJECT = "foreign-object"
    REFUSED = "refused"
    ORPHAN = "orphan"
    HOST_SILENT = "host-silent"
    FORWARDING_REPAIRED = "forwarding-repaired"
    FORWARDING_DIFFERS = "forwarding-differs"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """Something that is not as it should be, why, and what to do.

    `network` is the name of the stretched network, `site` the site whose Neutron it is about (None:
    no single one). `owners` names every party to a clash, site first (`paris: port web-1 (4f…)`).
    """

    code: Code
    outcome: Outcome
    network: str
    site: str | None
    summary: str
    cause: str
    remedy: str
    owners: tuple[str, ...] = ()

    def names(self, port_id: str) -> bool:
        """Whether the port is a party to it."""
        return any(port_id in owner for owner in self.owners)

    @property
    def key(self) -> tuple[str, ...]:
        """Equal for the same trouble seen twice, so that a face can say since when it stands."""
        return (self.code, self.network, self.site or "", *self.owners, self.summary)
