"""Two owners of one thing: found, named, never settled silently.

It exists because a clash between sites is nobody's error in either site, and only who sees both
Neutrons can tell. It decides nothing: the reconciler leaves out what clashes.
"""

from __future__ import annotations

from collections.abc import Mapping

from isthmus.network.declarations import StretchedNetwork
from isthmus.network.findings import Finding
from isthmus.network.views import SiteView


def find(
    declaration: StretchedNetwork, own: SiteView, peers: Mapping[str, SiteView]
) -> tuple[Finding, ...]:
    """All clashes that these views show, each with both owners and the remedy, in a stable order.

    IP and MAC (two origins, or an origin and a local port), VNI used by another network here, CIDR
    overlapping another subnet of the project (WARN), pools overlapping, equal host names in two
    sites (INFO: harmless here), equal base_mac (advice), quota headroom (advice).
    """
    raise NotImplementedError
