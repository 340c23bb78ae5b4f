"""How long a rotation of the token keys takes with acknowledgements, by the number of sites and the round trip between them.

No lab is needed: `bench.distant` says what is real and what is simulated. The peer is what operators do with stock means:
`keystone-manage fernet_rotate` at one site, then rsync to one site after the other over the same link. Nobody asks there whether
the keys have arrived.
"""

import contextlib
import shutil
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import distant, distributions, launching
from bench.distant import World
from bench.distributions import percentile
from bench.launching import Options
from bench.results import Cell, Result, Table
from isthmus.errors import UnavailableError
from isthmus.identity.keys import records, repository, rotating
from isthmus.identity.keys.generations import Ack, Kind, State
from isthmus.lab import waiting
from isthmus.lab.running import run

TAKES = "9 minutes; --quick 2 minutes"
AIM_SECONDS, AIM_SITES, AIM_RTT = 3.0, 10, 300.0
STEPS = {
    "word": "word",
    "staged": "staged",
    "acknowledged": "all have it",
    "promoted": "primary",
    "heard": "all sign with it",
    "complete": "complete",
}
"""The steps of a rotation and the columns in which they are shown, in their order."""
_DEADLINE = 60.0
# The moments are no finer than this.
_LOOK_SECONDS = 0.005
_BIN = Path(sys.executable).parent


@dataclass(frozen=True, kw_only=True)
class Scope:
    """What is measured: every number of sites with every round trip (ms). `copies`: runs of the peer for few and for many sites."""

    sites: Sequence[int]
    rtts: Sequence[float]
    runs: int
    copies: tuple[int, int]

    def copies_of(self, sites: int) -> int:
        """How often the peer is measured with that many sites."""
        few, many = self.copies
        return few if sites <= AIM_SITES else many


FULL = Scope(sites=(3, 10, 30), rtts=(0.0, 100.0, 300.0), runs=5, copies=(2, 1))
QUICK = Scope(sites=(3, 10), rtts=(0.0, 300.0), runs=1, copies=(1, 1))


@dataclass(frozen=True, kw_only=True)
class Run:
    """One rotation, in seconds after it was asked for: `moments` of the steps as the writer's database showed them; `signing`: when
    the last site's repository was exchanged for one whose primary key is the new one. `retired`: seconds from the later step that
    retires the old key until all have acknowledged that, and its boxes are gone."""

    moments: Mapping[str, float]
    signing: float
    retired: float


@dataclass(frozen=True, kw_only=True)
class Copies:
    """One rotation with stock means: seconds of the command, and of all copies."""

    command: float
    copies: float


@dataclass(frozen=True, kw_only=True)
class Measured:
    """All runs of one number of sites and one round trip."""

    sites: int
    rtt: float
    ours: Sequence[Run]
    stock: Sequence[Copies]


def reached(state: State, acks: Mapping[str, Ack], number: int) -> list[str]:
    """The steps that a rotation to generation `number` has behind it, after the operator's word. Pure."""
    primary, staged = state.primary, state.staged
    heard = not state.missing(acks)
    if staged is not None and staged.number == number:
        return ["staged", "acknowledged"] if heard else ["staged"]
    if primary is None or primary.number != number:
        return []
    steps = ["staged", "acknowledged", "promoted"]
    if state.wanted is None:
        return [*steps, "heard", "complete"]
    return [*steps, "heard"] if heard else steps


def measure(options: Options) -> Result:
    """All numbers of sites, with all round trips."""
    scope = QUICK if options.quick else FULL
    result = Result(
        name="rotation",
        about="Seconds from an operator's word to rotate, said beside the database that takes the writes, until every site signs "
        "with the new key and that database knows it. Real: three databases (two Galera nodes and an asynchronous replica) and the "
        "arbitrator with the product's configuration, the agents of both writer sites with their conductor, sealing, key "
        "directories on the disk, and a link that delays every frame; Galera commits over it too. Simulated: all other sites are "
        "followers of the product's agent in one process, each with its own directory, node key and connection to the writer, "
        "that read one replica instead of their own; all are equally far from the writer; there is no load balancer between. "
        f"A key is kept for {distant.LIFETIMES['expiration'] + 2 * distant.LIFETIMES['clock_skew']:g} s here, and every rotation "
        "begins when the last key has retired. Stock: `keystone-manage fernet_rotate`, then rsync (to its own daemon, which needs "
        "fewer trips than ssh) to one site after the other over the same link, without acknowledgement.",
    )
    found: list[Measured] = []
    for sites in scope.sites:
        with distant.running(sites) as world:
            found += [_cell(world, rtt, scope) for rtt in scope.rtts]
    _record(result, found)
    return result


def _cell(world: World, rtt: float, scope: Scope) -> Measured:
    sites = len(world.sites)
    with contextlib.closing(world.writer()) as session:
        _settle(world, session)
        world.delay(rtt)
        ours = [_rotation(world, session) for _ in range(scope.runs)]
    stock = _copied(world, scope.copies_of(sites))
    print(f"rotation: {sites} sites, {rtt:g} ms", file=sys.stderr, flush=True)
    return Measured(sites=sites, rtt=rtt, ours=ours, stock=stock)


def _until(world: World, what: str, condition: Callable[[], bool]) -> None:
    def missing() -> str | None:
        return None if condition() else world.log("agent-near")[-300:]

    waiting.until(
        missing, deadline=_DEADLINE, what=what, where=str(world.root), interval=_LOOK_SECONDS
    )


def _settle(world: World, session: distant.Session) -> None:
    """Have one key that signs and nothing beside it: the keys that a cloud begins with include a staged one."""

    def adopted() -> bool:
        return bool(records.state(session, Kind.TOKEN).generations)

    _until(world, "the keys are not taken over", adopted)
    if len(records.state(session, Kind.TOKEN).live) > 1:
        _ask(session)
        _until(world, "the first rotation does not end", lambda: _quiet(world, session))


def _quiet(world: World, session: distant.Session) -> bool:
    """Whether one key is left, in all sites and nowhere else."""
    state, acks = records.state(session, Kind.TOKEN), records.acks(session, Kind.TOKEN)
    if state.wanted is not None or len(state.live) != 1 or state.missing(acks):
        return False
    return len(records.sealed(session, Kind.TOKEN)) == len(world.sites)


def _ask(session: distant.Session) -> None:
    """Say an operator's word, as an engine does; anew if the agent's own step came first."""
    while True:
        seen = records.look(session, Kind.TOKEN)
        if records.store(session, rotating.ask_rotation(seen.state, "bench", time.time())):
            return


def _rotation(world: World, session: distant.Session) -> Run:
    number = max(each.number for each in records.state(session, Kind.TOKEN).generations) + 1
    moments: dict[str, float] = {}
    asked = time.time()
    _ask(session)
    moments["word"] = time.time() - asked

    def complete() -> bool:
        # Acknowledgements first: they must not be newer than the document that they are held against.
        acks, state = records.acks(session, Kind.TOKEN), records.state(session, Kind.TOKEN)
        for step in reached(state, acks, number):
            moments.setdefault(step, time.time() - asked)
        return "complete" in moments

    _until(world, "the rotation does not end", complete)
    paths = [world.repository(site) for site in world.sites]
    wrong = [path for path in paths if max(repository.load(path)) != number]
    if wrong:
        raise UnavailableError(
            "a site does not sign with the new key",
            where=str(wrong[0]),
            cause="the rotation is complete nevertheless",
            unchanged="nothing was recorded",
            next_command="isthmus identity key list",
        )
    # The inode of a directory changes last when it is exchanged.
    signing = max(path.stat().st_ctime for path in paths) - asked
    return Run(moments=moments, signing=signing, retired=_retirement(world, session))


def _retirement(world: World, session: distant.Session) -> float:
    """Wait until the old key has retired; how long its end takes from the step on."""
    _until(
        world,
        "the old key does not retire",
        lambda: len(records.state(session, Kind.TOKEN).live) == 1,
    )
    began = time.time()
    _until(world, "the old key is not gone", lambda: _quiet(world, session))
    return time.time() - began


def _copied(world: World, runs: int) -> list[Copies]:
    """The peer, over the link as it is now."""
    root = world.root / "stock"
    shutil.rmtree(root, ignore_errors=True)
    keys = root / "fernet-keys"
    others = world.sites[1:]
    for folder in (keys, *(root / site for site in others)):
        folder.mkdir(parents=True, mode=0o700)
    settings = root / "keystone.conf"
    settings.write_text(f"[fernet_tokens]\nkey_repository = {keys}\n")
    manage = [str(_BIN / "keystone-manage"), "--config-file", str(settings)]
    user = ["--keystone-user", "root", "--keystone-group", "root"]
    run([*manage, "fernet_setup", *user], timeout=_DEADLINE)
    modules = "".join(f"[{site}]\npath = {root / site}\n" for site in others)
    (root / "rsyncd.conf").write_text(
        f"use chroot = no\nuid = root\ngid = root\nread only = no\n{modules}"
    )
    daemon = ["rsync", "--daemon", "--no-detach", f"--address={distant.FAR_ADDRESS}"]
    world.spawn("rsync", [*daemon, f"--config={root / 'rsyncd.conf'}"], world.far)
    try:
        _until(world, "rsync does not answer", lambda: _copy(world, keys, others[0]))
        return [_stock(world, [*manage, "fernet_rotate", *user], keys) for _ in range(runs)]
    finally:
        world.end("rsync")


def _stock(world: World, rotate: Sequence[str], keys: Path) -> Copies:
    began = time.monotonic()
    run(rotate, timeout=_DEADLINE)
    rotated = time.monotonic()
    for site in world.sites[1:]:
        if not _copy(world, keys, site):
            raise UnavailableError(
                "keys cannot be copied",
                where=site,
                cause="rsync failed",
                unchanged="nothing was recorded",
                next_command="rsync --version",
            )
    return Copies(command=rotated - began, copies=time.monotonic() - rotated)


def _copy(world: World, keys: Path, site: str) -> bool:
    target = f"rsync://{distant.FAR_ADDRESS}/{site}/"
    command = ["rsync", "--archive", "--delete", f"{keys}/", target]
    return run(command, namespace=world.near, timeout=_DEADLINE, check=False).code == 0


def _record(result: Result, found: Collection[Measured]) -> None:
    for each in found:
        name = f"sites{each.sites}.rtt{each.rtt:g}"
        complete = distributions.spread([r.moments["complete"] for r in each.ours])
        stock = distributions.spread([s.command + s.copies for s in each.stock])
        aim: dict[str, float | bool] = {}
        if (each.sites, each.rtt) == (AIM_SITES, AIM_RTT):
            aim = {"aim_at_most": AIM_SECONDS, "met": complete.p50 <= AIM_SECONDS}
        result.spread(f"{name}.complete", complete, "s", **aim)
        result.figure(f"{name}.signing", percentile([r.signing for r in each.ours], 0.5), "s")
        result.spread(f"{name}.stock", stock, "s")
    result.tables += [_seconds(found), _steps(found)]


def _seconds(found: Collection[Measured]) -> Table:
    rows: list[Sequence[Cell]] = []
    for each in found:
        complete = [r.moments["complete"] for r in each.ours]
        copies = [s.copies for s in each.stock]
        total = percentile([s.command + s.copies for s in each.stock], 0.5)
        p50 = percentile(complete, 0.5)
        rows.append(
            [
                *(each.sites, each.rtt, len(each.ours), p50, min(complete), max(complete)),
                percentile([r.signing for r in each.ours], 0.5),
                *(len(copies), total, percentile(copies, 0.5), total / p50),
            ]
        )
    return Table(
        title=f"A whole rotation with acknowledgements, seconds; aim: {AIM_SITES} sites at {AIM_RTT:g} ms within {AIM_SECONDS:g} s",
        columns=(
            *("sites", "round trip ms", "runs", "p50", "min", "max", "last site signs p50"),
            *("stock runs", "stock p50", "its copies p50", "stock / ours"),
        ),
        rows=rows,
    )


def _steps(found: Collection[Measured]) -> Table:
    """What each step takes after the one before."""
    rows: list[Sequence[Cell]] = []
    for each in found:
        cells: list[Cell] = [each.sites, each.rtt]
        for before, step in zip((None, *STEPS), STEPS, strict=False):
            taken = [r.moments[step] - (r.moments[before] if before else 0.0) for r in each.ours]
            cells.append(percentile(taken, 0.5))
        rows.append([*cells, percentile([r.retired for r in each.ours], 0.5)])
    return Table(
        title="The steps of it, seconds after the step before, medians. Retirement comes later, when no token needs the old key: "
        "from its step until all have acknowledged that it is gone and its boxes are removed",
        columns=("sites", "round trip ms", *STEPS.values(), "retirement"),
        rows=rows,
    )


if __name__ == "__main__":
    raise SystemExit(launching.one("rotation", measure, takes=TAKES))
