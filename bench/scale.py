"""Many ports and many sites: how long a full reconcile takes and what bounds it, what it costs to keep, and how rounds grow.

The engine of Paris is the product's, as are its Neutron, its hosts and their agents; the other sites are simulated
(`bench/peers`), so that there can be fifty of them, using the cores that are measured for nothing but answers. Two networks: one
with a hundred ports in one other site, one with a thousand in fifty sites, which then gets ten thousand (`bench/planting.py`).
`--stage-seconds` bounds each reconcile and each removal; what was reached by then is what is measured.
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from bench import labs, launching, metering, results, stretching
from bench.distributions import percentile, spread
from bench.following import Watch, follow, say
from bench.launching import Options
from bench.results import Cell, Result
from bench.scale_tables import Tables
from bench.scaling import ENGINE, SITE, Network, Scaled
from isthmus.errors import IsthmusError
from isthmus.lab import processes

TAKES = "half an hour; --quick 5 minutes"
AIM_SECONDS, AIM_PORTS = 30.0, 1000
SEED = 20260222
MOST_ROWS = 150_000
_ROUNDS = 5
_ROUND_SECONDS = 120.0
_HOSTS = ("compute1", "compute2")


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is measured. `budget`: seconds for one stage; `window`: seconds in which steady cost is counted."""

    single: int
    sites: int
    each: int
    most: int
    budget: float
    window: float


FULL = Size(single=100, sites=50, each=20, most=10_000, budget=1200.0, window=30.0)
QUICK = Size(single=0, sites=10, each=20, most=400, budget=120.0, window=15.0)


def measure(options: Options) -> Result:
    """One site with many ports, then many sites, then many of both."""
    size = QUICK if options.quick else FULL
    budget = options.stage_seconds or size.budget
    result = Result(
        name="scale",
        about=f"The engine, Neutron and hosts of {SITE} with simulated peers (seed {SEED}) that speak the real APIs. A full "
        "reconcile is counted from the moment when the ports are there in the other sites and the engine is poked, to the round "
        "that finds nothing left to do. Two hosts of the site have a guest on the network, unless said otherwise; all ports are "
        "in the security group `default`, whose members may talk to each other.",
    )
    measuring = Measuring(result, size, budget)
    with stretching.prepared("scale") as lab:
        scaled = Scaled(lab, size.sites, SEED)
        try:
            measuring.run(scaled)
        except IsthmusError as error:
            result.notes.append(f"the run ended early: {error}")
            print(error.describe(), file=sys.stderr, flush=True)
        except KeyboardInterrupt:
            for table in measuring.found.tables():
                print("\n".join([*results.markdown(table), ""]), file=sys.stderr)
            raise
    result.tables = measuring.found.tables()
    return result


class Measuring:
    """The stages, and what they found so far."""

    def __init__(self, result: Result, size: Size, budget: float) -> None:
        self.result, self.size, self.budget = result, size, budget
        self.found = Tables()

    def run(self, scaled: Scaled) -> None:
        """All stages; the networks are gone afterwards."""
        scaled.start()
        scaled.remove_leftovers(self.budget)
        self._cost(scaled, "no stretched network")
        if self.size.single:
            with scaled.network("10.76.0.0/16", scaled.sites[:1], self.budget) as network:
                self._single(scaled, network)
        with scaled.network("10.77.0.0/16", scaled.sites, self.budget) as network:
            self._many(scaled, network)

    def _single(self, scaled: Scaled, network: Network) -> None:
        """One other site with many ports: what a full reconcile takes, and its steady cost."""
        for host in _HOSTS:
            scaled.guest(network, host)
        label = f"1 site x {self.size.single} ports"
        if self._reconcile(scaled, network, self.size.single, label, _HOSTS):
            self._measure_rounds(scaled, network, label)
            self._cost(scaled, label)
        self._withdraw(scaled, network, label)

    def _many(self, scaled: Scaled, network: Network) -> None:
        """Many sites; a host that joins late; then as many ports as the time allows."""
        scaled.guest(network, _HOSTS[0])
        size = self.size
        label = f"{size.sites} sites x {size.each} ports"
        if not self._reconcile(scaled, network, size.each, label, _HOSTS[:1]):
            return
        self._measure_rounds(scaled, network, label)
        self._late(scaled, network, size.sites * size.each)
        self._churn(scaled, network)
        self._cost(scaled, label)
        if size.most > size.sites * size.each:
            self._grown(scaled, network)
        else:
            self._withdraw(scaled, network, label)

    def _grown(self, scaled: Scaled, network: Network) -> None:
        """Many ports, and what each site's remote ports for all others add to that.

        An engine reads all ports of a peer's network, so that they multiply: at first they are left away.
        """
        size = self.size
        scaled.tell("mirror", wanted=False)
        without = "peers without remote ports"
        label = f"{size.sites} sites x {size.each} ports, {without}"
        self._measure_rounds(scaled, network, label)
        each = size.most // size.sites
        label = f"{size.sites} sites x {each} ports"
        try:
            if not self._planted(scaled, network, each):
                return
            self._measure_rounds(scaled, network, f"{label}, {without}")
            self._cost(scaled, f"{label}, {without}")
            rows = each * size.sites * size.sites
            if rows > MOST_ROWS:
                self.result.notes.append(
                    f"{label} with remote ports in all peers: not tried, as {rows} rows in each round are more than the engine "
                    "has memory for beside a lab"
                )
                return
            scaled.tell("mirror", wanted=True)
            self._measure_rounds(scaled, network, label)
        finally:
            with labs.undisturbed():
                scaled.uproot(network, size.each)

    def _planted(self, scaled: Scaled, network: Network, each: int) -> bool:
        """Lay ports into Neutron's database until each site has `each`; wait until hosts were told by the engine's repair."""
        count = each * self.size.sites
        say(f"planting, {count} remote ports in all")
        watch = Watch(flows=scaled.flows, lasting=scaled.lasting, hosts=_HOSTS)
        try:
            more = scaled.plant(network, each)
            scaled.poke(network)

            def unfinished() -> str | None:
                held = {host: watch.now(host) for host in watch.hosts}
                if min(held.values()) < more:
                    return f"entries on hosts: {held} of {more} more"
                found = scaled.summary(network)
                good = found.get("converged") and found.get("remote_ports") == count
                return None if good else str(found)

            done = follow(unfinished, budget=self.budget, what=f"{count} remote ports")
        finally:
            watch.stop()
        self.result.notes.append(
            f"{more} of the {count} remote ports were laid into Neutron's database, as copies of those that Neutron made "
            "(`bench/planting.py`); hosts learned of them from the engine, which found their entries missing and cast them again"
        )
        if not done:
            self.result.notes.append(
                f"{self.budget:g} s were too few to repair {more} entries on two hosts"
            )
            return False
        first = min(at for host in watch.hosts if (at := watch.reached(host, 1)) is not None)
        last = max(at for host in watch.hosts if (at := watch.reached(host, more)) is not None)
        self.result.figure("lost_entries_repaired", last - first, "s", entries=more, hosts=2)
        return True

    # -- a full reconcile

    def _reconcile(
        self, scaled: Scaled, network: Network, each: int, label: str, hosts: Sequence[str]
    ) -> bool:
        """Let all ports appear at once and wait until all is done; False if the time was too short."""
        count = each * len(network.peers)
        say(f"{label}: full reconcile, aim {AIM_SECONDS:g} s for {AIM_PORTS}")
        watch = Watch(flows=scaled.flows, lasting=scaled.lasting, hosts=hosts)
        before = metering.read(scaled.lab, scaled.site)
        began = scaled.hold(network, each)
        try:
            done = follow(
                lambda: self._unfinished(scaled, network, count, began, watch),
                budget=self.budget,
                what=label,
            )
            ended = time.time()
            used = metering.read(scaled.lab, scaled.site) - before
        finally:
            watch.stop()
        self._told(scaled, network, label, count, began, ended, watch)
        self.found.used(label, used, count)
        if done:
            self._truth(scaled, network, label, hosts)
            name, seconds = f"full_reconcile.{len(network.peers)}_sites", ended - began
            if count == AIM_PORTS:
                self.result.aim(name, seconds, "s", at_most=AIM_SECONDS, ports=count)
            else:
                self.result.figure(name, seconds, "s", ports=count)
        else:
            self.result.notes.append(f"{label}: not finished in {self.budget:g} s")
        return done

    def _unfinished(
        self, scaled: Scaled, network: Network, count: int, began: float, watch: Watch
    ) -> str | None:
        made = sum(portion.actions for portion in scaled.portions(network, began))
        held = {host: watch.now(host) for host in watch.hosts}
        text = f"{made} of {count} remote ports made; entries on hosts: {held}"
        # What a request that was given up has made is in no line of the log, and is there all the same.
        if min(held.values(), default=0) < count:
            return text
        # Asked only now: the answer counts all ports.
        found = scaled.summary(network)
        good = found.get("converged") and found.get("remote_ports") == count
        return None if good else f"{text}; {found}"

    def _told(
        self,
        scaled: Scaled,
        network: Network,
        label: str,
        count: int,
        began: float,
        ended: float,
        watch: Watch,
    ) -> None:
        """What the engine's log and the hosts say of the reconcile."""
        bulks = scaled.portions(network, began)
        made = sum(bulk.actions for bulk in bulks)
        if not made:
            return
        first = min(bulk.ended - bulk.seconds for bulk in bulks)
        last = max(bulk.ended for bulk in bulks)
        in_neutron = sum(bulk.seconds for bulk in bulks)
        per_port = [1000 * bulk.seconds / bulk.actions for bulk in bulks if bulk.actions]
        row: list[Cell] = [label, made, first - began, in_neutron, 1000 * in_neutron / made,
                           min(per_port), max(per_port), ended - last, ended - began]  # fmt: skip
        self.found.reconciles.append(row)
        self.result.figure(
            f"neutron_bulk_create.{len(network.peers)}_sites", 1000 * in_neutron / made, "ms/port"
        )
        for host in watch.hosts:
            entries = watch.seen[host]
            all_at = watch.reached(host, count)
            first_at = watch.reached(host, 1)
            self.found.hosts.append(
                [label, host, max((held for _, held in entries), default=0),
                 None if first_at is None else first_at - began,
                 None if all_at is None else all_at - began,
                 None if all_at is None else all_at - last]
            )  # fmt: skip

    def _truth(self, scaled: Scaled, network: Network, label: str, hosts: Sequence[str]) -> None:
        for host in hosts:
            if wrong := scaled.untrue(network, host):
                self.result.notes.append(
                    f"{label}: {host} does not send {wrong} MACs where they are"
                )

    def _late(self, scaled: Scaled, network: Network, count: int) -> None:
        """A host that joins when all ports are there is told all of them at once: the agent's pace without Neutron's."""
        host = _HOSTS[1]
        label = f"{host} joins {count} ports"
        say(label)
        watch = Watch(flows=scaled.flows, lasting=scaled.lasting, hosts=[host])
        before = metering.read(scaled.lab, scaled.site)
        began = time.time()
        try:
            scaled.guest(network, host)
            follow(
                lambda: None if watch.now(host) >= count else f"{watch.now(host)} of {count}",
                budget=min(self.budget, 30.0 + 0.1 * count),
                what=label,
            )
            used = metering.read(scaled.lab, scaled.site) - before
        finally:
            watch.stop()
        first, last = watch.reached(host, 1), watch.reached(host, count)
        self.found.hosts.append(
            [label, host, watch.now(host), None if first is None else first - began,
             None if last is None else last - began, None]
        )  # fmt: skip
        agent = used.cpu.get(f"{SITE}/{host}-l2", 0.0)
        self.result.figure("agent_cpu_per_entry", 1000 * agent / count, "ms", entries=count)
        if first is not None and last is not None:
            pace = 1000 * (last - first) / count
            self.result.figure("agent_install_per_entry", pace, "ms", entries=count)

    # -- changes, rounds, cost

    def _churn(self, scaled: Scaled, network: Network) -> None:
        """Some ports are moved and replaced in all sites at once, and the engine is poked about them."""
        count = max(len(network.peers), 20)
        say(f"{count} ports change in {len(network.peers)} sites")
        began = time.time()
        answer = scaled.tell("churn", network=network.id, count=count)
        touched = sum(len(ports) for ports in answer["touched"].values())
        done = follow(
            lambda: self._differing(scaled, network), budget=min(self.budget, 120.0), what="churn"
        )
        if done:
            seconds = time.time() - began
            self.result.figure("churn", seconds, "s", changes=count, ports_touched=touched)
        self.result.notes += [f"a poke was refused: {each}" for each in answer["refused"]]

    def _differing(self, scaled: Scaled, network: Network) -> str | None:
        """Whether the first host, the last to know, has everything where it is now."""
        wrong = scaled.untrue(network, _HOSTS[0])
        return f"{wrong} MACs are not where they are" if wrong else None

    def _measure_rounds(self, scaled: Scaled, network: Network, label: str) -> None:
        """Whole comparisons with nothing to do, one after the other."""
        say(f"{label}: {_ROUNDS} rounds")
        before = scaled.tell("state")
        used = metering.read(scaled.lab, scaled.site)
        seconds, late = [], 0
        for _ in range(_ROUNDS):
            found = scaled.round(network, _ROUND_SECONDS)
            if found.get("converged"):
                seconds.append(float(found["seconds"]))
            else:
                late += 1
                self.result.notes.append(f"{label}: a round left: {found.get('left')}"[:300])
        cpu = metering.read(scaled.lab, scaled.site) - used
        after = scaled.tell("state")
        asked = after["requests"].get("v2.0", 0) - before["requests"].get("v2.0", 0)
        mebibytes = (after["bytes"] - before["bytes"]) / (1 << 20)
        times = spread(seconds) if seconds else None
        row: list[Cell] = [label, times.p50 if times else None, times.low if times else None,
                           times.high if times else None, late, asked / _ROUNDS,
                           mebibytes / _ROUNDS, cpu.cpu.get(ENGINE, 0.0) / _ROUNDS]  # fmt: skip
        self.found.rounds.append(row)
        if times:
            name = label.replace(",", "").replace(" ", "_")
            self.result.figure(f"round.{name}", percentile(seconds, 0.5), "s")

    def _cost(self, scaled: Scaled, label: str) -> None:
        """What everything uses while nobody changes anything."""
        say(f"{label}: steady cost, {self.size.window:g} s")
        used = metering.idle(scaled.lab, scaled.site, self.size.window)
        memory: dict[str, float] = {}
        for unit, found in processes.running(scaled.lab.home.lab).items():
            memory[unit] = sum(processes.pss(each.pid) for each in found) / (1 << 20)
        for unit, seconds in used.cpu.items():
            if unit.startswith(f"{SITE}/"):
                cell = (label, 60 * seconds / used.at, memory.get(unit, 0.0))
                self.found.steady.setdefault(unit, []).append(cell)
        minute = 60 * used.cpu.get(ENGINE, 0.0) / used.at
        self.result.figure(f"engine_cpu.{label.replace(' ', '_')}", minute, "s/min")

    def _withdraw(self, scaled: Scaled, network: Network, label: str) -> None:
        """All ports vanish in the other sites."""
        count = int(scaled.summary(network).get("remote_ports") or 0)
        say(f"{label}: {count} ports vanish")
        began = scaled.hold(network, 0)

        def left() -> str | None:
            found = scaled.summary(network)
            done = sum(portion.actions for portion in scaled.portions(network, began))
            good = found.get("converged") and found.get("remote_ports") == 0
            return None if good else f"{done} of {count} removed"

        if count and follow(left, budget=self.budget, what="withdrawal"):
            seconds = time.time() - began
            name = f"withdrawal.{len(network.peers)}_sites"
            self.result.figure(name, 1000 * seconds / count, "ms/port", ports=count)


if __name__ == "__main__":
    raise SystemExit(launching.one("scale", measure, takes=TAKES))
