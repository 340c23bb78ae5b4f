"""The Neutron of one site, over plain REST: looks and carries out actions.

It exists so that vendor exceptions and wire formats end here, and so that one look costs few
requests: only the fields that matter, only the networks that matter. It decides nothing. It is used
with the own site for writing and with all sites for reading.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from isthmus.network.actions import Action
from isthmus.network.declarations import StretchedNetwork
from isthmus.network.findings import Finding
from isthmus.network.views import Network, Origin, SiteView


class Result(enum.StrEnum):
    """How an action ended."""

    DONE = "done"
    CLASH = "clash"  # Neutron refused: somebody else has the address, the MAC or the VNI
    QUOTA = "quota"
    REFUSED = "refused"  # any other answer of 4xx
    FAILED = "failed"  # no answer, or 5xx: not known whether it was done; the next plan will tell
    SKIPPED = "skipped"  # an action that it builds on was not done


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one action; `finding` says why when it was not done."""

    action: Action
    result: Result
    object_id: str | None = None
    finding: Finding | None = None


class Neutron:
    """One site's Neutron.

    `session`: a keystoneauth1 session with an admin of the service project. `region`: as in the
    catalog, which is also the name of the site. `connect_seconds` and `read_seconds`: timeouts of
    every request. Methods raise UnavailableError when the site cannot be asked, except `view` and
    `refresh`, which return a view with `error`, and `apply`, which returns outcomes.
    """

    def __init__(
        self,
        session: Any,
        region: str,
        *,
        connect_seconds: float = 2.0,
        read_seconds: float = 30.0,
    ) -> None:
        self.region = region

    def offered(self) -> bool:
        """Whether the catalog has an (internal) network endpoint for this region; a site without
        one is a witness. Raises UnavailableError when there is no token to be had."""
        raise NotImplementedError

    def tagged(self) -> tuple[Network, ...]:
        """All networks here with our tag, whatever their declaration."""
        raise NotImplementedError

    def view(
        self, declaration: StretchedNetwork, port_ids: Collection[str] | None = None
    ) -> SiteView:
        """A look at all that belongs to a declaration; with `port_ids`, only at these real ports
        (or the remote ports for them)."""
        raise NotImplementedError

    def refresh(
        self, view: SiteView, declaration: StretchedNetwork, origins: Iterable[Origin]
    ) -> SiteView:
        """A quick look (one request) at what changed since `view`, narrowed to these origins: those
        of this site as real ports, those of other sites as remote ports."""
        raise NotImplementedError

    def apply(self, declaration: StretchedNetwork, actions: Sequence[Action]) -> list[Outcome]:
        """Carry out the actions in order, creations of ports in bulk; one outcome per action.

        Nothing is raised because an action failed. What is already done counts as done.
        """
        raise NotImplementedError
