"""The HTTP side of a compute host's agent: signed requests in, JSON out.

Only `/healthcheck` is open. Errors have the parts of `errors.IsthmusError` as JSON: what, where,
cause, unchanged. The answers are not signed: who can alter them on the way could alter the tunnels
as well.
"""

import importlib
import importlib.util
import logging
from typing import Any

import fastapi
from fastapi import responses

from isthmus import errors
from isthmus.agent.host import core, executing, pinging, plugging, underlay
from isthmus.agent.host.freezing import routes as freezing

log = logging.getLogger(__name__)

_HOLDING = "isthmus.agent.host.holding"


def build(agent: core.HostAgent) -> fastapi.FastAPI:
    """The application of one host agent."""
    app = fastapi.FastAPI(title="isthmus host agent", docs_url=None, redoc_url=None)
    app.add_exception_handler(errors.IsthmusError, _explained)
    app.add_api_route("/healthcheck", lambda: responses.PlainTextResponse("OK\n"))
    guard = [fastapi.Depends(_Guard(agent))]
    routers = (_facts(agent), _probes(agent), freezing.router(agent), _guests(agent))
    for router in (*routers, *_service_addresses(agent)):
        app.include_router(router, dependencies=guard)
    return app


class _Guard:
    """Lets signed requests for this agent pass, once."""

    def __init__(self, agent: core.HostAgent) -> None:
        self._agent = agent

    async def __call__(self, request: fastapi.Request) -> None:
        path = request.scope["raw_path"].decode("ascii", "replace")
        if query := request.scope["query_string"].decode("ascii", "replace"):
            path = f"{path}?{query}"
        body = await request.body()
        verdict = self._agent.gate.verify(request.method, path, body, request.headers)
        if not verdict.accepted:
            raise errors.PrivilegeError("the request is refused", cause=verdict.reason)
        request.state.sender = verdict.sender


def _facts(agent: core.HostAgent) -> fastapi.APIRouter:
    router = fastapi.APIRouter()
    router.add_api_route("/fdb", agent.fdb)
    router.add_api_route("/ports", agent.ports)
    router.add_api_route("/status", agent.status)
    return router


def _probes(agent: core.HostAgent) -> fastapi.APIRouter:
    router = fastapi.APIRouter()

    @router.get("/probes")
    def _all() -> dict[str, Any]:
        return {"probes": {name: _described(each) for name, each in agent.probes.all().items()}}

    @router.post("/probes")
    def _plug(spec: plugging.Spec) -> dict[str, Any]:
        return _described(agent.probes.plug(spec))

    @router.post("/probes/{probe_id}/ping")
    def _ping(probe_id: str, order: pinging.Order) -> dict[str, Any]:
        record = agent.probes.find(probe_id)
        inside = plugging.namespace(record.spec.id)
        return {"results": pinging.ping(order, namespace=inside)}

    @router.delete("/probes/{probe_id}")
    def _remove(probe_id: str) -> None:
        agent.probes.remove(agent.probes.find(probe_id).spec.id)

    @router.post("/underlay")
    def _underlay(question: underlay.Question) -> dict[str, Any]:
        return {"ways": underlay.look(question)}

    return router


def _guests(agent: core.HostAgent) -> fastapi.APIRouter:
    router = fastapi.APIRouter()

    @router.post("/guests/{domain}/exec")
    def _execute(domain: freezing.Name, order: executing.Order) -> dict[str, Any]:
        done = agent.commands.run(domain, order)
        return {**agent.stamp(), "exit": done.exit, "output": done.output}

    return router


def _described(record: plugging.Record) -> dict[str, Any]:
    spec = record.spec
    return {
        "id": spec.id,
        "port_id": spec.port_id,
        "ip": str(spec.ip),
        "namespace": plugging.namespace(spec.id),
        "interface": plugging.interface(spec.id),
        "expires_at": record.expires_at,
    }


def _service_addresses(agent: core.HostAgent) -> list[fastapi.APIRouter]:
    """The routes of the part that holds service addresses, where it is installed."""
    if importlib.util.find_spec(_HOLDING) is None:
        return []
    return [importlib.import_module(_HOLDING).router(agent)]


def _explained(request: fastapi.Request, error: Exception) -> responses.JSONResponse:
    parts: dict[str, Any] = {"what": str(error)}
    if isinstance(error, errors.IsthmusError):
        names = ("what", "where", "cause", "unchanged", "next_command")
        parts = {name: getattr(error, name) for name in names}
    log.warning("%s %s: %s", request.method, request.url.path, error)
    kinds = {
        errors.InputError: 400,
        errors.PrivilegeError: 401,
        errors.UsageError: 404,
        errors.BusyError: 409,
    }
    status = next((code for kind, code in kinds.items() if isinstance(error, kind)), 503)
    return responses.JSONResponse({"error": parts}, status_code=status)
