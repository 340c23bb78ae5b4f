"""The engine of one site: everything that its parts share, and nothing that they decide.

Routers and services get this object. What they may use of it is said in the docstrings of its
attributes; all of it may be used from any thread.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping

from isthmus.engine import calling, config, rights, sessions
from isthmus.network import databases, neutrons, partition, store, views
from isthmus.sites import signing

LOG = logging.getLogger(__name__)


class Engine:
    """What one engine has: configuration, declarations, ways to other processes, what it last saw.

    `config`: the file as read. `store`: the declarations. `peers`, `hosts`: signed calls to the
    engines of other sites (by site) and to the host agents of this one (by host). `gate`: judges
    signed requests to this engine. `require_admin`, `require_reader` (people, by token; each gives
    a `rights.Caller`) and `require_engine` (another engine, by signature; gives its site) are
    dependencies for FastAPI: `fastapi.Depends(engine.require_admin)`.
    """

    def __init__(self, settings: config.Config) -> None:
        secret = settings.secret.get_secret_value()
        self.config = settings
        self.started_at = time.time()
        self.store = store.Store(
            reader=_listener(settings.database, settings.database.reader),
            writer=_listener(settings.database, settings.database.writer),
            site=settings.site,
            state=settings.state,
        )
        self.gate = signing.Gate(secret, signing.engine_name(settings.site))
        self.peers = calling.engines(settings.peers, secret, settings.site)
        self.hosts = calling.host_agents(settings.hosts, secret, settings.site)
        self.sessions = sessions.Sessions(settings.identity)
        guard = rights.Rights(rights.Tokens(settings.identity.auth_url), self.gate)
        self.require_admin: Callable[..., rights.Caller] = guard.require_admin
        self.require_reader: Callable[..., rights.Caller] = guard.require_reader
        self.require_engine = guard.require_engine
        self._neutrons: dict[str, neutrons.Neutron] = {}
        self._lock = threading.Lock()

    @property
    def site(self) -> str:
        """The name of the own site, which is also its region."""
        return self.config.site

    @property
    def session(self) -> object:
        """The keystoneauth1 session of the engine's account, with which all OpenStack services of
        all sites are asked (`endpoint_filter` with service type, region_name and interface)."""
        return self.sessions.session

    def neutron(self, site: str | None = None) -> neutrons.Neutron:
        """The Neutron of a site, the own one if none is named. Making it asks nobody."""
        name = site or self.site
        with self._lock:
            if name not in self._neutrons:
                seconds = self.config.timing.peer_timeout_seconds
                self._neutrons[name] = neutrons.Neutron(
                    self.session,
                    name,
                    read_seconds=30.0 if name == self.site else max(seconds, 10.0),
                )
            return self._neutrons[name]

    def views(self, network_id: str) -> Mapping[str, views.SiteView]:
        """The last look at each site for one declaration, by site; empty before the first."""
        return {}

    def hearing(self) -> partition.Hearing:
        """Which engines of the cloud are heard now."""
        return partition.Hearing(
            own=self.site, engines=frozenset(self.config.sites), heard=frozenset({self.site})
        )

    @property
    def lost_sites(self) -> frozenset[str]:
        """The sites that an operator declared lost."""
        return self.store.lost_sites()


def _listener(database: config.Database, address: config.Address) -> databases.Listener:
    return databases.Listener(
        host=address.host,
        port=address.port,
        user=database.user,
        password=database.password.get_secret_value(),
    )
