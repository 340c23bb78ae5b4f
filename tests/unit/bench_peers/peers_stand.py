"""The real engine of one site between a Neutron on the loopback and simulated peers, all over HTTP."""

import contextlib
import http.server
import json
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import engine_bench
from bench.peers.app import NAME, Peers, Settings, SiteSettings
from engine_bench import PROJECT, SECRET, MemoryStore, Writer
from loopback_neutron import LoopbackNeutron

import conditions
from isthmus.engine import calling
from isthmus.engine.api import app
from isthmus.engine.config import Address
from isthmus.engine.core import Engine
from isthmus.engine.serving import Server
from isthmus.network import declaring
from isthmus.network.declarations import Request, StretchedNetwork
from isthmus.network.declarations import Settings as Offered
from isthmus.sites import signing


class Keystone:
    """Gives out one token whose catalog knows one site."""

    def __init__(self, neutron: str) -> None:
        endpoints = [
            {
                "id": "n",
                "interface": "internal",
                "region": "paris",
                "region_id": "paris",
                "url": neutron,
            }
        ]
        self.token = {
            "methods": ["password"],
            "user": {"id": "u", "name": "isthmus", "domain": {"id": "default", "name": "Default"}},
            "project": {"id": PROJECT, "name": "s", "domain": {"id": "default", "name": "Default"}},
            "roles": [{"id": "r", "name": "admin"}],
            "issued_at": "2026-02-22T00:00:00.000000Z",
            "expires_at": "2099-01-01T00:00:00.000000Z",
            "catalog": [{"id": "c", "type": "network", "name": "neutron", "endpoints": endpoints}],
        }
        keystone = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                links = [{"rel": "self", "href": f"{keystone.url}/"}]
                version = {"id": "v3.14", "status": "stable", "links": links, "media-types": []}
                self._send(200, {"version": version})

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self._send(201, {"token": keystone.token})

            def _send(self, status: int, body: Any) -> None:
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.send_header("Content-Type", "application/json")
                self.send_header("X-Subject-Token", "a-token")
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                """Tests are silent."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/v3"


@dataclass
class Stand:
    """All of it; `tell` speaks to the simulated sites as the measuring program does."""

    engine: Engine
    neutron: LoopbackNeutron
    sites: list[str]
    control: calling.Callees

    def tell(self, word: str, **given: Any) -> Any:
        return self.control.post("peers", f"/control/{word}", given)

    def declare(self) -> StretchedNetwork:
        """A network over all sites, read by the engine."""
        offered = Offered(vni_range=(4000, 4003), sites=("paris", *self.sites))
        request = Request(
            name="wide", project_id=PROJECT, cidr="10.77.0.0/16", sites=("paris", *self.sites)
        )
        declared = declaring.declare(request, (), offered)
        self.engine.store.put(declared)
        self.engine.read_declarations()
        return declared

    def origins(self) -> dict[str, str]:
        """The remote ports here: tunnel address by device id."""
        return {
            row["device_id"]: row["remote_vtep"]
            for row in list(self.neutron.tables["ports"].values())
            if row["device_owner"] == "isthmus:remote"
        }

    def keeps(self, network: StretchedNetwork) -> Any:
        return self.engine.keepers[network.id].report


def wait_for(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Rounds over fifty sites take a second on an idle machine."""
    conditions.wait_for("what the engine shall do", condition, seconds)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def stand(directory: Path, *, count: int, largest_page: int | None = None) -> Iterator[Stand]:
    """An engine of `paris` with `count` simulated peers."""
    neutron, port, own = LoopbackNeutron(), free_port(), free_port()
    neutron.add("security_groups", id="group-default", name="default", project_id=PROJECT)
    keystone = Keystone(neutron.url)
    secret = directory / "cloud-secret"
    secret.touch(mode=0o600)
    secret.write_bytes(SECRET)
    names = [f"p{number:02d}" for number in range(1, count + 1)]
    settings = Settings(
        seed=7,
        port=port,
        front="127.77.0.1",
        sites={
            name: SiteSettings(
                number=number,
                address=f"127.77.{number}.1",
                vteps=(f"10.99.2.{2 * number + 58}", f"10.99.2.{2 * number + 59}"),
            )
            for number, name in enumerate(names, start=1)
        },
        keystone=keystone.url,
        secret_file=secret,
        pokes={"paris": f"http://127.0.0.1:{own}"},
        largest_page=largest_page,
    )
    server = Server(Peers(settings).app(), settings.listen)
    server.start()
    engine = Engine(
        engine_bench.settings(
            directory,
            f"http://127.77.0.1:{port}/v3",
            listen=[f"127.0.0.1:{own}"],
            peers={name: settings.url(name) for name in names},
            timing={"reconcile_seconds": 600},
        )
    )
    engine.store = MemoryStore(Writer())
    api = Server(app.build(engine), (Address(host="127.0.0.1", port=own),))
    api.start()
    engine.start()
    signer = signing.Signer(SECRET, "bench/test")
    control = calling.Callees(
        {"peers": f"http://127.77.0.1:{port}"}, signer, lambda _: NAME, noun="peers"
    )
    try:
        wait_for(lambda: len(engine.neutron_sites) == count + 1)
        yield Stand(engine=engine, neutron=neutron, sites=names, control=control)
    finally:
        engine.stop()
        api.stop()
        server.stop()
        keystone.server.shutdown()
        keystone.server.server_close()
        neutron.close()
