"""The recovery chapter: a VNF is protected, rehearsed in the other site, and brought back there after its own was destroyed."""

import contextlib
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import IPv4Network
from typing import Any

from isthmus.lab import faults, vnf
from isthmus.lab.environment import Environment, SiteSpec
from isthmus.lab.guest_image import records
from isthmus.lab.home import Home
from isthmus.lab.recovering import Recovering, reached
from isthmus.lab.tour.steps import Tour, Unexpected, expect
from isthmus.lab.units import Unit

NAME, POLICY = "tour", "tour"
CIDR = IPv4Network("10.80.0.0/24")
BEST = "app-ordered"

_DONE = re.compile(r"\s+(?P<title>.+): done in (?P<seconds>[\d.]+) s")


@dataclass(kw_only=True)
class Chapter:
    """The tour's state: the lab, its people, and what earlier steps left for later ones."""

    tour: Tour
    home: Home
    units: Mapping[str, Unit]
    environment: Environment
    people: Recovering
    made: vnf.Vnf | None = None
    checkpoint: Mapping[str, Any] = field(default_factory=dict)
    destroyed_at: str = ""
    asked: str = ""

    @property
    def paris(self) -> SiteSpec:
        return self.environment.writers[0]

    @property
    def lyon(self) -> SiteSpec:
        return self.environment.writers[1]


def take(tour: Tour, home: Home, units: Mapping[str, Unit], environment: Environment) -> None:
    """All steps of the chapter, in order, on a lab that is up. What a failed step leaves stays, to be looked at."""
    people = Recovering(home=home, environment=environment, units=units, told=_heard(tour))
    chapter = Chapter(tour=tour, home=home, units=units, environment=environment, people=people)
    step = tour.step
    paris, lyon = chapter.paris.name.title(), chapter.lyon.name.title()
    step("make a VNF of three servers", lambda: _make(chapter))
    step("declare policy, group and plan", lambda: _declare(chapter))
    step("protect it", lambda: _protect(chapter))
    step(f"{lyon} learns from the manifests", lambda: _learn(chapter))
    step(f"rehearse in {lyon}", lambda: _drill(chapter))
    step(f"destroy {paris}", lambda: _destroy(chapter))
    step(f"fail over to {lyon}", lambda: _fail_over(chapter))
    step("make it final", lambda: _commit(chapter))
    step(f"the records continue in {lyon}", lambda: _continue(chapter))


def _heard(tour: Tour) -> Callable[[str], None]:
    """Makes progress of the lines of an operation that is waited for: the steps that are done."""

    def hear(line: str) -> None:
        if done := _DONE.match(line):
            tour.progress.end(f"  {done['title']}", float(done["seconds"]))

    return hear


@contextlib.contextmanager
def _saying(tour: Tour) -> Iterator[vnf.Say]:
    """Makes progress of work that says only what it begins: what it said before is done then."""
    under_way: list[tuple[str, float]] = []

    def end() -> None:
        while under_way:
            text, began = under_way.pop()
            tour.progress.end(text, time.monotonic() - began)

    def say(text: str) -> None:
        end()
        under_way.append((f"  {text}", time.monotonic()))
        tour.progress.begin(f"  {text}")

    yield say
    end()


def _make(chapter: Chapter) -> str:
    lyon = chapter.lyon.name
    if left := chapter.people.cloud(chapter.lyon).servers(NAME):
        raise Unexpected(
            f"the VNF is in {lyon.title()} already, since an earlier tour",
            where=lyon,
            cause=f"it has servers {', '.join(sorted(left.values()))}",
            unchanged="nothing was made",
            next_command="isthmus lab down, then isthmus demo recovery",
        )
    with _saying(chapter.tour) as say:
        chapter.made = vnf.create(chapter.home, NAME, site=chapter.paris.name, cidr=CIDR, say=say)
        say(f"{chapter.paris.name}: the guests boot, and the protocol begins")
        cut = chapter.people.goes_on(chapter.paris, _members(chapter))
    return (
        f"{', '.join(vnf.ROLES)}, two volumes each; so far {cut.issued} numbers issued,"
        f" {cut.acknowledged} acknowledged, {cut.persisted} persisted"
    )


def _members(chapter: Chapter) -> dict[str, str]:
    """The servers in Paris, by role."""
    assert chapter.made is not None  # noqa: S101 - made by the first step
    return {each.role: each.server_id for each in chapter.made.members}


def _declare(chapter: Chapter) -> str:
    assert chapter.made is not None  # noqa: S101 - made by the first step
    lyon = chapter.lyon.name
    group = chapter.people.declare(chapter.made, backup_site=lyon, policy=POLICY)
    order = sorted(group["members"], key=lambda each: each["level"])
    names = ", ".join(each["name"] for each in order)
    return f"frozen in the order {names}; comes back in {lyon.title()} in the reverse order"


def _protect(chapter: Chapter) -> str:
    done = reached(chapter.people.protect(NAME), "finished", "succeeded")
    found = chapter.people.isthmus(
        "checkpoint", "show", done["checkpoint"], "--ask", chapter.paris.name
    )
    chapter.checkpoint = found
    if found["window_s"] is not None:
        chapter.tour.figure("freeze_window_s", found["window_s"], "s")
    expect(
        found["consistency"] == BEST,
        f"a checkpoint that is {BEST}",
        where=f"checkpoint {found['id']}",
        seen=f"{found['consistency']}: {found['reason']}",
    )
    backups = found["backups"]
    stored = sum(each["stored_bytes"] for each in backups)
    return (
        f"{found['consistency']}, held for {found['window_s']:.2f} s; {len(backups)} volumes,"
        f" {stored:,} B in the remote store"
    )


def _learn(chapter: Chapter) -> str:
    people, lyon = chapter.people, chapter.lyon.name
    wrong = people.isthmus("recovery", "rebuild", "--site", lyon, codes=(0, 1, 2))
    expect(not wrong, "manifests that are all trusted", where=lyon, seen=_first(wrong))
    known = people.isthmus("checkpoint", "list", "--ask", lyon)
    expect(
        chapter.checkpoint["id"] in {each["ID"] for each in known},
        "the checkpoint is known",
        where=lyon,
        seen=f"{len(known)} others",
    )
    missing = people.isthmus("plan", "validate", NAME, "--ask", lyon, codes=(0, 1, 2))
    expect(not missing, f"all that the VNF needs is in {lyon}", where=lyon, seen=_first(missing))
    return f"knows checkpoint {chapter.checkpoint['seq']}, and has all that the VNF needs"


def _first(findings: list[Mapping[str, Any]]) -> str:
    """The first of several findings, in words."""
    return ", ".join(
        f"{each['Subject']}: {each['Summary']} (try: {each['Remedy']})" for each in findings[:1]
    )


def _drill(chapter: Chapter) -> str:
    people, lyon = chapter.people, chapter.lyon.name
    before, numbers = people.things(), people.counts(chapter.paris, _members(chapter))
    began = time.monotonic()
    asked = people.ask("drill", NAME, ask=lyon)
    done = reached(people.approve(asked, ask=lyon), "finished", "succeeded")
    seconds = time.monotonic() - began
    chapter.tour.figure("drill_s", seconds, "s")
    report = people.report(done["id"], ask=lyon)
    cut = _of_one_point_in_time(report)
    seen = [*report["left"], *_changed(before, people.things())]
    expect(
        not seen,
        "nothing of the drill is left, and production is as it was",
        where=f"{chapter.paris.name}, {lyon}",
        seen="; ".join(seen),
    )
    people.goes_on(chapter.paris, _members(chapter), beyond=numbers)
    return (
        f"approved by {report['approved_by']}, up and tested and gone after {seconds:.0f} s: restored {cut.persisted} persisted"
        f" <= {cut.acknowledged} acknowledged <= {cut.issued} issued; {chapter.paris.name.title()} untouched"
    )


def _changed(before: Mapping[str, set[str]], after: Mapping[str, set[str]]) -> list[str]:
    """What is more or less than it was, in words."""
    return [
        f"{place}: {', '.join(sorted(before[place] ^ after[place]))}"
        for place in before
        if before[place] != after[place]
    ]


def _of_one_point_in_time(report: Mapping[str, Any]) -> records.Cut:
    """How far the protocol was in what came back; the volumes of all three guests must be of one point in time."""
    where = f"operation {report['operation_id']}"
    cut = records.restored(report["results"].values())
    if cut is None:
        raise Unexpected(
            "the tests of the members do not say what was restored",
            where=where,
            cause="a guest without a log of the protocol",
            next_command=f"isthmus operation report {report['operation_id']} --ask {report['site']}",
        )
    why = records.impossible(cut)
    expect(why is None, "volumes of one point in time", where=where, seen=why or "")
    return cut


def _destroy(chapter: Chapter) -> str:
    chapter.destroyed_at = datetime.now(UTC).isoformat()
    hit = faults.kill(chapter.home, chapter.units, chapter.paris.name)
    waited = chapter.people.logs_in(chapter.lyon)
    return f"{hit} processes killed, with the VNF; {chapter.lyon.name.title()} logs in after {waited:.1f} s"


def _fail_over(chapter: Chapter) -> str:
    people, lyon = chapter.people, chapter.lyon.name
    asked = people.ask("failover", NAME, ask=lyon, disaster_at=chapter.destroyed_at)
    chapter.asked = str(asked["id"])
    reached(people.approve(asked, ask=lyon), "awaiting-commit")
    report = people.report(chapter.asked, ask=lyon)
    lost, back = _measured(chapter, report, "rpo_s"), _measured(chapter, report, "rto_s")
    cut = _of_one_point_in_time(report)
    return (
        f"approved by {report['approved_by']}; {lost:.0f} s of writes lost, back {back:.0f} s after the disaster, with"
        f" {cut.persisted} persisted <= {cut.acknowledged} acknowledged <= {cut.issued} issued"
    )


def _measured(chapter: Chapter, report: Mapping[str, Any], name: str) -> float:
    """A figure of a report, which becomes one of the tour."""
    found = report["figures"][name]
    where = f"operation {report['operation_id']}"
    expect(found is not None, f"{name} in the report", where=where, seen="none")
    chapter.tour.figure(name, found, "s")
    return float(found)


def _commit(chapter: Chapter) -> str:
    lyon = chapter.lyon.name
    done = reached(chapter.people.commit(chapter.asked, ask=lyon), "finished", "succeeded")
    return f"{done['kind']} {done['outcome']}: the group is {lyon.title()}'s"


def _continue(chapter: Chapter) -> str:
    people, lyon = chapter.people, chapter.lyon
    servers = people.cloud(lyon).servers(NAME)
    expect(
        set(servers) == set(vnf.ROLES),
        "all three servers",
        where=lyon.name,
        seen=", ".join(servers) or "none",
    )
    first = people.counts(lyon, servers)
    now = people.goes_on(lyon, servers, beyond=first)
    why = records.impossible(now)
    expect(why is None, "nobody is ahead of those before", where=lyon.name, seen=why or "")
    good, bad = people.judged(lyon, servers)
    chapter.tour.figure("records_verified", good, "records")
    chapter.tour.figure("records_bad", bad, "records")
    expect(bad == 0 and good > 0, "no bad record", where=lyon.name, seen=f"{bad} of {good + bad}")
    return f"{first.persisted} numbers persisted, then {now.persisted}; {good} records verified, none bad"
