"""Compares what the hosts of the own site hold with what they should, and sends what was lost again.

It exists because l2population tells the agents every change once and never looks again: a cast that
a dying broker took with it is missed until an agent restarts. What should be held is decided by
`isthmus.network.forwarding`; the repair is the cast that l2population would have sent.

A difference is repaired only if it stands in two looks, seconds apart, and the second look at
Neutron was taken after the second look at the host: what is on its way is not lost, and an entry
that is newer than our view of Neutron is not wrong.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol

from isthmus.engine.calling import Callees
from isthmus.engine.keeping import Keeper
from isthmus.engine.looping import Loop
from isthmus.engine.messaging import CastError
from isthmus.engine.observing import Seen
from isthmus.network import forwarding
from isthmus.network.declarations import StretchedNetwork
from isthmus.network.findings import Code, Finding
from isthmus.network.forwarding import Cast, Difference, Fdb, NetworkFdb
from isthmus.network.neutrons import Neutron
from isthmus.network.views import SiteView
from isthmus.outcomes import Outcome
from isthmus.sites import fanout

LOG = logging.getLogger(__name__)

ANSWER_SECONDS = 5.0
CONFIRM_SECONDS = 2.0
"""Between the two looks: casts arrive within milliseconds, agents install in the next instant."""


class Home(Protocol):
    """What is needed of the engine."""

    @property
    def site(self) -> str: ...
    @property
    def hosts(self) -> Callees: ...
    @property
    def keepers(self) -> Mapping[str, Keeper]: ...
    def neutron(self, site: str | None = None) -> Neutron: ...
    def cast(self, casts: Iterable[Cast]) -> None:
        """Send casts to agents; raises CastError."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Audit:
    """What the last audit found. `at`: seconds since 1970, 0.0 before the first."""

    at: float = 0.0
    findings: tuple[Finding, ...] = ()
    clean: frozenset[str] = frozenset()
    """Hosts that hold what they should."""


Differences = dict[tuple[str, int], Difference]
"""By host and VNI."""


class Auditor(Loop):
    """Audits all hosts of the own site."""

    def __init__(self, home: Home, interval: float, wait: Callable[[float], None] = time.sleep):
        super().__init__("audit", interval, jitter=0.2)
        self._home, self._wait = home, wait
        self.audit = Audit()
        self.repairs: dict[str, int] = {}
        """Casts sent again, by host, since the engine began."""

    def tick(self) -> None:
        networks = self._networks()
        if not self._home.hosts.names or not networks:
            self.audit = Audit(at=time.time())
            return
        held, silent = self._held(self._home.hosts.names)
        first = _differences(held, {vni: view for vni, (_, view) in networks.items()})
        lasting: Differences = {}
        if first:
            self._wait(CONFIRM_SECONDS)
            held |= self._held({host for host, _ in first})[0]
            lasting = self._confirmed(first, held, networks)
        told = [*silent, *self._repaired(lasting, networks, held)]
        differing = {host for host, _ in lasting}
        self.audit = Audit(
            at=time.time(), findings=tuple(told), clean=frozenset(held) - frozenset(differing)
        )

    def _networks(self) -> dict[int, tuple[StretchedNetwork, SiteView]]:
        """The networks that this site holds, by VNI, with what is known of them now."""
        found = {}
        for keeper in self._home.keepers.values():
            view = keeper.known(self._home.site)
            if view is None or view.network is None or keeper.declaration.deleting:
                continue
            if not keeper.settled:
                view = self._looked(keeper) or view
            found[keeper.declaration.vni] = (keeper.declaration, view)
        return found

    def _looked(self, keeper: Keeper) -> SiteView | None:
        """A new look, which the keeper may use too; None if it was not good."""
        began = time.monotonic()
        view = self._home.neutron().view(keeper.declaration)
        keeper.seen(Seen(site=self._home.site, began=began, view=view))
        return view if view.good and view.network is not None else None

    def _held(self, hosts: Iterable[str]) -> tuple[dict[str, Fdb], list[Finding]]:
        """What each host holds, and findings about those that do not say."""
        questions = {host: functools.partial(self._fdb, host) for host in hosts}
        answers = fanout.ask_all(questions, timeout=ANSWER_SECONDS, grace=1.0)
        held = {host: each.value for host, each in answers.items() if each.value is not None}
        silent = [self._silent(host, each.error) for host, each in answers.items() if each.error]
        return held, silent

    def _fdb(self, host: str) -> Fdb:
        document: Any = self._home.hosts.get(host, "/fdb", ANSWER_SECONDS)
        return Fdb.from_document(document)

    def _confirmed(
        self,
        first: Differences,
        held: Mapping[str, Fdb],
        networks: Mapping[int, tuple[StretchedNetwork, SiteView]],
    ) -> Differences:
        """The differences that still stand, now that Neutron is looked at after the hosts."""
        views = {}
        for vni in {vni for _, vni in first}:
            view = self._home.neutron().view(networks[vni][0])
            if view.good and view.network is not None:
                views[vni] = view
        second = _differences(held, views)
        lasting = {key: common(first[key], second[key]) for key in first if key in second}
        return {key: each for key, each in lasting.items() if not each.empty}

    def _repaired(
        self,
        lasting: Differences,
        networks: Mapping[int, tuple[StretchedNetwork, SiteView]],
        held: Mapping[str, Fdb],
    ) -> Iterator[Finding]:
        for (host, vni), difference in lasting.items():
            declaration, view = networks[vni]
            network_id = view.network.id if view.network else ""
            casts = forwarding.repair_entries(
                difference, held[host], host=host, network_id=network_id
            )
            try:
                self._home.cast(casts)
            except CastError as error:
                finding = self._unrepaired(declaration, host, difference, str(error))
            else:
                self.repairs[host] = self.repairs.get(host, 0) + len(casts)
                finding = self._told(declaration, host, difference)
            LOG.warning("%s: %s", finding.summary, finding.cause)
            yield finding

    def _silent(self, host: str, error: str | None) -> Finding:
        return Finding(
            code=Code.HOST_SILENT,
            outcome=Outcome.WARN,
            network="",
            site=self._home.site,
            summary=f"the host agent of {host} in {self._home.site} does not answer",
            cause=f"{error}; what the host holds is not known, and nothing is repaired there",
            remedy=f"look at isthmus-agent on {host}",
            owners=(f"{self._home.site}: host {host}",),
        )

    def _told(self, declaration: StretchedNetwork, host: str, difference: Difference) -> Finding:
        return Finding(
            code=Code.FORWARDING_REPAIRED,
            outcome=Outcome.INFO,
            network=declaration.name,
            site=self._home.site,
            summary=f"forwarding of {host} in {self._home.site} was repaired",
            cause=f"{_counted(difference)}; a message to its agent was lost",
            remedy="nothing, unless it comes again: then look at the message broker and the agent",
            owners=(f"{self._home.site}: host {host}",),
        )

    def _unrepaired(
        self, declaration: StretchedNetwork, host: str, difference: Difference, error: str
    ) -> Finding:
        return Finding(
            code=Code.FORWARDING_DIFFERS,
            outcome=Outcome.ERROR,
            network=declaration.name,
            site=self._home.site,
            summary=f"forwarding of {host} in {self._home.site} is wrong and cannot be repaired",
            cause=f"{_counted(difference)}; the message bus says: {error}",
            remedy=f"look at the message broker of {self._home.site}; the next audit tries again",
            owners=(f"{self._home.site}: host {host}",),
        )


def _differences(held: Mapping[str, Fdb], views: Mapping[int, SiteView]) -> Differences:
    """What is not as it should be, by host and VNI."""
    ports = {vni: view.ports for vni, view in views.items()}
    return {
        (host, each.vni): each
        for host, fdb in held.items()
        for each in forwarding.missing(forwarding.expected(fdb.vtep, ports), fdb, ports)
    }


def common(first: Difference, second: Difference) -> Difference:
    """What both differences say in the same words."""
    return Difference(
        vni=second.vni,
        missing=_common(first.missing, second.missing),
        wrong=_common(first.wrong, second.wrong),
        extra=_common(first.extra, second.extra),
    )


def _common(first: NetworkFdb, second: NetworkFdb) -> NetworkFdb:
    return NetworkFdb(
        unicast={m: v for m, v in second.unicast.items() if first.unicast.get(m) == v},
        flood=first.flood & second.flood,
        arp={ip: mac for ip, mac in second.arp.items() if first.arp.get(ip) == mac},
    )


def _counted(difference: Difference) -> str:
    parts = {
        "missing": difference.missing,
        "wrong": difference.wrong,
        "too many": difference.extra,
    }
    counts = {name: len(f.unicast) + len(f.flood) + len(f.arp) for name, f in parts.items()}
    said = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    return f"entries of VNI {difference.vni}: {said}"
