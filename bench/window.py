"""How long a VNF is held for a checkpoint: ours beside Nova's quiesce and Cinder's snapshots, asked for by a script.

A checkpoint copies six volumes to another site, which takes minutes and is not what is measured. So ours is the freeze step of
`isthmus operation protect` without what comes before and after: the same ledger, atom, host agents, dead-men and `rbd` driver,
from arming to the last thaw that was verified, with the engine's own configuration. `window_s` is the ledger's, which is what a
checkpoint shows; `bench.failover` makes one whole checkpoint and has its window. Unlike there, the ledger is saved in memory:
the engine writes it to its database before the first freeze and after the last thaw, never in between.

The peer is what an operator can write with stock clients, through the services' APIs: quiesce server after server in the order
of the VNF, a group snapshot of Cinder, unquiesce in reverse. Stock Nova has no such action in its API at all, so that the script
uses that of our filter (`isthmus.plugins.nova`), which calls what Nova itself calls when it makes an image. Its window ends when
the last unquiesce was accepted: the script cannot know when the guest is thawed.
"""

import contextlib
import uuid
from collections.abc import Iterator, Mapping, Sequence

from openstack import exceptions

from bench import labs, launching, pairs, protecting
from bench.distributions import percentile, spread
from bench.launching import Options
from bench.pairs import Pair
from bench.protecting import Place
from bench.results import Cell, Result, Table
from bench.scripted_groups import Quiescing, Volumes
from isthmus.errors import IsthmusError
from isthmus.lab import vnf
from isthmus.lab.vnf import Vnf
from isthmus.recovery.declarations import LONGEST_FREEZE_S
from isthmus.recovery.freezing import atom, flushing, ledger
from isthmus.recovery.freezing.ledger import FreezeLedger, Whereabouts
from isthmus.recovery.snapshots.rbd import PROPOSALS, RbdSnapshots

TAKES = "15 minutes; --quick 8"
RUNS, QUICK = 10, 2
AIMS_S = {"fast": 1.0, "default": 2.0}
"""Of the 95th percentile: with monitors that propose every 0.05 s, as the lab's do, and as Ceph is delivered."""

_GROUP_ID = "5f0f2c5e-4b0c-4c57-9a58-6b6b5a9d7a10"


def measure(options: Options) -> Result:
    """Both, run by run, with the lab's monitors and then with Ceph's default."""
    count = QUICK if options.quick else RUNS
    result = Result(
        name="window",
        about="Seconds that a VNF of three emulated servers with six volumes on Ceph is held for snapshots of one point in "
        "time. Ours: from the first freeze to the last *verified* thaw, `rbd` driver. Peer: a script with the stock clients' "
        "APIs, quiesce in order, snapshots by Cinder, unquiesce in reverse, until the last unquiesce is accepted. "
        "Interleaved; whose turn is first changes from run to run.",
    )
    with (
        protecting.prepared("window") as lab,
        protecting.running(lab) as made,
        _volumes(lab, made, result) as volumes,
    ):
        rows: list[list[Cell]] = []
        stages: list[list[Cell]] = []
        rounds = Rounds(Place(lab, made.site), made)
        for label in AIMS_S:
            row = protecting.tried(
                result,
                f"series {label}",
                lambda label=label: _series(result, label, count, rounds, lab, volumes),  # type: ignore[misc]
            )
            if row is not None:
                rows.append(row)
                stages += _stages(result, label, rounds.spent)
    columns = ("monitors", *pairs.COLUMNS)
    result.tables.append(Table(title="Freeze window, seconds", columns=columns, rows=rows))
    result.tables.append(
        Table(
            title="What ours is spent on, seconds",
            columns=("monitors", "stage", "runs", "median", "min", "max"),
            rows=stages,
        )
    )
    return result


def _series(
    result: Result, label: str, count: int, rounds: "Rounds", lab: labs.Lab, volumes: Volumes
) -> list[Cell]:
    found: list[Pair] = []
    rounds.spent.clear()
    with _proposals(rounds.place, default=label == "default") as told:
        quiescing = Quiescing(vnf.Site(lab.home, rounds.place.site), rounds.made)
        for number in range(count):
            taken: dict[str, float | None] = {}
            halves = {"ours": rounds.window, "peer": lambda: quiescing.window(volumes)}
            for name in sorted(halves, reverse=bool(number % 2)):
                what = f"{label}, run {number + 1}, {name}"
                taken[name] = protecting.tried(result, what, halves[name])
            found.append(Pair(ours=taken["ours"], theirs=taken["peer"]))
            protecting.say(f"window, {label}: {found[-1]}")
    pairs.record(result, label, found, "s")
    if mine := pairs.ours(found):
        p95 = percentile(mine, 0.95)
        result.aim(f"{label}.ours_p95", p95, "s", at_most=AIMS_S[label])
    return pairs.row(f"{label} ({PROPOSALS} {told})", found)


def _stages(result: Result, label: str, spent: Sequence[Mapping[str, float]]) -> list[list[Cell]]:
    """Rows of the second table, and their figures."""
    rows: list[list[Cell]] = []
    for stage in spent[0] if spent else ():
        found = spread([each[stage] for each in spent])
        result.spread(f"{label}.{stage}", found, "s")
        rows.append([label, stage, str(found.count), found.p50, found.low, found.high])
    return rows


class Rounds:
    """Ours: rounds of the product's freeze section, each with nothing left behind."""

    def __init__(self, place: Place, made: Vnf) -> None:
        self.place, self.made = place, made
        self.spent: list[Mapping[str, float]] = []
        self._group = protecting.group(made, _GROUP_ID, "bench")

    def window(self) -> float:
        """Seconds of one sound round. Raises IsthmusError when it is void."""
        ended = self.place.within(self._round)
        if not ended.sound or ended.window_s is None:
            raise IsthmusError("the round is void", cause=ended.void_reason)
        self.spent.append(ended.stages_s)
        return ended.window_s

    def _round(self) -> FreezeLedger:
        """As `isthmus.recovery.flows.rounds.Freeze` does it; the snapshots are removed."""
        name, project = str(uuid.uuid4()), self.made.project_id
        compute = self.place.clients(project).compute
        servers = [each.server_id for each in self._group.members]
        where = {
            each: Whereabouts.of(compute.get(f"/servers/{each}")["server"]) for each in servers
        }
        planned = ledger.planned(
            self._group,
            round_id=name,
            epoch=1,
            deadline_s=LONGEST_FREEZE_S,
            whereabouts=where,
        )
        driver = RbdSnapshots(
            self.place.cinder(project),
            self.place.cluster,
            protecting.volumes(self.made),
            round_id=name,
            group_id=self._group.id,
        )
        saved: list[FreezeLedger] = []
        try:
            driver.prepare()
            flushing.flush(self.place.hosts, where)
            try:
                frozen = atom.Atom(hosts=self.place.hosts, snapshots=driver, save=saved.append)
                return frozen.run(planned)
            finally:
                driver.discard()
        finally:
            driver.close()


@contextlib.contextmanager
def _volumes(lab: labs.Lab, made: Vnf, result: Result) -> Iterator[Volumes]:
    """The peer's way to snapshots: a group of Cinder with the six volumes, or one snapshot after the other if there is no such
    group on this backend. Nothing of it stays."""
    site = vnf.Site(lab.home, lab.environment.site(made.site))
    volumes = Volumes(site, protecting.volumes(made))
    try:
        try:
            volumes.group_them()
            result.notes.append(
                "peer's snapshots: one group snapshot of a generic volume group (Cinder's RBD driver has no group "
                "snapshots of its own: Cinder takes the six one after the other)"
            )
        except (IsthmusError, exceptions.SDKException) as error:
            result.notes.append(
                f"peer's snapshots: one after the other, because there is no group: {error}"
            )
        yield volumes
    finally:
        with labs.undisturbed():
            protecting.quietly("the volume group was not taken away", volumes.remove)


@contextlib.contextmanager
def _proposals(place: Place, *, default: bool) -> Iterator[str]:
    """How often the monitors propose: as the lab has it, or as Ceph is delivered; put back at the end. Seconds, as text."""
    daemons = place.daemons
    ask = ("ceph", "config", "get", "mon", PROPOSALS)
    kept = daemons.tool(*ask).stdout.strip()
    try:
        if default:
            daemons.tool("ceph", "config", "rm", "mon", PROPOSALS)
        yield f"{float(daemons.tool(*ask).stdout):g} s"
    finally:
        if default:
            with labs.undisturbed():
                daemons.tool("ceph", "config", "set", "mon", PROPOSALS, kept)


if __name__ == "__main__":
    raise SystemExit(launching.one("window", measure, takes=TAKES))
