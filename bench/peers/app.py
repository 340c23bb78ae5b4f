"""Requests by address: which simulated site is meant, and which of its APIs.

Each site has an address of its own; the first path segment says the API (`/v2.0` Neutron, `/v1` the engine). One more address
is the front: the Keystone with the longer catalog (`/v3`), and `/control` for the program that measures, with signed requests.
All state is touched by the event loop's thread only.
"""

import asyncio
import json
import time
import urllib.parse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio.to_thread
import fastapi
import pydantic
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from bench.peers.catalogs import Catalog
from bench.peers.engines import Engines
from bench.peers.generating import Cloud, Place, Site
from bench.peers.neutrons import Answer, Neutrons
from isthmus.engine import calling, config, poking
from isthmus.errors import IsthmusError
from isthmus.sites import signing

NAME = "bench/peers"
"""How requests to `/control` are addressed."""
_METHODS = ["GET", "POST", "PUT", "DELETE", "HEAD", "PATCH"]
_POKE_SECONDS = 10.0


class SiteSettings(pydantic.BaseModel, extra="forbid", frozen=True):
    """One simulated site."""

    number: int
    address: str
    vteps: tuple[str, ...]


class Settings(pydantic.BaseModel, extra="forbid", frozen=True):
    """The file of the process. `pokes`: URLs of the real engines that are poked, by site."""

    seed: int
    port: int
    front: str
    sites: Mapping[str, SiteSettings]
    keystone: str
    secret_file: Path
    pokes: Mapping[str, str] = {}
    largest_page: int | None = None

    def url(self, site: str) -> str:
        """Where a simulated site answers, its Neutron and its engine."""
        return f"http://{self.sites[site].address}:{self.port}"

    @property
    def listen(self) -> tuple[config.Address, ...]:
        addresses = [self.front, *(site.address for site in self.sites.values())]
        return tuple(config.Address(host=each, port=self.port) for each in addresses)


class Peers:
    """All simulated sites behind their addresses."""

    def __init__(self, settings: Settings) -> None:
        secret = signing.load_secret(settings.secret_file)
        self.settings = settings
        self.cloud = Cloud(
            settings.seed,
            [
                Place(name=name, number=s.number, vteps=s.vteps)
                for name, s in settings.sites.items()
            ],
        )
        self._by_address = {s.address: self.cloud.sites[name] for name, s in settings.sites.items()}
        self._neutrons = Neutrons(self.cloud, settings.largest_page)
        self._engines = Engines(self.cloud, secret)
        self._gate = signing.Gate(secret, NAME)
        self._catalog = Catalog(
            settings.keystone, {name: settings.url(name) for name in settings.sites}
        )
        self._callers = {
            name: calling.engines(settings.pokes, secret, name) for name in settings.sites
        }
        self._requests: dict[str, int] = {}
        self._bytes = 0

    def app(self) -> fastapi.FastAPI:
        """The application; it tells sites from each other by the address that was called."""
        routes: list[BaseRoute] = [Route("/{path:path}", self._serve, methods=_METHODS)]
        return fastapi.FastAPI(routes=routes, openapi_url=None)

    async def _serve(self, request: Request) -> Response:
        body = await request.body()
        address = str((request.scope.get("server") or ("", 0))[0])
        site = self._by_address.get(address)
        path = request.url.path
        if path == "/healthcheck":
            return Response("OK\n")
        if site is not None:
            return self._site(site, request, body)
        if path.startswith("/v3"):
            return await self._identity(request, body)
        if path.startswith("/control/"):
            return await self._control(request, body)
        return Response(status_code=404)

    def _site(self, site: Site, request: Request, body: bytes) -> Response:
        path = request.url.path
        api = path.split("/")[1]
        self._requests[api] = self._requests.get(api, 0) + 1
        if api == "v2.0":
            answer = self._neutron(site, request)
        elif api == "v1":
            answer = self._engines.answer(
                site, request.method, _on_the_wire(request), body, request.headers
            )
        else:
            return Response(status_code=404)
        self._bytes += len(answer.body)
        return Response(answer.body, status_code=answer.status, media_type="application/json")

    def _neutron(self, site: Site, request: Request) -> Answer:
        if not request.headers.get("X-Auth-Token"):
            return Answer(
                status=401, body=b'{"error": {"message": "The request requires a token."}}'
            )
        query = urllib.parse.parse_qsl(request.url.query, keep_blank_values=True)
        return self._neutrons.answer(
            site, request.method, request.url.path.removeprefix("/v2.0/"), query
        )

    async def _identity(self, request: Request, body: bytes) -> Response:
        own = f"http://{self.settings.front}:{self.settings.port}/v3"
        path = _on_the_wire(request).removeprefix("/v3")
        passed = await anyio.to_thread.run_sync(
            self._catalog.passed, request.method, path, body, request.headers, own
        )
        return Response(passed.body, status_code=passed.status, headers=dict(passed.headers))

    async def _control(self, request: Request, body: bytes) -> Response:
        verdict = self._gate.verify(request.method, _on_the_wire(request), body, request.headers)
        if not verdict.accepted:
            return Response(verdict.reason, status_code=401)
        given = json.loads(body) if body else {}
        done = await self._told(request.url.path.removeprefix("/control/"), given)
        return Response(json.dumps(done), media_type="application/json")

    async def _told(self, word: str, given: Mapping[str, Any]) -> Any:
        """What the measuring program says or asks."""
        match word:
            case "hold":
                self.cloud.hold(given["declaration"], given["ports"])
            case "mirror":
                self.cloud.mirror(given["wanted"])
            case "forget":
                self.cloud.forget(given["network"])
            case "churn":
                touched = self.cloud.churn(given["network"], given["count"])
                now = time.time()
                told = {
                    site: poking.Content(ports={given["network"]: dict.fromkeys(ports, now)})
                    for site, ports in touched.items()
                }
                return {"touched": touched, "refused": await self._poke(told)}
            case "poke":
                whole = poking.Content(whole=frozenset({given["network"]}))
                return {"refused": await self._poke(dict.fromkeys(given["sites"], whole))}
            case "expected":
                return self.cloud.expected(given["network"])
            case "ports":
                return self.cloud.ports(given["network"])
            case "state":
                return {
                    "requests": self._requests,
                    "bytes": self._bytes,
                    "pokes": self._engines.pokes,
                }
            case _:
                raise ValueError(f"no such word: {word}")
        return {}

    async def _poke(self, told: Mapping[str, poking.Content]) -> list[str]:
        """Poke the real engines as these sites; who could not be told, with the reason."""
        calls = [
            anyio.to_thread.run_sync(self._deliver, site, to, content)
            for site, content in told.items()
            for to in self.settings.pokes
        ]
        return [each for each in await asyncio.gather(*calls) if each]

    def _deliver(self, site: str, to: str, content: poking.Content) -> str | None:
        try:
            self._callers[site].post(to, "/v1/poke", content.document(), _POKE_SECONDS)
        except IsthmusError as error:
            return f"{site} to {to}: {error}"
        return None


def _on_the_wire(request: Request) -> str:
    path = request.scope["raw_path"].decode("ascii", "replace")
    query = request.scope["query_string"].decode("ascii", "replace")
    return f"{path}?{query}" if query else path
