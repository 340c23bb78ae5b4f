"""The engine of one site: everything that its parts share, and nothing that they decide.

Routers and services get this object. What they may use of it is said in the docstrings of its
attributes; all of it may be used from any thread.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from isthmus import errors
from isthmus.engine import (
    auditing,
    calling,
    config,
    keepers,
    keeping,
    messaging,
    metrics,
    neighbours,
    observing,
    poking,
    rights,
    sessions,
)
from isthmus.engine.looping import Loop
from isthmus.network import databases, events, neutrons, partition, store, views
from isthmus.network.declarations import StretchedNetwork
from isthmus.network.forwarding import Cast
from isthmus.network.views import Origin
from isthmus.sites import signing

LOG = logging.getLogger(__name__)

_ADDRESSES = "isthmus.network.addresses.service"


class Engine:
    """What one engine has: configuration, declarations, ways to other processes, what it last saw.

    `config`: the file as read. `reader`, `writer`: the listeners of the site's own database and of the one
    that takes the writes. `store`: the declarations. `peers`, `hosts`: signed calls to the
    engines of other sites (by site) and to the host agents of this one (by host). `gate`: judges
    signed requests to this engine. `require_admin`, `require_reader` (people, by token; each gives
    a `rights.Caller`) and `require_engine` (another engine, by signature; gives its site) are
    dependencies for FastAPI: `fastapi.Depends(engine.require_admin)`. `neighbours`: who is heard.
    `auditor`: what the hosts hold. `lag`: how long changes took to arrive here.
    """

    def __init__(self, settings: config.Config) -> None:
        secret = settings.secret.get_secret_value()
        self.config = settings
        self._started_at = time.time()
        self.reader = _listener(settings.database, settings.database.reader)
        self.writer = _listener(settings.database, settings.database.writer)
        self.store = store.Store(
            reader=self.reader,
            writer=self.writer,
            site=settings.site,
            state=settings.state,
        )
        self.gate = signing.Gate(secret, signing.engine_name(settings.site))
        self.peers = calling.engines(settings.peers, secret, settings.site)
        self._hosts = calling.host_agents(settings.hosts, secret, settings.site)
        self.sessions = sessions.Sessions(settings.identity)
        guard = rights.Rights(rights.Tokens(settings.identity.auth_url), self.gate)
        self.require_admin: Callable[..., rights.Caller] = guard.require_admin
        self.require_reader: Callable[..., rights.Caller] = guard.require_reader
        self.require_engine = guard.require_engine
        self.lag = metrics.Histogram()
        self._lock = threading.Lock()
        self._neutrons: dict[str, neutrons.Neutron] = {}
        self._observers: dict[str, observing.Observer] = {}
        self._keepers = keepers.Keepers(self, settings.timing.declarations_seconds)
        self.neighbours = neighbours.Neighbours(settings.site, self.peers, self._heard_otherwise)
        self.pokers = {
            site: poking.Poker(site, self.peers, settings.timing.peer_timeout_seconds)
            for site in settings.peers
        }
        self.auditor = auditing.Auditor(self, settings.timing.audit_seconds)
        self.listener, self._caster = self._bus(settings.messaging)
        self._addresses: Any = None

    def _bus(
        self, bus: config.Messaging | None
    ) -> tuple[messaging.Listener | None, messaging.Caster | None]:
        if bus is None:
            return None, None
        url = bus.url.get_secret_value()
        return messaging.Listener(url, self._notified), messaging.Caster(url)

    @property
    def site(self) -> str:
        """The name of the own site, which is also its region."""
        return self.config.site

    @property
    def sites(self) -> tuple[str, ...]:
        """All sites that have an engine, sorted."""
        return self.config.sites

    @property
    def hosts(self) -> calling.Callees:
        return self._hosts

    @property
    def timing(self) -> config.Timing:
        return self.config.timing

    @property
    def started_at(self) -> float:
        """Seconds since 1970."""
        return self._started_at

    @property
    def session(self) -> Any:
        """The keystoneauth1 session of the engine's account, with which all OpenStack services of
        all sites are asked (`endpoint_filter` with service type, region_name and interface)."""
        return self.sessions.session

    def neutron(self, site: str | None = None) -> neutrons.Neutron:
        """The Neutron of a site, the own one if none is named. Making it asks nobody."""
        name = site or self.site
        with self._lock:
            if name not in self._neutrons:
                self._neutrons[name] = neutrons.Neutron(self.session, name)
            return self._neutrons[name]

    def observer(self, site: str) -> observing.Observer:
        """The threads that look at a site."""
        with self._lock:
            if site not in self._observers:
                new = observing.Observer(site, lambda: self.neutron(site))
                self._observers[site] = new
                new.start()
            return self._observers[site]

    @property
    def keepers(self) -> Mapping[str, keeping.Keeper]:
        """What keeps each network right here, by declaration id; empty in a witness site."""
        return self._keepers.all

    @property
    def neutron_sites(self) -> frozenset[str]:
        """The sites that have a Neutron, by the catalog; empty until it could be read."""
        return self._keepers.catalog.with_neutron

    @property
    def catalog_error(self) -> str | None:
        """Why the catalog could not be read; None if it could."""
        return self._keepers.catalog.error

    @property
    def orphans(self) -> tuple[Any, ...]:
        """Findings about networks here that no declaration stands behind."""
        return self._keepers.orphans

    @property
    def lost_sites(self) -> frozenset[str]:
        """The sites that an operator declared lost."""
        return self.store.lost_sites()

    def views(self, network_id: str) -> Mapping[str, views.SiteView]:
        """The last look at each site for one declaration, by site; empty before the first."""
        keeper = self.keepers.get(network_id)
        return keeper.views if keeper else {}

    def hearing(self) -> partition.Hearing:
        """Which engines of the cloud are heard now."""
        return self.neighbours.hearing()

    def read_declarations(self) -> None:
        """Read the declarations from the local database now, and act on what differs."""
        self._keepers.read()

    def declared(self) -> None:
        """Declarations were changed by this engine: act on them here, and tell the others."""
        self._keepers.hurry()
        for poker in self.pokers.values():
            poker.say(poking.Content(declarations=True))

    def poked(self, site: str, content: poking.Content) -> None:
        """The engine of another site says that something changed there."""
        if content.declarations:
            self._keepers.hurry()
        known = self.keepers
        if not known.keys() >= content.ports.keys() | content.whole:
            # A poke about a new network may arrive before its declaration does.
            self._keepers.hurry()
        for network_id in content.whole & known.keys():
            known[network_id].want_round(patient=True)
        for network_id, ports in content.ports.items():
            if network_id in known and site in self.neutron_sites:
                origins = {Origin(site=site, port_id=port): at for port, at in ports.items()}
                known[network_id].poked(site, origins)

    def finished(self, declaration: StretchedNetwork) -> None:
        """Every site is rid of a network being deleted: forget its declaration."""
        try:
            self.store.remove(declaration)
        except errors.IsthmusError as error:
            LOG.warning("%s is deleted but not forgotten yet: %s", declaration.name, error)
            return
        LOG.info("network %s is deleted in all sites", declaration.name)
        self.declared()

    def applied(self, lag: float) -> None:
        """A change arrived from another site after so many seconds."""
        self.lag.observe(lag)

    def cast(self, casts: Iterable[Cast]) -> None:
        """Send casts to the agents of this site. Raises messaging.CastError."""
        if self._caster is None:
            raise messaging.CastError("no message bus is configured")
        self._caster.cast(casts)

    def _notified(self, event_type: str, payload: Mapping[str, Any], at: float) -> None:
        """The own Neutron did something; tell whom it concerns."""
        known = self.keepers
        networks = {
            view.network.id: network_id
            for network_id, keeper in known.items()
            if (view := keeper.known(self.site)) is not None and view.network is not None
        }
        poke = events.decide(event_type, payload, networks)
        content = poking.Content(
            ports={n: dict.fromkeys(ports, at) for n, ports in poke.ports.items()},
            whole=poke.whole,
        )
        for site in self.neutron_sites & self.pokers.keys() if not content.empty else ():
            self.pokers[site].say(content)
        for network_id in poke.own_whole & known.keys():
            known[network_id].want_round(patient=True)
        for network_id, ports in poke.ports.items():
            known[network_id].changed_here(ports)
        for network_id, device_ids in poke.own_ports.items():
            origins = (Origin.parse(each) for each in device_ids)
            known[network_id].touched_here([each for each in origins if each is not None])

    def _heard_otherwise(self, site: str) -> None:
        """The engine of a site fell silent, which is to be told; or it is heard after a silence,
        and what it did meanwhile is not known."""
        self._keepers.hurry()
        self._keepers.want_rounds()

    def start(self) -> None:
        """Start all threads; nothing is waited for."""
        for thread in self._threads():
            thread.start()
        if self.listener is not None:
            self.listener.start()
        if importlib.util.find_spec(_ADDRESSES) is not None:
            self._addresses = importlib.import_module(_ADDRESSES).Service(self)
            self._addresses.start()

    def stop(self) -> None:
        """Ask all threads to end; what is under way is completed or found again at the next start."""
        if self._addresses is not None:
            self._addresses.stop()
        for thread in (*self._threads(), *self._observers.values()):
            thread.stop()

    def _threads(self) -> tuple[Loop | poking.Poker, ...]:
        return (
            self._keepers,
            *self.neighbours.threads,
            *self.pokers.values(),
            *((self.auditor,) if self.config.hosts else ()),
        )


def _listener(database: config.Database, address: config.Address) -> databases.Listener:
    return databases.Listener(
        host=address.host,
        port=address.port,
        user=database.user,
        password=database.password.get_secret_value(),
    )
