"""Reads the declarations and has one keeper for each network.

It exists so that a declaration that is made, changed or forgotten anywhere has its effect here within
seconds. A declaration that vanished ends its keeper and nothing else: only a declaration that *says*
that its network is being deleted removes anything.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from isthmus import errors
from isthmus.engine.keeping import Keeper
from isthmus.engine.looping import Loop
from isthmus.engine.surroundings import Surroundings
from isthmus.network import reconciling
from isthmus.network.declarations import StretchedNetwork
from isthmus.network.findings import Finding
from isthmus.network.neutrons import Neutron
from isthmus.network.store import Store

LOG = logging.getLogger(__name__)

HURRY_SECONDS = 3.0
"""For how long declarations are read again and again after a poke: what a replica usually lags."""
HURRY_EVERY_SECONDS = 0.2
CATALOG_SECONDS = 60.0
"""How often the catalog is asked which sites have a Neutron; until it has answered, always."""
TAGGED_SECONDS = 60.0
"""How often networks are looked for that no declaration stands behind."""


class Home(Surroundings, Protocol):
    """What is needed of the engine."""

    @property
    def store(self) -> Store: ...
    @property
    def sites(self) -> tuple[str, ...]: ...


class Catalog:
    """Which sites have a Neutron. The last answer stays while there is no newer one."""

    def __init__(self, neutron: Callable[[str], Neutron], sites: Iterable[str]) -> None:
        self._neutron, self._sites = neutron, tuple(sites)
        self._read_at = float("-inf")
        self.with_neutron: frozenset[str] = frozenset()
        self.error: str | None = "not read yet"

    def read(self) -> None:
        """Read it if that is due. Nothing is raised if it cannot be read."""
        if self.error is None and time.monotonic() - self._read_at < CATALOG_SECONDS:
            return
        try:
            found = frozenset(site for site in self._sites if self._neutron(site).offered())
        except errors.UnavailableError as error:
            self.error = str(error)
            return
        self.with_neutron, self.error, self._read_at = found, None, time.monotonic()


class Keepers(Loop):
    """All keepers of the own site, none while it has no Neutron (a witness)."""

    def __init__(self, home: Home, interval: float) -> None:
        super().__init__("declarations", interval)
        self._home, self._rest = home, interval
        self._hurry_until = 0.0
        self._tagged_at = float("-inf")
        self._lost: frozenset[str] = frozenset()
        self._keepers: dict[str, Keeper] = {}
        self._following = threading.Lock()
        self.catalog = Catalog(home.neutron, home.sites)
        self.orphans: tuple[Finding, ...] = ()

    @property
    def all(self) -> Mapping[str, Keeper]:
        """The keepers by declaration id."""
        return dict(self._keepers)

    def hurry(self) -> None:
        """Declarations were changed somewhere: read them until the local database has them."""
        self._hurry_until = time.monotonic() + HURRY_SECONDS
        self.wake()

    def want_rounds(self) -> None:
        """Compare everything now."""
        for keeper in self.all.values():
            keeper.want_round()

    def tick(self) -> None:
        now = time.monotonic()
        self._interval = HURRY_EVERY_SECONDS if now < self._hurry_until else self._rest
        self.catalog.read()
        self.read()
        if self._keepers and now - self._tagged_at >= TAGGED_SECONDS:
            self._tagged_at = now
            self._look_for_orphans()

    def read(self) -> None:
        """Read the declarations and make the keepers match them. For several threads."""
        self._home.store.refresh()
        with self._following:
            self._follow()

    def _follow(self) -> None:
        if self._home.site not in self.catalog.with_neutron:
            return
        declared = {each.id: each for each in self._home.store.networks()}
        for gone in set(self._keepers) - set(declared):
            LOG.info("%s is not declared any more", self._keepers[gone].declaration.name)
            self._keepers.pop(gone).stop()
        for network_id, declaration in declared.items():
            self._keep(network_id, declaration)
        lost, self._lost = self._lost, self._home.lost_sites
        if lost != self._lost:
            LOG.warning("lost sites: %s", ", ".join(sorted(self._lost)) or "none")
            self.want_rounds()

    def _keep(self, network_id: str, declaration: StretchedNetwork) -> None:
        keeper = self._keepers.get(network_id)
        if keeper is None:
            keeper = self._keepers[network_id] = Keeper(declaration, self._home)
            LOG.info("keeping network %s (VNI %d)", declaration.name, declaration.vni)
            keeper.start()
        elif keeper.declaration != declaration:
            keeper.declare(declaration)

    def _look_for_orphans(self) -> None:
        try:
            tagged = self._home.neutron().tagged()
        except errors.UnavailableError as error:
            LOG.debug("networks without a declaration are not looked for: %s", error)
            return
        declared = self._home.store.networks()
        self.orphans = tuple(reconciling.orphans(self._home.site, tagged, declared))

    def close(self) -> None:
        for keeper in self.all.values():
            keeper.stop()
