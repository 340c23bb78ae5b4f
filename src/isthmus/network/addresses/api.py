"""`/v1/addresses` for people's tools, `/v1/votes` for the engines of other sites.

A declaration is written once and answered when it is written. A move is done by the engine of the
site that the address moves to; any engine passes the wish on. What is shown is asked of all sites at
once, so that each word is the voter's own and as old as the answer.
"""

from __future__ import annotations

import dataclasses
import functools
import uuid
from typing import Any

import fastapi
import pydantic

from isthmus import errors
from isthmus.network.addresses import declarations, recording, service, showing
from isthmus.network.addresses.declarations import Kind, ServiceAddress
from isthmus.network.addresses.lease import Heir
from isthmus.network.addresses.links import Exchange
from isthmus.network.addresses.showing import Told
from isthmus.sites import fanout

TOLD_SECONDS = 2.0
"""How long another site's engine may take to tell what it knows."""
MOVE_SECONDS = 13.0
"""How long another site's engine may take to get an address."""

Document = dict[str, Any]


class _Body(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", str_max_length=255)


class NewAddress(_Body):
    """What POST /v1/addresses takes. `targets`: addresses by site; `check`: tcp:PORT, icmp, none."""

    address: str
    kind: Kind
    network: str
    targets: dict[str, list[str]]
    name: str | None = None
    prefix: int = pydantic.Field(default=24, ge=1, le=32)
    next_hop: str | None = None
    check: str = "none"
    check_interval: float = pydantic.Field(default=0.5, ge=0.1, le=60)
    check_timeout: float = pydantic.Field(default=0.5, ge=0.05, le=60)
    fall: int = pydantic.Field(default=3, ge=1, le=100)
    rise: int = pydantic.Field(default=2, ge=1, le=100)
    automatic: bool = True
    prefer: str | None = None
    fail_back: float | None = None
    hosts: dict[str, str] = {}


class Move(_Body):
    """What POST /v1/addresses/{name}/move takes. `force`: though the target there is unhealthy."""

    to: str
    force: bool = False


class Wish(_Body):
    """One engine asks another to get an address."""

    address: str
    by: str = "policy"
    why: str
    force: bool = False


class Give(_Body):
    """One engine asks another to pass a lease on."""

    address: str
    claim: str = pydantic.Field(min_length=1)
    owner: str


class Question(_Body):
    """One engine asks another what it knows of some addresses, by id."""

    addresses: list[str] = pydantic.Field(max_length=10000)


def router(engine: Any) -> fastapi.APIRouter:
    """All routes of service addresses."""
    routes = fastapi.APIRouter()
    routes.include_router(_people(engine))
    routes.include_router(_engines(engine))
    return routes


def _people(engine: Any) -> fastapi.APIRouter:
    routes = fastapi.APIRouter(prefix="/v1/addresses", tags=["service addresses"])
    admin, reader = fastapi.Depends(engine.require_admin), fastapi.Depends(engine.require_reader)

    @routes.get("")
    def list_addresses(caller: Any = reader) -> Document:
        """All service addresses and who holds them."""
        return {"addresses": _shown(engine, service.of(engine).declared())}

    @routes.post("", status_code=201)
    def create_address(body: NewAddress, caller: Any = admin) -> Document:
        """Declare a service address."""
        return {"address": _create(engine, body, caller.user).to_document()}

    @routes.get("/{name}")
    def show_address(name: str, caller: Any = reader) -> Document:
        """An address, each voter's word, each site's health, and what is wrong."""
        return {"address": _shown(engine, (service.of(engine).find(name),))[0]}

    @routes.delete("/{name}", status_code=202)
    def delete_address(name: str, caller: Any = admin) -> Document:
        """Have it given up and taken away in all sites; it is listed until every site has."""
        found = service.of(engine).find(name)
        if not found.deleting:
            gone = dataclasses.replace(found, deleting=True, revision=found.revision + 1)
            _put(engine, gone)
            _record(engine, gone, "deleted", caller.user)
            found = gone
        return {"address": found.to_document()}

    @routes.post("/{name}/move")
    def move_address(name: str, body: Move, caller: Any = admin) -> Document:
        """Move it to a site and answer when it is answered there."""
        return {"event": _move(engine, service.of(engine).find(name), body, caller.user)}

    @routes.get("/{name}/history")
    def history(name: str, caller: Any = reader, limit: int = 50) -> Document:
        """Who moved it, when, from where, to where, why; newest first."""
        return {"events": _history(engine, service.of(engine).find(name), limit)}

    return routes


def _engines(engine: Any) -> fastapi.APIRouter:
    routes = fastapi.APIRouter(prefix="/v1/votes", include_in_schema=False)
    peer = fastapi.Depends(engine.require_engine)

    @routes.post("")
    def exchange(body: Exchange, site: str = peer) -> Exchange:
        return service.of(engine).exchange(site, body)

    @routes.post("/give")
    def give(body: Give, site: str = peer) -> Document:
        if not body.owner.startswith(f"{site}/"):
            raise errors.PrivilegeError(f"{body.owner} is not in {site}")
        given = service.of(engine).give(body.address, Heir(claim=body.claim, owner=body.owner))
        return {"epoch": given.epoch, "remaining": given.remaining}

    @routes.post("/move")
    def move(body: Wish, site: str = peer) -> Document:
        known = service.of(engine)
        found = known.find(body.address)
        return known.move(found, by=body.by, why=body.why, force=body.force)

    @routes.post("/offer", status_code=202)
    def offer(body: Wish, site: str = peer) -> None:
        service.of(engine).offered(body.address, body.why)

    @routes.post("/told")
    def told(body: Question, site: str = peer) -> Document:
        words = {each: dataclasses.asdict(_own_word(engine, each)) for each in body.addresses}
        return {"words": words}

    return routes


def _create(engine: Any, body: NewAddress, user: str) -> ServiceAddress:
    known = service.of(engine)
    check = dataclasses.replace(
        declarations.parse_check(body.check),
        interval=body.check_interval,
        timeout=body.check_timeout,
        fall=body.fall,
        rise=body.rise,
    )
    document = body.model_dump(mode="json", exclude={"check"}) | {
        "id": str(uuid.uuid4()),
        "name": body.name or body.address,
        "check": dataclasses.asdict(check),
        "revision": 1,
    }
    request = ServiceAddress.from_document(document)
    sites = tuple(sorted(engine.neutron_sites)) or tuple(engine.config.sites)
    declared = declarations.declare(request, known.declared(), sites)
    _put(engine, declared)
    _record(engine, declared, "declared", user)
    return declared


def _put(engine: Any, address: ServiceAddress) -> None:
    engine.store.put_address(address.to_document())
    engine.declared()
    service.of(engine).preparer.wake()


def _record(engine: Any, address: ServiceAddress, kind: str, user: str) -> None:
    service.of(engine).record(address, {"kind": kind, "by": user, "why": "by command"})


def _move(engine: Any, address: ServiceAddress, body: Move, user: str) -> Document:
    known = service.of(engine)
    if address.kind is not Kind.MOVED:
        raise errors.UsageError(
            f"{address.name} is moved by the network function itself",
            cause="its kind is vrrp",
            next_command="lower the priority of the master's VRRP instance, or stop it",
        )
    if body.to not in address.targets:
        raise errors.UsageError(
            f"{address.name} cannot be in {body.to}",
            cause=f"its targets are in {', '.join(address.sites)}",
        )
    why = "by command"
    if body.to == engine.site:
        return known.move(address, by=user, why=why, force=body.force)
    wish = {"address": address.id, "by": user, "why": why, "force": body.force}
    answer: Document = engine.peers.call("POST", body.to, "/v1/votes/move", wish, MOVE_SECONDS)
    return answer


def _history(engine: Any, address: ServiceAddress, limit: int) -> list[Document]:
    """What the table has, and what this engine has not written into it yet."""
    waiting = [
        {**each["document"], "id": each["id"], "written": False}
        for each in service.of(engine).recorder.waiting
        if each["address"] == address.id
    ]
    ids = {each["id"] for each in waiting}
    stored = engine.store.events(recording.SUBJECT, address.id, limit=max(1, min(limit, 1000)))
    written = [
        {**each.document, "id": each.id, "written": True, "site": each.site, "at": _when(each)}
        for each in stored
        if each.id not in ids
    ]
    return sorted([*waiting, *written], key=lambda each: str(each.get("at")), reverse=True)[:limit]


def _when(event: Any) -> str:
    return str(event.document.get("at") or event.at.isoformat(timespec="milliseconds"))


def _shown(engine: Any, addresses: tuple[ServiceAddress, ...]) -> list[Document]:
    """The documents of addresses; every other site is asked once, all at the same time."""
    ids = [address.id for address in addresses]
    questions = {
        site: functools.partial(_asked, engine, site, ids) for site in engine.peers.names if ids
    }
    answers = fanout.ask_all(questions, timeout=TOLD_SECONDS, grace=0.5)
    found = []
    for address in addresses:
        told = {engine.site: _own_word(engine, address.id)}
        for site, answer in answers.items():
            silent = Told(site=site, error=answer.error or "it does not tell")
            told[site] = (answer.value or {}).get(address.id, silent)
        ordered = {site: told[site] for site in sorted(told)}
        found.append(showing.document(address, ordered))
    return found


def _asked(engine: Any, site: str, ids: list[str]) -> dict[str, Told]:
    answer = engine.peers.call("POST", site, "/v1/votes/told", {"addresses": ids}, TOLD_SECONDS)
    names = {field.name for field in dataclasses.fields(Told)}
    try:
        return {
            address: Told(**{name: value for name, value in word.items() if name in names})
            for address, word in answer["words"].items()
        }
    except (TypeError, KeyError, AttributeError) as error:
        raise errors.InputError("the answer has not the promised shape", where=site) from error


def _own_word(engine: Any, address: str) -> Told:
    known = service.of(engine)
    word = known.voter.know(address)
    found = tuple(each.document() for each in known.findings(address))
    told = Told(
        site=engine.site,
        owner=word.owner,
        remaining=word.remaining,
        epoch=word.epoch,
        findings=found,
    )
    steward = known.steward(address)
    if steward is None:
        return told
    standing = steward.standing()
    return dataclasses.replace(
        told,
        place=standing.place,
        ready=standing.ready,
        health=str(standing.health),
        reason=standing.reason,
        phase=str(steward.claimant.phase),
        decision=steward.decision.reason,
        trouble=steward.trouble,
    )
