"""Many sites in the lab: simulated peers of Paris, the engine of Paris with a configuration that names them, and what hosts hold.

The product is the one that is installed; only its configuration differs. Two processes are started, `paris/bench-peers` and
`paris/bench-engine`. The latter takes the addresses of the site's own engine, which is stopped meanwhile. Nothing is written into
Keystone: the engine logs in through a catalog that lists the simulated sites (`bench/peers/catalogs.py`). Simulated hosts lie in
the tunnel network of Lyon, the only one that Paris allows, at addresses that nobody has.
"""

import contextlib
import functools
import json
import re
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from bench import labs
from bench.following import Portion, follow, portions, say
from bench.peers.app import NAME as PEERS_NAME
from bench.planting import Planter, Wanted
from isthmus.engine import calling
from isthmus.errors import IsthmusError
from isthmus.identity.config import ENGINE_PORT
from isthmus.lab import faults, guests, home, inside, processes, waiting
from isthmus.lab.components import engine, host_agent, mariadb
from isthmus.lab.components.base import python, script
from isthmus.lab.components.host import SWITCH, TUNNEL
from isthmus.lab.guests import Guest
from isthmus.lab.running import run
from isthmus.sites import signing

SITE = "paris"
PEERS, ENGINE = f"{SITE}/{labs.MARK}peers", f"{SITE}/{labs.MARK}engine"
PREFIX = "bscale-"
"""Names of the networks begin with it, so that those of a run that was killed are found."""

_PORT = 19696
_FIRST_VTEP, _LAST_VTEP = 60, 250
_START = 90.0  # imports of an engine on busy cores
_KNOWN = 90.0  # the catalog, then every engine is asked once: five seconds for fifty
_REQUEST = 60.0
_TOKEN_SECONDS = 600.0


@dataclass(frozen=True, kw_only=True)
class Network:
    """A declared network with simulated sites; `document` is the declaration."""

    document: Mapping[str, Any]

    @property
    def name(self) -> str:
        return str(self.document["name"])

    @property
    def id(self) -> str:
        return str(self.document["id"])

    @property
    def vni(self) -> int:
        return int(self.document["vni"])

    @property
    def peers(self) -> list[str]:
        return [site for site in self.document["sites"] if site != SITE]


class Scaled:
    """The lab with an engine in Paris that has simulated peers."""

    def __init__(self, lab: labs.Lab, count: int, seed: int) -> None:
        self.lab, self.seed = lab, seed
        self.site = lab.environment.site(SITE)
        self.sites = [f"p{number:02d}" for number in range(1, count + 1)]
        self._login = (float("-inf"), "")
        self._secret = lab.template.secret(host_agent.SIGNING).encode()
        signer = signing.Signer(self._secret, f"bench/{SITE}")
        url = f"http://{self.site.management}:{_PORT}"
        self._control = calling.Callees({SITE: url}, signer, lambda _: PEERS_NAME, noun="peers of")

    @functools.cached_property
    def _planter(self) -> Planter:
        unit = self.lab.units[f"{SITE}/local-db"]
        return Planter(socket=mariadb.socket_path(unit.context))

    # -- processes

    def start(self) -> None:
        """Start the simulated sites, and the engine that knows them in place of the site's own."""
        say(f"{len(self.sites)} simulated sites start")
        self._spawn(PEERS, [python(), "-m", "bench.peers"], self._peers_document())
        self._answers(PEERS, _PORT)
        faults.kill(self.lab.home, self.lab.units, f"{SITE}/{engine.NAME}")
        self._begin()

    def _begin(self) -> None:
        """Start the engine and wait until it knows everybody."""
        self._spawn(ENGINE, [script("isthmus-engine")], self._engine_document())
        self._answers(ENGINE, ENGINE_PORT)
        waiting.until(
            self._unknown,
            deadline=_KNOWN,
            what="the engine does not know all simulated sites",
            where=ENGINE,
            interval=1.0,
        )

    def _spawn(self, unit: str, argv: Sequence[str], document: Mapping[str, Any]) -> None:
        path = self.lab.home.unit_directory(unit) / "settings.yaml"
        home.replace(path, json.dumps(document, indent=1), mode=0o600)
        self.lab.home.log(unit).unlink(missing_ok=True)
        processes.start(
            [*argv, "--config", str(path)],
            unit=unit,
            home=self.lab.home.lab,
            log=self.lab.home.log(unit),
            namespace=self.site.namespace,
            cwd=Path(__file__).resolve().parents[1],
        )

    def _answers(self, unit: str, port: int) -> None:
        def missing() -> str | None:
            if unit not in processes.running(self.lab.home.lab):
                return (
                    f"it is not running; its log ends:\n{processes.tail(self.lab.home.log(unit))}"
                )
            try:
                url = f"http://{self.site.management}:{port}/healthcheck"
                return None if requests.get(url, timeout=2.0).ok else "no good answer"
            except requests.RequestException as error:
                return str(error)

        waiting.until(missing, deadline=_START, what="it does not start", where=unit, interval=0.5)

    def _unknown(self) -> str | None:
        status = self.status()
        without = set(self.sites) - set(status["neutron_sites"])
        unheard = [site for site in self.sites if not status["peers"][site]["heard"]]
        if without:
            return f"{len(without)} not in the catalog ({status['catalog_error']})"
        return f"{len(unheard)} engines not heard" if unheard else None

    def _peers_document(self) -> dict[str, Any]:
        """The settings of `bench.peers`; the front listens where the program can reach it, too."""
        own = self._own_document()
        lyon = self.lab.environment.site("lyon")
        free = range(_FIRST_VTEP, _LAST_VTEP)
        return {
            "seed": self.seed,
            "port": _PORT,
            "front": self.site.management,
            "sites": {
                name: {
                    "number": number,
                    "address": f"127.77.{number}.1",
                    "vteps": [
                        lyon.address(free[2 * number - 2]),
                        lyon.address(free[2 * number - 1]),
                    ],
                }
                for number, name in enumerate(self.sites, start=1)
            },
            "keystone": own["identity"]["auth_url"],
            "secret_file": own["secret_file"],
            "pokes": {SITE: f"http://{engine.address(self.site)}:{ENGINE_PORT}"},
        }

    def _engine_document(self) -> dict[str, Any]:
        own = self._own_document()
        peers = {
            name: f"http://127.77.{number}.1:{_PORT}" for number, name in enumerate(self.sites, 1)
        }
        state = self.lab.home.unit_directory(ENGINE) / "state"
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        (state / "declarations.json").unlink(missing_ok=True)
        return {
            **own,
            "peers": {**own["peers"], **peers},
            "identity": {
                **own["identity"],
                "auth_url": f"http://{self.site.management}:{_PORT}/v3",
            },
            "state": str(state),
        }

    def _own_document(self) -> dict[str, Any]:
        """The configuration of the site's own engine."""
        path = self.lab.home.unit_directory(f"{SITE}/{engine.NAME}") / "engine.yaml"
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return document

    # -- asking the engine and the simulated sites

    def ask(self, method: str, path: str, body: Any = None, seconds: float = _REQUEST) -> Any:
        """A request to the engine as the administrator. Raises `IsthmusError`."""
        url = f"http://{self.site.management}:{ENGINE_PORT}{path}"
        if path != "/status" and time.monotonic() - self._login[0] > _TOKEN_SECONDS:
            self._login = (time.monotonic(), self.lab.login(self.site, "admin"))
        headers = {"X-Auth-Token": self._login[1]} if path != "/status" else {}
        try:
            answer = requests.request(method, url, json=body, headers=headers, timeout=seconds)
        except requests.RequestException as error:
            raise IsthmusError(f"{method} {path}", where=ENGINE, cause=str(error)) from error
        if not answer.ok:
            cause = f"{answer.status_code}: {answer.text.strip()[:500]}"
            raise IsthmusError(f"{method} {path}", where=ENGINE, cause=cause)
        return answer.json() if answer.content else None

    def status(self) -> Any:
        """What the engine says of itself."""
        return self.ask("GET", "/status")

    def summary(self, network: Network) -> Mapping[str, Any]:
        """The engine's few figures of a network; empty if it does not keep it."""
        found: Mapping[str, Any] = self.status()["networks"].get(network.name, {})
        return found

    def tell(self, word: str, **given: Any) -> Any:
        """Say something to the simulated sites."""
        return self._control.post(SITE, f"/control/{word}", given, _REQUEST)

    def hold(self, network: Network, ports: int) -> float:
        """Have `ports` ports in each simulated site and poke the engine as one of them; when that was."""
        self.tell("hold", declaration=dict(network.document), ports=ports)
        at = time.time()
        self.poke(network)
        return at

    def plant(self, network: Network, ports: int) -> int:
        """As `hold`, but their remote ports are laid into Neutron's database; how many.

        The engine does not run meanwhile: it would make them, or take away those that are there too early.
        """
        with self._engine_stopped():
            self.tell("hold", declaration=dict(network.document), ports=ports)
            rows = self.tell("ports", network=network.id)
            return self._planter.plant([Wanted(**row) for row in rows])

    def uproot(self, network: Network, ports: int) -> None:
        """Take out what was laid in; `ports` are left in each site."""
        with self._engine_stopped():
            self.tell("hold", declaration=dict(network.document), ports=ports)
            self._planter.uproot()

    @contextlib.contextmanager
    def _engine_stopped(self) -> Iterator[None]:
        processes.kill(self.lab.home.lab, units=[ENGINE])
        try:
            yield
        finally:
            self._begin()

    def poke(self, network: Network) -> None:
        """Have the engine compare the network whole."""
        refused = self.tell("poke", network=network.id, sites=network.peers[:1])["refused"]
        if refused:
            raise IsthmusError("the engine was not poked", where=ENGINE, cause="; ".join(refused))

    def round(self, network: Network, seconds: float) -> Mapping[str, Any]:
        """Have everything compared; what the engine of Paris says of it (`converged`, `seconds`, `left`)."""
        path = f"/v1/networks/{network.name}/sync"
        answer = self.ask("POST", path, {"timeout": seconds}, seconds + 30.0)
        found: Mapping[str, Any] = answer["sites"].get(SITE, {})
        return found

    # -- what was done, and what hosts hold

    def portions(self, network: Network, since: float) -> list[Portion]:
        """The engine's actions on a network, from its log."""
        text = self.lab.home.log(ENGINE).read_text(encoding="utf-8", errors="replace")
        return [each for each in portions(text, network.name) if each.ended >= since]

    def flows(self, host: str) -> int:
        """How many entries for single MACs the host's switch has, of all networks."""
        found = re.search(r"flow_count=(\d+)", self._entries(host, "dump-aggregate"))
        return int(found.group(1)) if found else 0

    def lasting(self, host: str) -> int:
        """The same without those that the switch has learned and will forget."""
        found = self._entries(host, "dump-flows").splitlines()
        return sum("table=20" in line and "hard_timeout" not in line for line in found)

    def _entries(self, host: str, command: str) -> str:
        socket = self.lab.home.unit_directory(f"{SITE}/{host}-{SWITCH}") / f"{TUNNEL}.mgmt"
        return run(["ovs-ofctl", "-O", "OpenFlow13", command, f"unix:{socket}", "table=20"]).stdout

    def untrue(self, network: Network, host: str) -> int:
        """How many MACs of simulated ports the host does not send to their tunnel address, by the product's own agent."""
        expected: dict[str, str] = self.tell("expected", network=network.id)
        urls = {host: f"http://{host_agent.endpoint(self.site.host(host).address)}"}
        agents = calling.host_agents(urls, self._secret, SITE)
        held = inside.within(self.site.namespace, lambda: agents.get(host, "/fdb", _REQUEST))
        unicast = held["networks"].get(str(network.vni), {}).get("unicast", {})
        return sum(unicast.get(mac) != [vtep] for mac, vtep in expected.items())

    # -- networks

    @contextlib.contextmanager
    def network(self, cidr: str, peers: Sequence[str], budget: float) -> Iterator[Network]:
        """A network of Paris and some simulated sites, without ports; gone afterwards, with its guests.

        `budget`: seconds that its removal is waited for.
        """
        name = f"{PREFIX}{uuid.uuid4().hex[:6]}"
        body = {"name": name, "cidr": cidr, "sites": [SITE, *peers]}
        network = Network(document=self.ask("POST", "/v1/networks", body)["network"])
        try:
            self.hold(network, 0)
            waiting.until(
                lambda: None if self.summary(network).get("converged") else "not converged",
                deadline=60.0 + 2 * len(peers),
                what="the network is not made",
                where=name,
                interval=1.0,
            )
            yield network
        finally:
            with labs.undisturbed():
                self.remove(network, budget)

    def guest(self, network: Network, host: str) -> Guest:
        """A guest on a host: from then on the host is told of the network."""
        name = f"{network.name}-{host}"
        return guests.add(self.lab.home, site=SITE, host=host, network=network.name, name=name)

    def remove(self, network: Network, budget: float) -> tuple[int, float]:
        """Take the network away with all in it; how many ports went, and in which time."""
        if ENGINE not in processes.running(self.lab.home.lab):
            faults.resume(self.lab.home, self.lab.units, f"{SITE}/{engine.NAME}", self.lab.progress)
        for guest in guests.listed(self.lab.home):
            if guest.network == network.name:
                guests.remove(self.lab.home, guest.name)
        count = 0
        with contextlib.suppress(IsthmusError):
            count = int(self.summary(network).get("remote_ports") or 0)
        say(f"{network.name}: {count} remote ports are removed")
        began = time.time()
        with contextlib.suppress(IsthmusError):  # the site's own engine does not ask them
            self.tell("forget", network=network.id)
        follow(
            lambda: self._left(network, count, began),
            budget=budget,
            what=f"{network.name} is not removed yet (once marked, the engine of {SITE} goes on by itself)",
        )
        return count, time.time() - began

    def _left(self, network: Network, count: int, since: float) -> str | None:
        declared = self.ask("GET", "/v1/networks")["networks"]
        document = next((each for each in declared if each["id"] == network.id), None)
        if document is None:
            return None
        if not document["deleting"]:
            self.ask("DELETE", f"/v1/networks/{network.name}")
        done = sum(each.actions for each in self.portions(network, since))
        return f"{done} of {count} removed"

    def remove_leftovers(self, budget: float) -> None:
        """Take away what a run that was killed has left."""
        for guest in guests.listed(self.lab.home):
            if guest.network.startswith(PREFIX):
                guests.remove(self.lab.home, guest.name)
        for document in self.ask("GET", "/v1/networks")["networks"]:
            if document["name"].startswith(PREFIX):
                with contextlib.suppress(IsthmusError):
                    self.remove(Network(document=document), budget)
