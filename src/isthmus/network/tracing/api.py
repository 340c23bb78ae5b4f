"""HTTP of tracing: for people `trace` and `verify`, for the engines of other sites what they need.

What an engine asks of another one is signed, as all calls among engines are, and is limited to
probes and to looks: none of it changes a port that a person made.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from typing import Annotated, Any, Literal

import fastapi
import pydantic

from isthmus import errors
from isthmus.network.tracing import documents, gathering, probes, verdicts, verifying, world
from isthmus.network.tracing.facts import Packet

LOG = logging.getLogger(__name__)

JANITOR_SECONDS = 60.0

_STRICT = pydantic.ConfigDict(extra="forbid", frozen=True)
_Name = Annotated[str, pydantic.Field(min_length=1, max_length=255)]
_Host = Annotated[str, pydantic.Field(pattern=r"^[A-Za-z0-9._-]{1,255}$")]
_Uuid = Annotated[str, pydantic.Field(pattern=r"^[0-9a-f-]{32,36}$")]
_Run = Annotated[str, pydantic.Field(pattern=r"^[0-9a-f]{16}$")]


class TraceRequest(pydantic.BaseModel):
    """Two ports (id, name, address, SITE:any of these), and the packet that is asked about."""

    model_config = _STRICT

    a: _Name
    b: _Name
    protocol: Literal["icmp", "tcp", "udp"] = "icmp"
    port: Annotated[int, pydantic.Field(ge=1, le=65535)] | None = None


class VerifyRequest(pydantic.BaseModel):
    """`quick`: one host of each site. `count`: packets of the measurement, per pair."""

    model_config = _STRICT

    quick: bool = False
    count: Annotated[int, pydantic.Field(ge=1, le=100)] = 5


class HostQuestion(pydantic.BaseModel):
    """What another engine wants to know of a host."""

    model_config = _STRICT

    host: _Host
    vni: Annotated[int, pydantic.Field(ge=1, le=(1 << 24) - 1)]
    to: Annotated[tuple[pydantic.IPvAnyAddress, ...], pydantic.Field(max_length=16)] = ()
    size: Annotated[int, pydantic.Field(ge=576, le=65535)]


class PlugOrder(pydantic.BaseModel):
    """As `probes.Order`."""

    model_config = _STRICT

    run: _Run
    network_id: _Uuid
    prefix: Annotated[int, pydantic.Field(ge=1, le=32)]
    mtu: Annotated[int, pydantic.Field(ge=68, le=65535)]
    seconds: Annotated[float, pydantic.Field(gt=0, le=3600)]
    one: bool = False


class PingOrder(pydantic.BaseModel):
    """A ping from a probe; the host's agent checks the order itself."""

    model_config = _STRICT

    host: _Host
    port_id: _Uuid
    order: dict[str, Any]


class RemoveOrder(pydantic.BaseModel):
    """Remove what a run has plugged here."""

    model_config = _STRICT

    run: _Run


def router(engine: world.Engine) -> fastapi.APIRouter:
    """The routes of one engine. It also starts the janitor that removes what died runs left."""
    _Janitor(engine).start()
    both = fastapi.APIRouter()
    both.include_router(_for_people(engine))
    both.include_router(_for_engines(engine))
    return both


def _for_people(engine: world.Engine) -> fastapi.APIRouter:
    routes, runs = fastapi.APIRouter(tags=["tracing"]), verifying.Runs()
    reader = [fastapi.Depends(engine.require_reader)]
    admin = [fastapi.Depends(engine.require_admin)]

    @routes.post("/v1/networks/{name}/trace", dependencies=reader)
    def trace(name: str, body: TraceRequest) -> dict[str, Any]:
        network = engine.store.network(name)
        packet = Packet(protocol=body.protocol, port=body.port)
        facts = gathering.gather(engine, network, body.a, body.b, packet)
        return documents.trace(facts, verdicts.trace(facts))

    @routes.post("/v1/networks/{name}/verify", status_code=202, dependencies=admin)
    def verify(name: str, body: VerifyRequest) -> dict[str, Any]:
        network = engine.store.network(name)
        run = verifying.Run(engine, network, quick=body.quick, count=body.count)
        runs.add(run)
        run.start()
        return run.document()

    @routes.get("/v1/networks/{name}/verify/{run_id}", dependencies=reader)
    def progress(name: str, run_id: str) -> dict[str, Any]:
        return runs.find(run_id).document()

    @routes.delete("/v1/networks/{name}/verify/{run_id}", dependencies=admin)
    def cancel(name: str, run_id: str) -> dict[str, Any]:
        run = runs.find(run_id)
        run.cancel()
        return run.document()

    return routes


def _for_engines(engine: world.Engine) -> fastapi.APIRouter:
    signed = [fastapi.Depends(engine.require_engine)]
    routes = fastapi.APIRouter(dependencies=signed, include_in_schema=False)

    @routes.post(gathering.HOST_PATH)
    def host(body: HostQuestion) -> dict[str, Any]:
        return gathering.tell_host(engine, body.model_dump(mode="json"))

    @routes.post(verifying.PLUG_PATH)
    def plug(body: PlugOrder) -> dict[str, Any]:
        plugged = probes.plug(engine, probes.Order(**body.model_dump()))
        return {"probes": [dataclasses.asdict(each) for each in plugged]}

    @routes.post(verifying.PING_PATH)
    def ping(body: PingOrder) -> dict[str, Any]:
        return {"results": probes.ping(engine, body.host, body.port_id, body.order)}

    @routes.post(verifying.REMOVE_PATH)
    def remove(body: RemoveOrder) -> dict[str, Any]:
        return {"left": probes.remove(engine, body.run)}

    return routes


class _Janitor(threading.Thread):
    """Removes the ports of probes whose time is over, every minute. Several at once do no harm."""

    def __init__(self, engine: world.Engine) -> None:
        super().__init__(name="janitor of probes", daemon=True)
        self._engine = engine

    def run(self) -> None:
        while self._engine.hosts.names:  # A witness has neither hosts nor a Neutron.
            time.sleep(JANITOR_SECONDS)
            self._tidy()

    def _tidy(self) -> None:
        try:
            for line in probes.remove_expired(self._engine, time.time()):
                LOG.warning("a probe that is over stays for now: %s", line)
        except errors.IsthmusError as error:
            LOG.debug("probes that are over cannot be looked for: %s", error)
        except Exception:
            # A thread that died would leave litter without a word.
            LOG.exception("the janitor of probes failed; it goes on")
