"""Service addresses on this host: gateways that answer for an address as long as they may.

The engine of the site holds the lease and orders; this part obeys what `gate` lets it obey and
tells the kernel (`fence`), which ends the answering by itself. It knows nothing of voters or of
other sites. Routes: `GET /addresses`, `PUT /addresses/{id}` (a gateway is to stand), `POST
/addresses/{id}/hold` and `/drop`, `DELETE /addresses/{id}`.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import socket
import threading
import time
from typing import Any

import fastapi
import pydantic

from isthmus import errors
from isthmus.agent import looping
from isthmus.agent.host import checking, core, gateways, inside
from isthmus.network.addresses import fence, gate, health

log = logging.getLogger(__name__)

ATTEMPTS = 3
"""Tries to extend an element when the guard had ended: the machine was busy for 50 ms."""


def clock() -> float:
    """Seconds since boot, suspension included: the clock that orders name moments of."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class HoldOrder(pydantic.BaseModel):
    """Answer for the address until `moment` of this host's clock."""

    claim: str
    incarnation: str
    moment: float


class DropOrder(pydantic.BaseModel):
    """Never again answer for `claim`."""

    claim: str


class Keeper:
    """Keeps one address: its gateway, its fence, its announcements, the health of its target.

    Invariant: the element in the kernel ends no later than the moment of an order that `gate` let
    pass, whatever happens to this process, and at which instruction it is stopped.
    """

    def __init__(self, gateway: gateways.Gateway, incarnation: str) -> None:
        self.gateway = gateway
        self.gate = gate.Gate(incarnation=incarnation)
        self.health = health.Record()
        self._address = str(gateway.spec.address)
        self._insider = inside.Insider(gateway.namespace)
        self._nft: inside.Nft | None = None
        self._announced = ""
        self._in_kernel = ""
        self._announcer = _Announcer(gateway)
        self._checker = _Checker(self)

    def start(self) -> None:
        self._nft = self._insider.do(inside.Nft)
        self._announcer.start()
        self._checker.start()

    def stop(self) -> None:
        """End the threads; the kernel is left as it is."""
        for each in (self._announcer, self._checker):
            each.stop()
        self._insider.close()

    def hold(self, order: gate.Order) -> str:
        """Obey; why not, in words, if not. Raises `errors.HostError`."""
        return self._insider.do(lambda: self._hold(order))

    def drop(self, claim: str) -> None:
        """Stop answering for `claim`. Raises `errors.HostError`: then it may still be answered."""
        self._insider.do(lambda: self._drop(claim))

    def _hold(self, order: gate.Order) -> str:
        before = self.gate
        after, refused = gate.obey(before, order, clock())
        if refused:
            return refused
        # Remembered first: if this fails half-way, a later drop must know what it ends.
        self.gate = after
        self._extend(after.moment)
        self._in_kernel = after.claim
        if not before.holds(clock()) or self._announced != after.claim:
            log.info("%s is answered here, by claim %s", self._address, after.claim)
            self._announcer.taken()
            self._announced = after.claim
        return ""

    def _extend(self, moment: float) -> None:
        for attempt in range(1, ATTEMPTS + 1):
            self._run(fence.arm(self._address))
            # Read after the guard stands: see `fence` for why this order is what counts.
            words = fence.extend(self._address, moment - clock())
            if words is None:
                raise errors.HostError("too little of the lease is left", where=self._address)
            try:
                self._run(words)
            except inside.FenceError:
                if attempt == ATTEMPTS:
                    raise
            else:
                return

    def _drop(self, claim: str) -> None:
        held = self.gate.claim == claim
        after = gate.drop(self.gate, claim)
        if not after.claim or self._in_kernel in ("", claim):
            # Also what another life of this agent may have left in the kernel.
            self._run(fence.close())
        self.gate = after
        if held:
            log.info("%s is no longer answered here", self._address)
            self._announcer.lost()

    def _run(self, words: str) -> None:
        if self._nft is None:
            raise errors.HostError("the gateway is not ready", where=self._address)
        self._nft.run(words)

    def document(self) -> dict[str, Any]:
        """What the engine is told."""
        now, held = clock(), self.gate
        return {
            "address": self._address,
            "namespace": self.gateway.namespace,
            "mac": self.gateway.mac,
            "holds": held.holds(now),
            "remaining": max(0.0, held.moment - now) if held.claim else 0.0,
            "claim": held.claim,
            "health": str(self.health.health),
            "health_seconds": round(now - self.health.since, 3),
            "reason": self.health.reason,
        }


class _Announcer(threading.Thread):
    """Announces the address on the provider network while it is held here."""

    def __init__(self, gateway: gateways.Gateway) -> None:
        super().__init__(name=f"announce-{gateway.outer}", daemon=True)
        self._gateway = gateway
        self._frame = fence.announcement(str(gateway.spec.address), gateway.mac)
        self._due: list[float] = []
        self._every = False
        self._changed = threading.Condition()
        self._stopping = False

    def taken(self) -> None:
        now = time.monotonic()
        with self._changed:
            self._due, self._every = [now + after for after in fence.ANNOUNCE_AFTER], True
            self._changed.notify()

    def lost(self) -> None:
        with self._changed:
            self._due, self._every = [], False

    def stop(self) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify()

    def run(self) -> None:
        try:
            inside.enter(self._gateway.namespace)
            with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
                raw.bind(("outer", 0))
                while self._wait():
                    # Without an element in the kernel the fence drops it.
                    with contextlib.suppress(OSError):
                        raw.send(self._frame)
        except (OSError, errors.HostError) as error:
            log.warning("%s cannot be announced: %s", self._gateway.spec.address, error)

    def _wait(self) -> bool:
        """Until the next announcement is due; False when the thread is to end."""
        with self._changed:
            while not self._stopping:
                now = time.monotonic()
                if self._due and self._due[0] <= now:
                    self._due.pop(0)
                    if not self._due and self._every:
                        self._due.append(now + fence.ANNOUNCE_EVERY)
                    return True
                self._changed.wait(self._due[0] - now if self._due else None)
        return False


class _Checker(looping.Loop):
    """Probes the target from inside the gateway."""

    def __init__(self, keeper: Keeper) -> None:
        spec = keeper.gateway.spec
        super().__init__(f"check-{keeper.gateway.inner}", spec.check.interval)
        self._keeper, self._check, self._target = keeper, spec.check.check(), str(spec.target)
        self._entered = False

    def tick(self) -> None:
        if not self._entered:
            inside.enter(self._keeper.gateway.namespace)
            self._entered = True
        before = self._keeper.health
        fault = checking.probe(self._check, self._target)
        after = health.probed(before, self._check, fault, clock())
        self._keeper.health = after
        if after.health is not before.health:
            log.info("target %s is %s %s", self._target, after.health, after.reason)


class Holding:
    """All addresses of this host. For several threads."""

    def __init__(self, agent: core.HostAgent) -> None:
        self._agent = agent
        self._incarnation = secrets.token_hex(8)
        self._book = gateways.Book(agent.settings.state / "addresses")
        self._keepers: dict[str, Keeper] = {}
        self._lock = threading.RLock()

    def adopt(self) -> None:
        """Take over what an earlier life of this agent has left standing, and tidy up the rest."""
        for spec in self._book.all():
            gateway = self._gateway(spec)
            try:
                if gateway.stands:
                    self._keep(gateway)
                else:
                    gateway.demolish()
                    self._book.erase(spec.id)
            except errors.HostError as error:
                log.warning("the gateway of %s cannot be taken over: %s", spec.address, error)

    def prepare(self, spec: gateways.Spec) -> dict[str, Any]:
        """Let the gateway stand as `spec` says. Raises `errors.HostError`."""
        with self._lock:
            keeper = self._keepers.get(spec.id)
            if keeper and keeper.gateway.stands and keeper.gateway.spec == spec:
                return self._answer(keeper)
            gateway = self._gateway(spec)
            same = keeper is not None and keeper.gateway.spec.wiring == spec.wiring
            self._forget(spec.id)
            self._book.write(spec)
            if not (same and gateway.stands):
                gateway.build()
            return self._answer(self._keep(gateway))

    def keeper(self, address_id: str) -> Keeper:
        """Raises UsageError if there is none."""
        keeper = self._keepers.get(address_id)
        if keeper is None:
            raise errors.UsageError(f"there is no gateway for address {address_id[:40]!r} here")
        return keeper

    def remove(self, address_id: str) -> None:
        """Take the gateway away; nothing happens if there is none."""
        with self._lock:
            keeper = self._forget(address_id)
            if keeper:
                keeper.gateway.demolish()
            self._book.erase(address_id)

    def document(self) -> dict[str, Any]:
        """The document of `GET /addresses`."""
        found = {name: keeper.document() for name, keeper in dict(self._keepers).items()}
        return {**self._stamp(), "addresses": found}

    def answer(self, address_id: str, refused: str = "") -> dict[str, Any]:
        """What every order is answered with: the clock to make the next order by, and the state."""
        return self._answer(self.keeper(address_id)) | {"refused": refused}

    def _answer(self, keeper: Keeper) -> dict[str, Any]:
        return {**self._stamp(), **keeper.document()}

    def _stamp(self) -> dict[str, Any]:
        return {"incarnation": self._incarnation, "clock": clock()}

    def _gateway(self, spec: gateways.Spec) -> gateways.Gateway:
        settings = self._agent.settings
        return gateways.Gateway(self._agent.switch, spec, settings.site, settings.host)

    def _keep(self, gateway: gateways.Gateway) -> Keeper:
        keeper = Keeper(gateway, self._incarnation)
        keeper.start()
        self._keepers[gateway.spec.id] = keeper
        return keeper

    def _forget(self, address_id: str) -> Keeper | None:
        keeper = self._keepers.pop(address_id, None)
        if keeper:
            with contextlib.suppress(errors.HostError):
                keeper.drop(keeper.gate.claim)
            keeper.stop()
        return keeper


def router(agent: core.HostAgent) -> fastapi.APIRouter:
    """The routes, for `isthmus.agent.host.app`."""
    holding = Holding(agent)
    holding.adopt()
    routes = fastapi.APIRouter()

    @routes.get("/addresses")
    def _all() -> dict[str, Any]:
        return holding.document()

    @routes.put("/addresses/{address_id}")
    def _prepare(address_id: str, spec: gateways.Spec) -> dict[str, Any]:
        if spec.id != address_id:
            raise errors.UsageError("the path and the body name different addresses")
        return holding.prepare(spec)

    @routes.post("/addresses/{address_id}/hold")
    def _hold(address_id: str, order: HoldOrder) -> dict[str, Any]:
        wanted = gate.Order(**order.model_dump())
        return holding.answer(address_id, holding.keeper(address_id).hold(wanted))

    @routes.post("/addresses/{address_id}/drop")
    def _drop(address_id: str, order: DropOrder) -> dict[str, Any]:
        holding.keeper(address_id).drop(order.claim)
        return holding.answer(address_id)

    @routes.delete("/addresses/{address_id}")
    def _remove(address_id: str) -> None:
        holding.remove(address_id)

    return routes
