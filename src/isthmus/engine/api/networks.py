"""`/v1/networks`: stretched networks for people's tools.

A change is answered when it is written; what it leads to in the sites is asked for with `sync`, or
seen in the network's document. Declarations are the same whoever is asked; the state of each site is
what that site's own engine says, with its age.
"""

from __future__ import annotations

import functools
import time
import uuid
from typing import Any

import fastapi
import pydantic

from isthmus.engine import changing, gathering, projects
from isthmus.engine.core import Engine
from isthmus.engine.rights import Caller
from isthmus.network import declarations
from isthmus.network.partition import Policy

LONGEST_SYNC_SECONDS = 600.0


class _Body(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", str_max_length=255)


Range = tuple[str, str]


class NewNetwork(_Body):
    """What POST /v1/networks takes; what is left out is chosen."""

    id: uuid.UUID | None = None
    """Made up by the caller, so that the same request may be made again if its answer was lost."""
    name: str
    cidr: str
    sites: list[str] = pydantic.Field(min_length=1, max_length=64)
    project: str | None = None
    """Name or id; the caller's own project if left out."""
    vni: int | None = None
    pools: dict[str, list[Range]] = {}
    gateway: declarations.Gateway = declarations.Gateway.NONE
    gateways: dict[str, str] = {}
    dhcp: declarations.Dhcp = declarations.Dhcp.NONE
    mtu: int | None = None
    partition: Policy = Policy.KEEP
    partition_after_seconds: float = 300.0


class Changes(_Body):
    """What PATCH /v1/networks/{name} takes; what is left out stays."""

    name: str | None = None
    dhcp: declarations.Dhcp | None = None
    mtu: int | None = None
    partition: Policy | None = None
    partition_after_seconds: float | None = None


class NewSite(_Body):
    """What POST /v1/networks/{name}/sites takes."""

    site: str
    pool: list[Range] | None = None
    gateway: str | None = None


class Sync(_Body):
    """What POST /v1/networks/{name}/sync takes."""

    timeout: float = pydantic.Field(default=30.0, gt=0, le=LONGEST_SYNC_SECONDS)


Document = dict[str, Any]


def router(engine: Engine) -> fastapi.APIRouter:
    """The routes; reading needs `reader` or `admin`, everything else `admin`."""
    routes = fastapi.APIRouter(prefix="/v1/networks", tags=["stretched networks"])
    admin, reader = fastapi.Depends(engine.require_admin), fastapi.Depends(engine.require_reader)

    @routes.get("")
    def list_networks(caller: Caller = reader) -> Document:
        """All declared networks with the state of each site, as last heard."""
        return {"networks": gathering.listed(engine, now=time.time())}

    @routes.post("", status_code=201)
    def create_network(body: NewNetwork, caller: Caller = admin) -> Document:
        """Declare a network."""
        request, identity = _request(engine, body, caller), str(body.id) if body.id else None
        network = changing.create(engine, request, caller, identity=identity)
        return {"network": network.to_document()}

    @routes.get("/{name}")
    def show_network(name: str, caller: Caller = reader) -> Document:
        """A network, and what each site's engine says of it now."""
        return gathering.shown(engine, engine.store.network(name), now=time.time())

    @routes.patch("/{name}")
    def change_network(name: str, body: Changes, caller: Caller = admin) -> Document:
        """Change what can be changed."""
        changes = declarations.Changes(**body.model_dump())
        return {"network": changing.modify(engine, name, changes, caller).to_document()}

    @routes.delete("/{name}", status_code=202)
    def delete_network(name: str, caller: Caller = admin) -> Document:
        """Have it taken away in all sites; it is listed until every site has."""
        return {"network": changing.delete(engine, name, caller).to_document()}

    @routes.post("/{name}/sites")
    def attach_site(name: str, body: NewSite, caller: Caller = admin) -> Document:
        """Stretch it to one more site."""
        network = changing.attach(
            engine,
            name,
            body.site,
            caller,
            pool=tuple(body.pool) if body.pool else None,
            gateway=body.gateway,
        )
        return {"network": network.to_document()}

    @routes.delete("/{name}/sites/{site}")
    def detach_site(name: str, site: str, caller: Caller = admin) -> Document:
        """Take it out of a site."""
        return {"network": changing.detach(engine, name, site, caller).to_document()}

    @routes.post("/{name}/sync")
    def sync_network(name: str, body: Sync | None = None, caller: Caller = admin) -> Document:
        """Have all sites compare everything now, and wait until they have."""
        network = engine.store.network(name)
        return gathering.synced(engine, network, timeout=(body or Sync()).timeout)

    @routes.get("/{name}/events")
    def network_events(name: str, caller: Caller = reader) -> Document:
        """What people did to the network, newest first."""
        found = engine.store.events("network", engine.store.network(name).id)
        return {"events": [gathering.event_document(each) for each in found]}

    return routes


def _request(engine: Engine, body: NewNetwork, caller: Caller) -> declarations.Request:
    resolve = functools.partial(projects.identity, engine.session, engine.site)
    project = resolve(body.project) if body.project else caller.project_id
    return declarations.Request(
        name=body.name,
        project_id=project or "",
        cidr=body.cidr,
        sites=tuple(body.sites),
        vni=body.vni,
        pools={site: tuple(ranges) for site, ranges in body.pools.items()},
        gateway=body.gateway,
        gateways=body.gateways,
        dhcp=body.dhcp,
        mtu=body.mtu,
        partition=body.partition,
        partition_after_seconds=body.partition_after_seconds,
    )
