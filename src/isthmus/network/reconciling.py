"""What to do in the own site so that it holds what the declaration and the other sites say.

It exists as one pure function, so that events, the periodic run and a person's `sync` all do the
same thing, from whatever state a crash left behind. It is level-triggered (ovn-ic's
`port_binding_run` is the model): it compares what is with what should be, removal included, and does
not ask how it came about. It does no I/O and writes nothing in other sites.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from isthmus.network import partition
from isthmus.network.actions import Action
from isthmus.network.declarations import StretchedNetwork
from isthmus.network.findings import Finding
from isthmus.network.views import SiteView


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What to do, in this order, and what to tell."""

    actions: tuple[Action, ...] = ()
    findings: tuple[Finding, ...] = ()
    stale: frozenset[str] = frozenset()
    """Sites whose ports are kept though they have been silent longer than the policy allows."""

    @property
    def empty(self) -> bool:
        return not self.actions


def plan(
    declaration: StretchedNetwork,
    own: SiteView,
    peers: Mapping[str, SiteView],
    lost: frozenset[str],
    now: float,
    *,
    hearing: partition.Hearing | None = None,
) -> Plan:
    """What to do in the site `own.site` for one declaration.

    `peers`: the other sites by name; one that is declared but missing here counts as silent. `lost`:
    sites that an operator gave up. `now`: seconds since 1970 by the same clock as `seen_at`.
    `hearing`: which engines are heard; None forbids every purge.

    A view with `only` (own or peer) narrows the plan to these ports: nothing else is touched.

    Invariants:
    - no action names an object without our mark;
    - a site that was not seen causes no deletion, except by `lost`, by a detach, or by a purge that
      `isthmus.network.partition` allows;
    - a plan that was carried out is followed by an empty plan while the views stay;
    - a clash keeps only its own port from being made, never the rest.
    """
    raise NotImplementedError


def finished(declaration: StretchedNetwork, sites: Mapping[str, SiteView]) -> bool:
    """Whether a declaration being deleted can be forgotten: every given site was seen whole and
    holds nothing of it. `sites` must hold every site with a Neutron, detached ones included."""
    raise NotImplementedError
