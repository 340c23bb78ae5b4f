"""What users notice of faults: errors and longest gaps of checks, logins and writes, at every site that lives on.

Each fault is broken, watched until its users are served again (or a deadline is over), mended and watched again. The users ask from
outside, through each site's front, with tokens that they had before.
"""

import contextlib
import itertools
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum

from bench import labs, launching
from bench.labs import Lab
from bench.launching import Options
from bench.results import Cell, Result, Table
from isthmus.errors import IsthmusError
from isthmus.lab import calling, faults, waiting
from isthmus.lab.calling import Call, Client
from isthmus.lab.probing import Noticed, Probe
from isthmus.lab.units import OUTSIDE

# Seconds between a probe's requests. A login costs a quarter of a second of CPU, at three sites on the same machine: these periods
# keep two cores half idle, so that what is noticed comes from the fault and not from the probes.
PERIODS = {"check": 0.2, "login": 1.5, "write": 0.75}

# Group communication takes 6 s to exclude a member, an agent 5 s to call a replica frozen, a request may hang for 10 s in the pool
# of a Keystone: only what is asked after this time shows the state that lasts.
_DETECTION = 10.0
_CHECKED = 6.0  # for a death that the load balancer's own checks notice, in 2 s
_SHORT = 4.0  # for a component that no identity request needs

# Writes are promised again within 45 s on a busy machine (see the tour); by then a user has given up.
_DEADLINE = 45.0

_AFTER = 3.0  # seconds of watching once everything is mended

_DATABASES = ("identity-db", "replica-", "arbitrator")

URL = "login URL"


class Kind(StrEnum):
    """What is done to a site or component."""

    NONE = "nothing"
    LOSE = "lose"
    KILL = "kill"
    FREEZE = "freeze"


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One fault: what is done to which site or unit."""

    kind: Kind
    target: str

    @property
    def name(self) -> str:
        return f"{self.kind} {self.target}".strip()

    @property
    def component(self) -> str:
        return self.target.partition("/")[2]

    @property
    def heavy(self) -> bool:
        """Whether replicas may follow another master afterwards, for half a minute."""
        return self.kind is Kind.LOSE or self.component.startswith((*_DATABASES, "agent"))

    @property
    def detection(self) -> float:
        """Seconds that the fault may take to be felt."""
        if self.kind is Kind.NONE or self.component in ("glance", "local-db"):
            return _SHORT
        slow = self.kind in (Kind.LOSE, Kind.FREEZE)
        return _DETECTION if slow or self.component.startswith(_DATABASES) else _CHECKED


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What one probe noticed: while the fault lasted, and while it was mended."""

    fault: Fault
    writer: str
    audience: str
    action: str
    loss: Noticed
    back: Noticed


Watch = dict[tuple[str, str], Probe]  # by audience and action


def measure(options: Options) -> Result:
    """All faults, one after the other, each from a healthy lab."""
    result = Result(
        name="faults",
        about="Gap: the longest time between two successes (seconds), from the moment of the fault; the probe's own period and the "
        f"answer's time are part of it (periods: {', '.join(f'{k} {v:g} s' for k, v in PERIODS.items())}; compare the rows "
        "without a fault). The second pair is for the time from the order to mend until everything is healthy.",
    )
    with labs.prepared("faults") as lab:
        chosen = _quick(lab) if options.quick else every(lab)
        seen: list[Seen] = []
        failed: list[str] = []
        with _projects(lab) as projects:
            for number, fault in enumerate(chosen, start=1):
                print(f"faults: {number}/{len(chosen)} {fault.name}", file=sys.stderr, flush=True)
                try:
                    seen += _one(lab, result, fault, projects)
                except IsthmusError as error:
                    failed.append(fault.name)
                    result.notes.append(f"{fault.name} was not measured: {error}")
                    labs.restore(lab)
        result.figure("not_measured", len(failed), "faults")
    _record(result, seen)
    return result


def every(lab: Lab) -> list[Fault]:
    """The loss of each site, SIGKILL of each component, SIGSTOP of those that can hang a request; slow healers spread out."""
    lost = [Fault(kind=Kind.LOSE, target=site.name) for site in lab.environment.sites]
    killed = [Fault(kind=Kind.KILL, target=name) for name in lab.units]
    frozen = [Fault(kind=Kind.FREEZE, target=name) for name in lab.units if _freezable(lab, name)]
    found = [*lost, *killed, *frozen]
    spread = interleaved([f for f in found if f.heavy], [f for f in found if not f.heavy])
    return [Fault(kind=Kind.NONE, target=""), *spread]


def _freezable(lab: Lab, unit: str) -> bool:
    """Databases of identity everywhere; Keystone and memcached where the writer is and where a replica is."""
    site, _, component = unit.partition("/")
    if component.startswith(("identity-db", "replica-")):
        return True
    return component in ("keystone", "memcached") and site in (lab.paris.name, lab.madrid.name)


def _quick(lab: Lab) -> list[Fault]:
    paris, madrid = lab.paris.name, lab.madrid.name
    return [
        Fault(kind=Kind.NONE, target=""),
        Fault(kind=Kind.LOSE, target=paris),
        Fault(kind=Kind.KILL, target=f"{madrid}/keystone"),
        Fault(kind=Kind.FREEZE, target=f"{madrid}/replica-{paris}"),
    ]


def interleaved(heavy: Sequence[Fault], light: Sequence[Fault]) -> list[Fault]:
    """All of both, each in its order, the heavy ones as far apart as they can be."""
    places = [(i + 0.5) / len(heavy) for i in range(len(heavy))]
    others = [(i + 0.5) / len(light) for i in range(len(light))]
    both = [*zip(places, heavy, strict=True), *zip(others, light, strict=True)]
    return [fault for _, fault in sorted(both, key=lambda pair: pair[0])]


@contextlib.contextmanager
def _projects(lab: Lab) -> Iterator[Mapping[str, str]]:
    """A project for each site's writes, by site; updated again and again, so that the database does not grow."""
    client, token = calling.at(lab.paris), lab.login(lab.paris, "admin")
    made: dict[str, str] = {}
    try:
        for site in (*(s.name for s in lab.environment.sites), URL):
            name = f"bench-faults-{uuid.uuid4().hex[:8]}"
            call = client.create("project", token, name=name, domain_id="default")
            if call.status != 201:
                raise IsthmusError("a project is not made", where=lab.paris.name, cause=call.said)
            made[site] = call.body["project"]["id"]
        yield made
    finally:
        # An interrupt may have come while a site was lost: what was made can only be deleted at one that lives.
        with labs.undisturbed():
            labs.restore(lab)
            for project in made.values():
                client.identity("DELETE", f"/projects/{project}", token=token)


def _one(lab: Lab, result: Result, fault: Fault, projects: Mapping[str, str]) -> list[Seen]:
    if fault.heavy and (away := labs.wait_home(lab)):
        result.notes.append(f"before {fault.name}: {away}")
    writer = labs.writer(lab).name
    with ExitStack() as stack:
        watch = _watch(lab, fault, projects)
        for probe in watch.values():
            stack.enter_context(probe)
        began = time.monotonic()
        waiting.until(
            lambda: _unserved(watch, began),
            deadline=_DEADLINE,
            what="users are not served before the fault",
            where=fault.name,
        )
        begun = time.monotonic()
        _break(lab, fault)
        settled = _settle(watch, begun + fault.detection)
        loss = {key: probe.noticed(begun) for key, probe in watch.items()}
        mending = time.monotonic()
        _mend(lab, fault)
        again = _settle(watch, time.monotonic() + _AFTER)
        back = {key: probe.noticed(mending) for key, probe in watch.items()}
    for left, when in ((settled, "the fault"), (again, "the mending")):
        if left:
            result.notes.append(f"{fault.name}: {_DEADLINE:g} s after {when}, {left}")
    return [
        Seen(
            fault=fault,
            writer=writer,
            audience=audience,
            action=action,
            loss=loss[audience, action],
            back=back[audience, action],
        )
        for audience, action in watch
    ]


def _watch(lab: Lab, fault: Fault, projects: Mapping[str, str]) -> Watch:
    """The probes of every audience that lives through the fault; the login URL's only when its choice of a site matters."""
    audiences = {
        site.name: calling.at(site)
        for site in lab.environment.sites
        if fault.kind is not Kind.LOSE or site.name != fault.target
    }
    if fault.kind in (Kind.LOSE, Kind.NONE) or fault.target.startswith(OUTSIDE):
        audiences[URL] = Client(lab.environment.login_address)
    watch: Watch = {}
    for name, client in audiences.items():
        asks = _asks(lab, client, name, projects[name])
        if name == URL:
            asks = {"login": asks["login"]}
        watch |= {(name, a): Probe(ask, period=PERIODS[a]) for a, ask in asks.items()}
    return watch


def _asks(
    lab: Lab, client: Client, where: str, project: str
) -> dict[str, Callable[[], tuple[bool, str]]]:
    """A user's three actions, with tokens from before the fault."""
    demo = lab.account("demo")
    token = labs.login(client, demo, where).token
    admin = labs.login(client, lab.account("admin"), where).token

    def write() -> tuple[bool, str]:
        body = {"project": {"description": uuid.uuid4().hex}}
        return _judged(
            client.identity("PATCH", f"/projects/{project}", body=body, token=admin), 200
        )

    return {
        "check": lambda: _judged(client.validate(token), 200),
        "login": lambda: _judged(client.login(demo), 201),
        "write": write,
    }


def _judged(call: Call, status: int) -> tuple[bool, str]:
    return call.status == status, call.said


def _break(lab: Lab, fault: Fault) -> None:
    if fault.kind in (Kind.LOSE, Kind.KILL):
        faults.kill(lab.home, lab.units, fault.target)
    elif fault.kind is Kind.FREEZE:
        faults.freeze(lab.home, lab.units, fault.target)


def _mend(lab: Lab, fault: Fault) -> None:
    if fault.kind is not Kind.NONE:
        faults.resume(lab.home, lab.units, fault.target, lab.progress)
    labs.wait_healthy(lab)


def _settle(watch: Watch, moment: float) -> str | None:
    """Wait until each probe had a success that was sent after `moment`; None, or a sentence after the deadline."""
    try:
        waiting.until(
            lambda: _unserved(watch, moment),
            deadline=_DEADLINE,
            what="users are not served",
            where="",
        )
    except IsthmusError as error:
        return (error.cause or "").partition(": ")[2]
    return None


def _unserved(watch: Watch, moment: float) -> str | None:
    without = []
    for (audience, action), probe in watch.items():
        if not any(sample.good and sample.sent >= moment for sample in probe.samples()):
            last = [sample.said for sample in probe.samples() if not sample.good][-1:]
            without.append(f"no {action} at {audience} ({last[0] if last else 'no answer yet'})")
    return "; ".join(without) or None


def _record(result: Result, seen: Sequence[Seen]) -> None:
    for found in seen:
        name = f"{found.fault.name.replace(' ', '.')}.{found.audience}.{found.action}"
        result.figure(
            f"{name}.gap",
            found.loss.longest_gap,
            "s",
            errors=found.loss.errors,
            requests=found.loss.requests,
            said=found.loss.first_error,
            errors_when_mended=found.back.errors,
            gap_when_mended_s=found.back.longest_gap,
            writer=found.writer,
        )
    result.tables.append(_summary(seen))
    for fault, group in itertools.groupby(seen, key=lambda s: s.fault):
        rows = list(group)
        result.tables.append(
            Table(
                title=f"{fault.name} (writer: {rows[0].writer})",
                columns=(
                    "users of",
                    "action",
                    "requests",
                    "errors",
                    "gap s",
                    "first error",
                    "errors when mended",
                    "gap when mended s",
                ),
                rows=[_row(found) for found in rows],
            )
        )


def _row(found: Seen) -> list[Cell]:
    return [
        found.audience,
        found.action,
        found.loss.requests,
        found.loss.errors,
        round(found.loss.longest_gap, 1),
        found.loss.first_error,
        found.back.errors,
        round(found.back.longest_gap, 1),
    ]


def _summary(seen: Sequence[Seen]) -> Table:
    """One row a fault: for each action the errors at all audiences together and the longest gap of any."""
    rows: list[list[Cell]] = []
    for fault, group in itertools.groupby(seen, key=lambda s: s.fault):
        found = list(group)
        row: list[Cell] = [fault.name, found[0].writer]
        for action in PERIODS:
            own = [s for s in found if s.action == action]
            row += [sum(s.loss.errors for s in own), round(max(s.loss.longest_gap for s in own), 1)]
        row += [sum(s.back.errors for s in found), _noticed_at(found)]
        rows.append(row)
    columns = [f"{action} {what}" for action in PERIODS for what in ("errors", "gap s")]
    return Table(
        title="Every fault, all surviving sites together",
        columns=("fault", "writer", *columns, "errors when mended", "errors noticed at"),
        rows=rows,
    )


def _noticed_at(found: Sequence[Seen]) -> str:
    return ", ".join(dict.fromkeys(s.audience for s in found if s.loss.errors)) or "nowhere"


if __name__ == "__main__":
    raise SystemExit(launching.one("faults", measure))
