"""`/v1/sites`: what an operator says about sites, and what follows from it."""

from __future__ import annotations

import time
from typing import Any

import fastapi

from isthmus import errors
from isthmus.engine import changing
from isthmus.engine.core import Engine
from isthmus.engine.rights import Caller

Document = dict[str, Any]


def router(engine: Engine) -> fastapi.APIRouter:
    """The routes; reading needs `reader` or `admin`, everything else `admin`."""
    routes = fastapi.APIRouter(prefix="/v1/sites", tags=["sites"])
    admin, reader = fastapi.Depends(engine.require_admin), fastapi.Depends(engine.require_reader)

    @routes.get("")
    def list_sites(caller: Caller = reader) -> Document:
        """All sites of the cloud, as this engine knows them."""
        return {"sites": [_document(engine, site) for site in engine.sites]}

    @routes.get("/{site}")
    def show_site(site: str, caller: Caller = reader) -> Document:
        """One site, and what would be withdrawn here if it were declared lost."""
        if site not in engine.sites:
            raise errors.UsageError(
                f"there is no site {site!r}", cause=f"the sites are: {', '.join(engine.sites)}"
            )
        return {**_document(engine, site), "ports": _ports_of(engine, site)}

    @routes.post("/{site}/lost")
    def site_lost(site: str, caller: Caller = admin) -> Document:
        """Declare a site lost: its ports are withdrawn in all other sites at once."""
        return _declared(engine, site, caller, lost=True)

    @routes.post("/{site}/returned")
    def site_returned(site: str, caller: Caller = admin) -> Document:
        """Take that back: the site is looked at again and its ports return."""
        return _declared(engine, site, caller, lost=False)

    return routes


def _declared(engine: Engine, site: str, caller: Caller, *, lost: bool) -> Document:
    withdrawn = _ports_of(engine, site)
    changed = changing.declare_lost(engine, site, caller, lost=lost)
    return {
        **_document(engine, site),
        "changed": changed,
        "ports": withdrawn,
        "lost_sites": sorted(engine.lost_sites),
    }


def _document(engine: Engine, site: str) -> Document:
    heard = engine.neighbours.heard.get(site)
    now = time.monotonic()
    return {
        "site": site,
        "own": site == engine.site,
        "neutron": site in engine.neutron_sites,
        "lost": site in engine.lost_sites,
        "heard": heard is None or heard.lately(now),
        "heard_seconds_ago": 0.0 if heard is None else heard.age(now),
        "error": heard.error if heard else None,
    }


def _ports_of(engine: Engine, site: str) -> dict[str, int]:
    """How many remote ports stand here for ports of the site, by network."""
    counts = {}
    for keeper in engine.keepers.values():
        held = [p for p in keeper.report.remote_ports if p.origin and p.origin.site == site]
        counts[keeper.declaration.name] = len(held)
    return {name: count for name, count in sorted(counts.items()) if count}
