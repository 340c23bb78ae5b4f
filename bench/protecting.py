"""The lab with recovery to measure on: a VNF that is taken away again, and a site as its own engine works with it.

An engine reaches Cinder, the host agents and Ceph from inside its site. What is measured here of the product without an engine
is called in a thread that is there too (threads that it starts stay there), with the engine's own configuration.
"""

import contextlib
import functools
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Any, TypeVar

from bench import labs
from bench.results import Result
from isthmus import errors
from isthmus.engine import calling, config
from isthmus.engine.sessions import Sessions
from isthmus.lab import inside, templates, vnf, waiting
from isthmus.lab.components import ceph, ceph_config, debian_modules
from isthmus.lab.components.ceph_cluster import Cluster as Daemons
from isthmus.lab.environment import SiteSpec
from isthmus.lab.vnf import Vnf
from isthmus.recovery import remote_store
from isthmus.recovery.cinder import Cinder
from isthmus.recovery.declarations import Group, Member
from isthmus.recovery.freezing.hosts import HostAgents
from isthmus.recovery.metadata.reading import Clients
from isthmus.recovery.probing import Guests
from isthmus.recovery.snapshots.rbd import Cluster

ENVIRONMENT = "recovery"

NAME = "bench"
"""Of the VNF and of all that is declared about it: the same in each run, so that a run that was killed leaves nothing unknown."""
CIDR = IPv4Network("10.81.0.0/24")

_RECORDS_S = 240.0
"""An emulated guest boots in a minute beside two others, and then writes its first records."""

_GONE_S = 120.0

T = TypeVar("T")


@contextlib.contextmanager
def prepared(purpose: str) -> Iterator[labs.Lab]:
    """The lab with recovery, up and healthy before and after."""
    with labs.prepared(purpose, ENVIRONMENT) as lab:
        # Ceph's libraries are Debian's; nothing else of Debian's may be seen.
        sys.path.append(debian_modules.environment(lab.home)["PYTHONPATH"])
        yield lab


@contextlib.contextmanager
def uncut() -> Iterator[None]:
    """Hold Ctrl-C back until the end: who is inside holds guests, or leaves a thread behind that goes on by itself.

    Where it is ignored (`labs.undisturbed`) it stays so.
    """
    held: list[int] = []
    kept = {
        number: signal.signal(number, lambda found, _: held.append(found))
        for number in (signal.SIGINT, signal.SIGTERM)
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
    if held:
        raise KeyboardInterrupt


def tried(result: Result, what: str, do: Callable[[], T]) -> T | None:
    """What `do` returns; None with a note if it fails, because one run that fails is not the loss of the others."""
    try:
        return do()
    except Exception as error:  # the stock libraries have each their own tree
        text = " ".join(str(error).split())[:400]
        result.notes.append(f"{what} failed: {type(error).__name__}: {text}")
        traceback.print_exc()
        return None


@dataclass(frozen=True)
class Place:
    """One site as its engine sees it. What its methods and properties give is to be used in `within`."""

    lab: labs.Lab
    name: str

    @property
    def site(self) -> SiteSpec:
        return self.lab.environment.site(self.name)

    def within(self, do: Callable[[], T]) -> T:
        """What `do` returns when it is called inside the site."""
        with uncut():
            return inside.within(self.site.namespace, do)

    @functools.cached_property
    def settings(self) -> config.Config:
        """The configuration with which the site's engine runs."""
        return config.load(self.lab.units[f"{self.name}/engine"].context.directory / "engine.yaml")

    @functools.cached_property
    def _sessions(self) -> Sessions:
        return Sessions(self.settings.identity)

    def session(self, project_id: str) -> Any:
        return self._sessions.of_project(project_id)

    def cinder(self, project_id: str) -> Cinder:
        return Cinder(self.session(project_id), self.name)

    def clients(self, project_id: str) -> Clients:
        return Clients.of(self.session(project_id), self.name)

    @functools.cached_property
    def hosts(self) -> HostAgents:
        secret = self.settings.secret.get_secret_value()
        return HostAgents(calling.host_agents(self.settings.hosts, secret, self.name))

    def sizes(self, project_id: str) -> Callable[[str, str], int]:
        """The bytes below a container and a prefix of the remote store, in the project's account."""
        return self.store(project_id).stored_bytes

    def store(self, project_id: str | None = None) -> remote_store.Store:
        """The remote store in the account of a project, or of the engine: there the manifests are."""
        recovery = self.settings.recovery
        assert recovery is not None  # noqa: S101 - the environment has it in both sites
        session = self.session(project_id) if project_id else self._sessions.session
        return remote_store.swift(
            session, recovery.store_region, container=recovery.store_container
        )

    @property
    def daemons(self) -> Daemons:
        """The site's Ceph, to be told something as its administrator."""
        return ceph.cluster(self.lab.units[f"{self.name}/{ceph.NAME}"].context)

    @property
    def cluster(self) -> Cluster:
        """The site's Ceph as the engine's account reaches it, by paths that are good outside of the engine's own /etc."""
        etc = self.daemons.etc
        return Cluster(
            conf=str(etc / f"{ceph_config.CLUSTER}.conf"),
            user=ceph_config.CLIENT,
            pool=ceph_config.POOL,
            keyring=str(etc / f"{ceph_config.CLUSTER}.client.{ceph_config.CLIENT}.keyring"),
        )

    def answer(self, project_id: str, member: Member, server_id: str) -> None:
        """Wait until a server's guest answers and its own test succeeds, asked as the product asks. Raises IsthmusError."""
        probe = Guests(self.hosts)

        def look() -> str | None:
            try:
                self.within(lambda: probe(self.clients(project_id).compute, member, server_id))
            except errors.UnavailableError as error:
                return str(error)
            return None

        waiting.until(
            look,
            deadline=_RECORDS_S,
            what=f"the guest of {member.name} does not answer",
            where=self.name,
            interval=1.0,
        )


def members(made: Vnf) -> tuple[Member, ...]:
    """The servers of a VNF as the product knows them: the client is frozen first and boots last."""
    ids = {each.role: each.server_id for each in made.members}
    return tuple(
        Member(
            server_id=ids[role],
            name=role,
            level=level,
            depends=tuple(vnf.ROLES[: vnf.ROLES.index(role)][-1:]),
            test=(vnf.VERIFY,),
        )
        for level, role in enumerate(reversed(vnf.ROLES))
    )


def group(made: Vnf, group_id: str, policy: str) -> Group:
    """The VNF as a protection group that nobody was told of."""
    return Group(
        id=group_id,
        name=made.name,
        site=made.site,
        backup_site="lyon",
        project_id=made.project_id,
        members=members(made),
        policy=policy,
    )


def volumes(made: Vnf) -> Sequence[str]:
    """The ids of all volumes of a VNF."""
    return [volume for member in made.members for volume in member.volumes]


@contextlib.contextmanager
def running(lab: labs.Lab) -> Iterator[Vnf]:
    """The lab's VNF in Paris, whose guests write records; gone from all sites afterwards."""
    try:
        made = vnf.create(lab.home, NAME, site="paris", cidr=CIDR, say=say)
        paris = Place(lab, "paris")
        for member in members(made):
            say(f"paris: {member.name} answers")
            paris.answer(made.project_id, member, member.server_id)
        yield made
    finally:
        with labs.undisturbed():
            quietly("the VNF was not taken away", lambda: vnf.delete(lab.home, NAME, say=say))
            # Who makes it again would take a volume that is being deleted for its own.
            for site in templates.computing(lab.environment):
                seen = vnf.Site(lab.home, site)
                quietly("volumes are still being deleted", lambda seen=seen: gone(seen, NAME))  # type: ignore[misc]


def gone(site: vnf.Site, name: str) -> None:
    """Wait until no volume of that VNF is left, which Cinder deletes in its own time. Raises NotReady."""

    def look() -> str | None:
        left = [v.name for v in site.demo.block_storage.volumes() if v.name.startswith(f"{name}-")]
        return f"{', '.join(left)} are there" if left else None

    waiting.until(
        look, deadline=_GONE_S, what="volumes are not gone", where=site.name, interval=1.0
    )


def say(text: str) -> None:
    """Progress."""
    print(f"  {text}", file=sys.stderr, flush=True)


def quietly(what: str, do: Callable[[], Any]) -> None:
    """Clean up. A failure is said and no more: what was measured, or the reason why nothing was, matters more."""
    try:
        do()
    except Exception as error:  # the stock libraries have each their own tree
        print(f"{what}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)


def timed(do: Callable[[], T]) -> tuple[float, T]:
    """Seconds, and what it returned."""
    began = time.monotonic()
    found = do()
    return time.monotonic() - began, found
