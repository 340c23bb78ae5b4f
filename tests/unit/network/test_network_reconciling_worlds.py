"""Attacks on the plan: worlds of sites in which everything changes, is cut off and breaks off."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable
from typing import Any

import hypothesis.strategies as st
import network_model as model
from hypothesis import note, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from network_model import Refused, Site

from isthmus.network import actions, partition, views
from isthmus.network.declarations import StretchedNetwork
from isthmus.network.reconciling import Plan, finished, plan
from isthmus.network.remote_ports import mirrored
from isthmus.network.views import Port, SiteView

SITES = ("paris", "lyon", "nice", "brest")
WITNESS = "madrid"
ENGINES = frozenset({*SITES, WITNESS})
# Few values, so that everything clashes with everything often.
MACS = st.sampled_from([f"fa:16:3e:00:00:{n:02x}" for n in range(9)])
IPS = st.sampled_from(
    [(f"10.50.0.{n}",) for n in range(1, 10)]
    + [("10.50.0.1", "10.50.0.2"), ("10.50.0.3", "192.0.2.9"), ()]
)
GROUPS = st.sampled_from([(), ("default",), ("default", "web"), ("db",)])
OWNERS = st.sampled_from(
    ["compute:nova"] * 5 + ["network:router_interface", "network:dhcp", "network:distributed"]
)
HOSTS = st.integers(1, 3)
NUMBERS = st.integers(0, 1000)
SITE = st.sampled_from(SITES)
BOOTS = st.lists(st.tuples(SITE, MACS, IPS, HOSTS, GROUPS, OWNERS), min_size=4, max_size=9)
READDRESSES = st.lists(st.tuples(SITE, NUMBERS, MACS, IPS), min_size=1, max_size=6)
LEFT = st.lists(
    st.tuples(SITE, st.sampled_from(["", "nonsense", "rome/x", "paris/port-1", "lyon/port-2"]), MACS, IPS),
    min_size=1, max_size=4,
)  # fmt: skip


class World(RuleBasedStateMachine):
    @initialize(
        policy=st.sampled_from(list(partition.Policy)),
        sites=st.integers(2, 4),
        boots=st.lists(BOOTS, min_size=1, max_size=3),
    )
    def begin(self, policy: partition.Policy, sites: int, boots: list[list[Any]]) -> None:
        self.now = 10_000.0
        self.sites = {name: Site(name, groups=["default", "web"]) for name in SITES}
        self.declared = model.declaration(
            sites=SITES[:sites], partition=policy, partition_after_seconds=60.0
        )
        self.lost: set[str] = set()
        self.cut: set[tuple[str, str]] = set()
        self.deaf: set[tuple[str, str]] = set()
        self.seen_at = {(a, b): self.now for a in SITES for b in SITES}
        self.counter = 0
        for batch in boots:
            self.all_reconcile()
            self.boot(batch)

    # --- what people do in their sites

    @rule(batch=BOOTS)
    def boot(self, batch: list[Any]) -> None:
        for name, mac, ips, host, groups, owner in batch:
            site = self.sites[name]
            if site.view(self.declared).network is None:
                continue
            self.counter += 1
            with contextlib.suppress(Refused):
                site.boot(
                    site.network_of(self.declared), f"port-{self.counter}", mac=mac, ips=ips,
                    vtep_ip=vtep(name, host), host=f"compute{host}", device_owner=owner,
                    security_groups=self._group_ids(site, groups), name=f"vm-{self.counter}",
                )  # fmt: skip

    def _group_ids(self, site: Site, names: Iterable[str]) -> frozenset[str]:
        return frozenset(key for key, name in site.groups.items() if name in names)

    @rule(name=SITE, which=NUMBERS)
    def delete(self, name: str, which: int) -> None:
        port = self._pick(name, which, ours=False)
        if port:
            del self.sites[name].ports[port.id]

    @rule(batch=READDRESSES)
    def readdress(self, batch: list[Any]) -> None:
        for name, which, mac, ips in batch:
            port = self._pick(name, which, ours=False)
            if port:
                with contextlib.suppress(Refused):
                    self.sites[name].change(port.id, mac=mac, ips=ips)

    @rule(name=SITE, one=NUMBERS, other=NUMBERS)
    def swap_addresses(self, name: str, one: int, other: int) -> None:
        a, b = self._pick(name, one, ours=False), self._pick(name, other, ours=False)
        if a and b and a.id != b.id:
            ports = self.sites[name].ports
            ports[a.id] = dataclasses.replace(a, ips=b.ips)
            ports[b.id] = dataclasses.replace(b, ips=a.ips)

    @rule(name=SITE, which=NUMBERS, host=st.none() | HOSTS, groups=GROUPS)
    def move(self, name: str, which: int, host: int | None, groups: tuple[str, ...]) -> None:
        port = self._pick(name, which, ours=False)
        if port:
            self.sites[name].change(
                port.id,
                vtep_ip=vtep(name, host) if host else None,
                security_groups=self._group_ids(self.sites[name], groups),
            )

    @rule(name=SITE, group=st.sampled_from(["web", "db"]))
    def add_group(self, name: str, group: str) -> None:
        self.counter += 1
        self.sites[name].groups[f"{name}-{group}-{self.counter}"] = group

    # --- what goes wrong

    @rule(name=SITE, which=NUMBERS, host=HOSTS, ips=IPS)
    def tamper(self, name: str, which: int, host: int, ips: tuple[str, ...]) -> None:
        """An administrator changes a remote port by hand."""
        port = self._pick(name, which, ours=True)
        if port:
            with contextlib.suppress(Refused):
                self.sites[name].change(
                    port.id,
                    remote_vtep=vtep(name, host),
                    vtep_ip=vtep(name, host),
                    ips=ips,
                    name="?",
                )

    @rule(batch=LEFT)
    def leave_behind(self, batch: list[Any]) -> None:
        """Somebody, or an engine of another time, left remote ports."""
        for name, device, mac, ips in batch:
            site = self.sites[name]
            if site.view(self.declared).network is None:
                continue
            self.counter += 1
            with contextlib.suppress(Refused):
                site.boot(
                    site.network_of(self.declared), f"left-{self.counter}", mac=mac, ips=ips,
                    device_owner=views.REMOTE_OWNER, device_id=device, remote_vtep="10.9.9.9",
                )  # fmt: skip

    @rule(name=SITE)
    def lose_tags(self, name: str) -> None:
        for table in (self.sites[name].networks, self.sites[name].subnets):
            for key, held in table.items():
                table[key] = dataclasses.replace(held, tags=frozenset())  # type: ignore[type-var]

    @rule(one=SITE, other=SITE, deaf=st.booleans())
    def cut_link(self, one: str, other: str, deaf: bool) -> None:
        """`one` cannot ask the Neutron of `other`; if `deaf`, it does not hear its engine either."""
        if one != other:
            self.cut.add((one, other))
            if deaf:
                self.deaf.add((one, other))

    @rule(name=SITE, wholly=st.booleans(), seconds=st.sampled_from([1.0, 100.0]))
    def cut_off(self, name: str, wholly: bool, seconds: float) -> None:
        """Nobody sees the site any more (and it nobody); `wholly`: the witness does neither."""
        for other in ENGINES - {name} if wholly else set(SITES) - {name}:
            self.cut |= {(name, other), (other, name)}
            self.deaf |= {(name, other), (other, name)}
        self.now += seconds

    @rule()
    def heal(self) -> None:
        self.cut, self.deaf = set(), set()

    @rule(seconds=st.sampled_from([1.0, 45.0, 100.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    # --- what operators do

    @rule(name=SITE)
    def declare_lost(self, name: str) -> None:
        self.lost ^= {name}

    @rule(name=SITE)
    @precondition(lambda self: not self.declared.deleting)
    def attach_or_detach(self, name: str) -> None:
        held = self.declared.sites
        sites = (*held, name) if name not in held else tuple(each for each in held if each != name)
        if sites:
            self.declared = dataclasses.replace(self.declared, sites=sites)

    # --- what engines do

    @rule(name=SITE, steps=st.sampled_from([0, 1, 2, 3, 10**6]))
    def reconcile(self, name: str, steps: int) -> None:
        """Plan from fresh views; the engine may be killed after any number of actions."""
        self._carry_out(name, self._plan(name), steps)

    @rule(
        one=SITE, other=SITE, which=st.sets(NUMBERS, max_size=3), steps=st.sampled_from([1, 10**6])
    )
    def poke(self, one: str, other: str, which: set[int], steps: int) -> None:
        """A narrowed plan for some ports of another site."""
        ports = [self._pick(other, each, ours=False) for each in which]
        ids = frozenset(each.id for each in ports if each) | {"port-1"}
        if one != other:
            self._carry_out(one, self._plan(one, only=(other, ids)), steps)

    @rule()
    def all_reconcile(self) -> None:
        for name in self.declared.sites:
            self._carry_out(name, self._plan(name), 10**6)
            self._carry_out(name, self._plan(name), 10**6)

    def _plan(self, name: str, only: tuple[str, frozenset[str]] | None = None) -> Plan:
        own = self.sites[name].view(self.declared, seen_at=self.now)
        peers = {other: self._look(name, other) for other in SITES if other != name}
        if only:
            own = dataclasses.replace(own, only=only[1])
            peers = {only[0]: dataclasses.replace(peers[only[0]], only=only[1])}
        heard = frozenset(each for each in ENGINES - {name} if (name, each) not in self.deaf)
        hearing = partition.Hearing(own=name, engines=ENGINES, heard=heard)
        now = plan(self.declared, own, peers, frozenset(self.lost), self.now, hearing=hearing)
        self._judge(name, now, peers, hearing)
        return now

    def _look(self, name: str, other: str) -> SiteView:
        if (name, other) in self.cut:
            return views.silent(other, self.seen_at[name, other], "no answer within 5 s")
        self.seen_at[name, other] = self.now
        return self.sites[other].view(self.declared, seen_at=self.now)

    def _judge(
        self, name: str, now: Plan, peers: dict[str, SiteView], hearing: partition.Hearing
    ) -> None:
        """The invariant of silence: what was not seen is not taken away."""
        if self.declared.deleting or name not in self.declared.sites:
            return
        deleted = {
            each.origin.site
            for each in now.actions
            if isinstance(each, actions.DeletePort)
            and each.origin
            and "second time" not in each.why
        }
        for site in deleted - self.lost - {name}:
            if site not in self.declared.sites or (site in peers and peers[site].good):
                continue
            assert self.declared.partition is partition.Policy.PURGE
            assert self.now - self.seen_at[name, site] >= 60.0
            assert hearing.majority
            assert site not in hearing.heard

    def _carry_out(self, name: str, now: Plan, steps: int) -> None:
        note(f"{name}: {now.actions}")
        # The views are fresh, so that nothing may be refused.
        self.sites[name].apply(self.declared, now.actions[:steps])

    def _pick(self, name: str, which: int, *, ours: bool) -> Port | None:
        ports = sorted((p for p in self.sites[name].ports.values() if p.ours is ours), key=_by_id)
        return ports[which % len(ports)] if ports else None

    # --- what must hold

    @invariant()
    def planning_twice_is_planning_once(self) -> None:
        if not hasattr(self, "sites"):
            return
        for name in self.declared.sites:
            assert self._plan(name) == self._plan(name)

    def teardown(self) -> None:
        if not hasattr(self, "sites"):
            return
        self.cut, self.deaf, self.lost = set(), set(), set()
        for name in SITES:
            self._settle(name)
        for name in SITES:
            assert self._plan(name).empty
        for name in self.declared.sites:
            self._is_the_truth(name)
        for name in set(SITES) - set(self.declared.sites):
            assert not any(port.ours for port in self.sites[name].ports.values())
        self._delete_all()

    def _settle(self, name: str) -> None:
        for _ in range(2):
            now = self._plan(name)
            self._carry_out(name, now, 10**6)
            if not now.again:
                return
        raise AssertionError(f"{name} asks to plan again for ever")

    def _is_the_truth(self, name: str) -> None:
        site = self.sites[name]
        held = {each.device_id: each for each in site.ports.values() if each.ours}
        locals_ = [each for each in site.ports.values() if not each.ours]
        origins = {
            f"{peer}/{port.id}": (peer, port)
            for peer in self.declared.sites
            if peer != name
            for port in self.sites[peer].ports.values()
            if mirrored(port)
        }
        assert held.keys() <= origins.keys()
        assert len(held) == sum(1 for each in site.ports.values() if each.ours)
        for key, (peer, port) in origins.items():
            if key in held:
                self._is_mirrored(site, held[key], self.sites[peer], port)
            else:
                holders = [*locals_, *held.values()]
                assert any(claims(port) & claims(each) for each in holders), f"{key} is missing"

    def _is_mirrored(self, site: Site, remote: Port, peer: Site, port: Port) -> None:
        inside = tuple(ip for ip in port.ips if ip.startswith("10.50.0."))
        assert (remote.mac, remote.ips, remote.remote_vtep, remote.name) == (
            port.mac,
            inside,
            port.vtep_ip,
            port.name,
        )
        names = {peer.groups[each] for each in port.security_groups}
        unique = {n for n in names if list(site.groups.values()).count(n) == 1}
        assert {site.groups[each] for each in remote.security_groups} == unique

    def _delete_all(self) -> None:
        end: StretchedNetwork = dataclasses.replace(self.declared, deleting=True)
        self.declared = end
        for name in SITES:
            self._settle(name)
            site = self.sites[name]
            assert not any(port.ours for port in site.ports.values())
            if not any(p.device_owner != "network:dhcp" for p in site.ports.values()):
                assert not site.networks
                assert not site.subnets
        whole = {name: self.sites[name].view(end) for name in SITES}
        assert finished(end, whole) == (not any(site.networks for site in self.sites.values()))


def claims(port: Port) -> set[str]:
    return {port.mac, *(ip for ip in port.ips if ip.startswith("10.50.0."))}


def vtep(site: str, host: int) -> str:
    return f"10.99.{SITES.index(site) + 1}.{30 + host}"


def _by_id(port: Port) -> str:
    return port.id


TestWorld = World.TestCase
TestWorld.settings = settings(max_examples=30, stateful_step_count=25)
