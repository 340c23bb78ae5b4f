"""One verification of a stretched network: probes are plugged, ping each other, and go.

It exists because no comparison of tables proves that packets arrive. It runs in the engine that was
asked and reaches other sites through their engines. Whatever happens, the probes are removed: at
the end, when the run is cancelled, and by their own time when this process dies.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import ipaddress
import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from isthmus import errors
from isthmus.network import declarations
from isthmus.network.tracing import asking, documents, gathering, matrix, probes, verdicts, world
from isthmus.network.tracing.facts import Packet, Site
from isthmus.sites import fanout

LOG = logging.getLogger(__name__)

PLUG_PATH = "/v1/tracing/probes"
PING_PATH = "/v1/tracing/probes/ping"
REMOVE_PATH = "/v1/tracing/probes/remove"

LIFE_SECONDS = 300.0
"""Probes of a run that died go after this: longer than any run, short enough to be no litter."""

READY_SECONDS = 30.0
"""Until all are bound and known everywhere. A reconciler that missed its poke takes 30 s."""

_FIRST_REPLY_SECONDS = 10.0
_POLL_SECONDS = 0.5
_SITE_SECONDS = 45.0
_MOST_TRACES = 6


class Phase(enum.StrEnum):
    """What a run does now."""

    PLUGGING = "plugging"
    WAITING = "waiting"
    MEASURING = "measuring"
    TRACING = "tracing"
    REMOVING = "removing"
    DONE = "done"


class _CancelledError(Exception):
    """Somebody asked the run to end."""


class Run:
    """A verification under way or done. `report` and `error`: at most one is set at the end."""

    def __init__(
        self,
        engine: world.Engine,
        network: declarations.StretchedNetwork,
        *,
        quick: bool = False,
        count: int = 5,
    ) -> None:
        self.id = secrets.token_hex(8)
        self.network = network
        self.phase = Phase.PLUGGING
        self.report: dict[str, Any] | None = None
        self.error: str | None = None
        self.ended_at: float | None = None
        self._engine, self._quick, self._count = engine, quick, count
        self._lines: list[str] = []
        self._problems: list[str] = []
        self._cancelled = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"verify {self.id}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def cancel(self) -> None:
        """End soon; the probes are removed first."""
        self._cancelled.set()

    def document(self) -> dict[str, Any]:
        """How far it is; `lines` are for a person who waits."""
        return {
            "id": self.id,
            "site": self._engine.site,
            "network": self.network.name,
            "phase": str(self.phase),
            "lines": list(self._lines),
            "report": self.report,
            "error": self.error,
        }

    # --- the steps

    def _run(self) -> None:
        began, found = time.monotonic(), None
        try:
            found = self._steps()
        except _CancelledError:
            self.error = "cancelled"
        except errors.IsthmusError as error:
            self.error = str(error)
        except Exception:
            LOG.exception("verification %s of %s failed", self.id, self.network.name)
            self.error = "an error in the engine itself; its log has the details"
        finally:
            left = self._remove()
        if found is not None:
            seconds = round(time.monotonic() - began, 1)
            self.report = {**found, "left": left, "seconds": seconds}
        self.ended_at = time.monotonic()
        self.phase = Phase.DONE

    def _steps(self) -> dict[str, Any]:
        sites = gathering.look(self._engine, self.network)
        found = self._plug(sites)
        self._go_on(Phase.WAITING)
        self._wait_until_known(found)
        self._go_on(Phase.MEASURING)
        pairs = self._measure(found)
        self._go_on(Phase.TRACING)
        traces = self._explain(pairs)
        return documents.report(self.network.name, self.network.mtu, pairs, self._problems, traces)

    def _go_on(self, phase: Phase) -> None:
        if self._cancelled.is_set():
            raise _CancelledError
        self.phase = phase

    def _say(self, line: str) -> None:
        self._lines.append(line)
        LOG.info("verification %s of %s: %s", self.id, self.network.name, line)

    def _plug(self, sites: Mapping[str, Site]) -> tuple[matrix.Probe, ...]:
        questions = {}
        for name, site in sites.items():
            if site.network is None:
                self._problems.append(f"{name}: {site.error or 'it does not have the network yet'}")
                continue
            order = probes.Order(
                run=self.id,
                network_id=site.network.id,
                prefix=ipaddress.ip_network(self.network.cidr).prefixlen,
                mtu=self.network.mtu,
                seconds=LIFE_SECONDS,
                one=self._quick,
            )
            questions[name] = functools.partial(plug_at, self._engine, name, order)
        answers = fanout.ask_all(questions, timeout=_SITE_SECONDS)
        found = []
        for name, answer in answers.items():
            if answer.error:
                self._problems.append(f"{name}: {answer.error}")
            found += self._probes(name, answer.value or [])
        where = ", ".join(each.place for each in found)
        self._say(f"{len(found)} probes: {where or 'none'}")
        return tuple(found)

    def _probes(self, site: str, plugged: Iterable[probes.Plugged]) -> list[matrix.Probe]:
        found = []
        for each in plugged:
            if each.port_id is None or each.ip is None:
                self._problems.append(f"{site}/{each.host}: {each.error}")
            else:
                probe = matrix.Probe(site=site, host=each.host, port_id=each.port_id, ip=each.ip)
                found.append(probe)
        return found

    def _wait_until_known(self, found: tuple[matrix.Probe, ...]) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while missing := self._unknown(found):
            if time.monotonic() > deadline:
                self._say(f"after {READY_SECONDS:g} s: {'; '.join(missing)}")
                return
            if self._cancelled.wait(_POLL_SECONDS):
                raise _CancelledError
        self._say("all are ACTIVE and known in every site")

    def _unknown(self, found: tuple[matrix.Probe, ...]) -> list[str]:
        """What is not ready yet, in words."""
        sites = sorted({each.site for each in found})
        questions = {name: functools.partial(self._unknown_at, name, found) for name in sites}
        answers = fanout.ask_all(questions, timeout=_SITE_SECONDS)
        lists = (
            answer.value if answer.value is not None else [f"{name}: {answer.error}"]
            for name, answer in answers.items()
        )
        return [line for each in lists for line in each]

    def _unknown_at(self, name: str, found: tuple[matrix.Probe, ...]) -> list[str]:
        neutron = asking.Neutron(self._engine.session, name)
        status = {str(port["id"]): str(port["status"]) for port in neutron.probes(self.id)}
        missing = [
            f"the probe on {each.place} is {status.get(each.port_id, 'gone')}"
            for each in found
            if each.site == name and status.get(each.port_id) != "ACTIVE"
        ]
        for other in sorted({each.site for each in found} - {name}):
            theirs = [each for each in found if each.site == other]
            known = neutron.remotes_of(other, [each.port_id for each in theirs])
            missing += [
                f"the probe on {each.place} has no ACTIVE remote port in {name}"
                for each in theirs
                if known.get(each.port_id) != "ACTIVE"
            ]
        return missing

    def _measure(self, found: tuple[matrix.Probe, ...]) -> tuple[matrix.Pair, ...]:
        self._wait_for_replies(found)
        measured = self._ping(found, {"count": self._count, "interval": 0.1})
        self._go_on(Phase.MEASURING)
        mtu = self.network.mtu
        whole = self._ping(found, {"count": 3, "interval": 0.1, "size": mtu, "df": True})
        beyond = self._ping(found, {"count": 2, "interval": 0.1, "size": mtu + 1, "df": True})
        pairs = matrix.pairs(found, measured, _arrived(whole), _arrived(beyond))
        good = sum(pair.good for pair in pairs)
        self._say(f"{good} of {len(pairs)} pairs reach each other")
        return pairs

    def _wait_for_replies(self, found: tuple[matrix.Probe, ...]) -> None:
        """The first packets may meet a switch that is just being told."""
        deadline = time.monotonic() + _FIRST_REPLY_SECONDS
        while time.monotonic() < deadline:
            self._go_on(Phase.MEASURING)
            results = self._ping(found, {"count": 1, "wait": 0.5})
            if len(results) == len(found) * (len(found) - 1) and all(
                each["received"] for each in results.values()
            ):
                return

    def _ping(
        self, found: tuple[matrix.Probe, ...], order: Mapping[str, Any]
    ) -> dict[tuple[str, str], Mapping[str, Any]]:
        """Results by (source, target) port id; sources that could not be asked are left out."""
        questions = {}
        for source in found:
            targets = [each.ip for each in found if each is not source]
            if targets:
                body = {**order, "targets": targets}
                questions[source.port_id] = functools.partial(ping_at, self._engine, source, body)
        # Few at once: more would measure the load of the hosts.
        answers = fanout.ask_all(questions, timeout=_SITE_SECONDS, at_once=2)
        ids = {each.ip: each.port_id for each in found}
        return {
            (source, ids[ip]): result
            for source, answer in answers.items()
            for ip, result in (answer.value or {}).items()
        }

    def _explain(self, pairs: Iterable[matrix.Pair]) -> list[dict[str, Any]]:
        """Why pairs fail: at most `_MOST_TRACES`, one for each two hosts."""
        failed = {
            frozenset((pair.source.port_id, pair.target.port_id)): pair
            for pair in pairs
            if not pair.good
        }
        traces = []
        for pair in list(failed.values())[:_MOST_TRACES]:
            self._say(f"asking why {pair.source.place} does not reach {pair.target.place}")
            a, b = pair.source.port_id, pair.target.port_id
            try:
                facts = gathering.gather(self._engine, self.network, a, b, Packet())
            except errors.IsthmusError as error:
                self._problems.append(str(error))
                continue
            traces.append(documents.trace(facts, verdicts.trace(facts)))
        return traces

    def _remove(self) -> list[str]:
        self.phase = Phase.REMOVING
        questions = {
            name: functools.partial(remove_at, self._engine, name, self.id)
            for name in self.network.sites
        }
        answers = fanout.ask_all(questions, timeout=_SITE_SECONDS)
        left = [f"{name}: {each.error}" for name, each in answers.items() if each.error]
        left += [f"{n}: {line}" for n, each in answers.items() for line in each.value or []]
        self._say(f"not removed yet: {'; '.join(left)}" if left else "the probes are removed")
        return left


def _arrived(results: Mapping[tuple[str, str], Mapping[str, Any]]) -> dict[tuple[str, str], bool]:
    return {key: bool(result["received"]) for key, result in results.items()}


def plug_at(engine: world.Engine, site: str, order: probes.Order) -> list[probes.Plugged]:
    """Plug the probes of one site, the own one or another. Raises `errors.UnavailableError`."""
    if site == engine.site:
        return probes.plug(engine, order)
    body = dataclasses.asdict(order)
    answer = engine.peers.post(site, PLUG_PATH, body, timeout=_SITE_SECONDS - 5)
    return [probes.Plugged(**each) for each in answer["probes"]]


def ping_at(engine: world.Engine, source: matrix.Probe, order: Mapping[str, Any]) -> Any:
    """Ping from a probe of any site."""
    if source.site == engine.site:
        return probes.ping(engine, source.host, source.port_id, order)
    body = {"host": source.host, "port_id": source.port_id, "order": dict(order)}
    answer = engine.peers.post(source.site, PING_PATH, body, timeout=_SITE_SECONDS - 5)
    return answer["results"]


def remove_at(engine: world.Engine, site: str, run: str) -> list[str]:
    """Remove the probes of a run from any site; returns what is left there."""
    if site == engine.site:
        return probes.remove(engine, run)
    answer = engine.peers.post(site, REMOVE_PATH, {"run": run}, timeout=_SITE_SECONDS - 5)
    return [str(line) for line in answer["left"]]


class Runs:
    """The runs of this engine. For several threads."""

    KEPT_SECONDS = 600.0

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._runs: dict[str, Run] = {}
        self._lock = threading.Lock()

    def add(self, run: Run) -> None:
        """Remember a run, and forget those that ended long ago."""
        with self._lock:
            oldest = self._clock() - self.KEPT_SECONDS
            self._runs = {
                key: each
                for key, each in self._runs.items()
                if each.ended_at is None or each.ended_at > oldest
            }
            self._runs[run.id] = run

    def find(self, run_id: str) -> Run:
        """Raises `errors.UsageError` when it is not known (any more)."""
        with self._lock:
            run = self._runs.get(run_id)
        if run is None:
            raise errors.UsageError(
                f"there is no verification {run_id!r}",
                cause="it ended long ago, or the engine was restarted",
            )
        return run
