"""How fast a VNF comes back in the other site: a drill beside the same done by a script, one call after the other; one failover.

A drill is what can be repeated: a failover needs a dead site. Ours is `isthmus operation drill`, from approval to the end of its
last test, in the figures of its own report: volumes restored in parallel and *hashed against the checkpoint*, servers booted in
order, each when the ones before passed their tests. The peer restores the same six backups one after the other by Cinder's API,
without hashing, then boots and tests the same three servers in order. Both test a member in the same way, by the guest agent,
and both end with the third test; taking it all away again is not counted. Backups are known in both when they begin: the drill
makes sure of it in its first step, and the first one makes them so.

The failover at the end kills Paris, is approved by the person who may, and is taken away again (`rollback`), so that Paris can be
started again with its VNF. The group's epoch marker stays in the remote store: an epoch never goes back.
"""

import contextlib
import datetime
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bench import labs, launching, pairs, protecting
from bench.launching import Options
from bench.pairs import Pair
from bench.protecting import NAME, Place
from bench.results import Cell, Result, Table
from bench.scripted_return import Script
from isthmus.errors import IsthmusError
from isthmus.lab import faults, vnf
from isthmus.lab.recovering import OPERATION_SECONDS, Recovering, reached
from isthmus.lab.vnf import Vnf
from isthmus.recovery.checkpoints import Place as StorePlace

TAKES = "an hour; --quick 20 minutes"
RUNS, QUICK = 5, 1
AIM_TIMES = 2.0
"""How many times as long the peer is to take, at least."""

_PARTS = {"import": "import", "isolate": "network", "claim": "claim",
          "restore": "volumes", "boot": "servers", "test": "servers"}  # fmt: skip
"""What steps belong to, by the first word of their names."""
Split = tuple[dict[str, float] | None, dict[str, float] | None]
"""Seconds by part of ours and of the peer in one run; None: it failed."""


def parts(report: Mapping[str, Any]) -> dict[str, float]:
    """Seconds from the first begin to the last end of each part of a run, by its report in JSON; parts overlap."""
    spans: dict[str, tuple[float, float]] = {}
    for step in report["steps"]:
        part = _PARTS.get(step["name"].partition("-")[0])
        if step["part"] != "run" or part is None or step["seconds"] is None:
            continue
        begin = datetime.datetime.fromisoformat(step["began_at"]).timestamp()
        end = begin + step["seconds"]
        first, last = spans.get(part, (begin, end))
        spans[part] = (min(first, begin), max(last, end))
    return {part: last - first for part, (first, last) in spans.items()}


def measure(options: Options) -> Result:
    """Drills and scripts in turns; whose is first changes from the second run on. Then one failover."""
    count = QUICK if options.quick else RUNS
    result = Result(
        name="failover",
        about="Seconds until a VNF of three emulated servers with six volumes runs and is tested in the other site. Ours: a "
        "drill, from approval to the last test, by its report; restored volumes are held against their hashes. Peer: a script "
        "that restores volume after volume and boots and tests server after server, without hashes.",
    )
    with (
        protecting.prepared("failover") as lab,
        protecting.running(lab) as made,
        _protected(lab, people := _people(lab), made, result) as checkpoint,
    ):
        script = Script(lab, made, checkpoint["backups"])
        found: list[Pair] = []
        split: list[Split] = []
        for number in range(count):
            split.append(_run(result, people, script, number))
            found.append(_pair("all", *split[-1]))
            protecting.say(f"failover, run {number + 1}: {found[-1]}")
        pairs.record(result, "drill", found, "s", at_least=AIM_TIMES)
        result.tables.append(_table(split, found))
        _failed_over(lab, people, result)
    return result


def _run(result: Result, people: Recovering, script: Script, number: int) -> Split:
    """Both once. The first drill comes first, because it makes the backups known in the other site."""
    turns = {"ours": lambda: _drill(people), "peer": script.run}
    taken: dict[str, dict[str, float] | None] = {}
    for name in sorted(turns, reverse=bool(number % 2)):
        taken[name] = protecting.tried(result, f"run {number + 1}, {name}", turns[name])
    return taken["ours"], taken["peer"]


def _pair(part: str, mine: Mapping[str, float] | None, other: Mapping[str, float] | None) -> Pair:
    return Pair(ours=(mine or {}).get(part), theirs=(other or {}).get(part))


def _table(split: Sequence[Split], found: Sequence[Pair]) -> Table:
    """A row for each part that somebody has, and one for all."""
    rows: list[list[Cell]] = []
    for part in dict.fromkeys(_PARTS.values()):
        each = [_pair(part, *both) for both in split]
        if pairs.ours(each) or pairs.theirs(each):
            rows.append(pairs.row(part, each))
    rows.append(pairs.row("all", found))
    return Table(
        title="Until the VNF is tested in the other site, seconds (parts of ours overlap)",
        columns=("part", *pairs.COLUMNS),
        rows=rows,
    )


def _people(lab: labs.Lab) -> Recovering:
    return Recovering(
        home=lab.home, environment=lab.environment, units=lab.units, told=protecting.say
    )


def _drill(people: Recovering) -> dict[str, float]:
    """A drill, approved, to its end; the seconds of its parts and of all. Raises IsthmusError unless it succeeded."""
    asked = people.ask("drill", NAME, ask="lyon")
    reached(people.approve(asked, ask="lyon"), "finished", "succeeded")
    report = people.report(asked["id"], ask="lyon")
    return {**parts(report), "all": float(report["figures"]["steps_s"])}


def _failed_over(lab: labs.Lab, people: Recovering, result: Result) -> None:
    """One failover from a killed site, taken away again; the site lives afterwards."""
    try:
        report = protecting.tried(result, "failover", lambda: _failover(lab, people))
    finally:
        with labs.undisturbed():
            protecting.quietly("paris does not live again", lambda: _revived(lab))
    if report is None:
        return
    figures = report["figures"]
    result.figure("site_killed", float(figures["steps_s"]), "s")
    rows: list[list[Cell]] = [[name, seconds] for name, seconds in parts(report).items()]
    for name in ("plan_s", "decision_s", "steps_s", "rto_s", "rpo_s"):
        rows.append([name, figures[name]])
    result.tables.append(
        Table(
            title="One failover from a site that was killed (recovery time from the kill on)",
            columns=("part or figure of the report", "seconds"),
            rows=rows,
        )
    )


def _revived(lab: labs.Lab) -> None:
    faults.resume(lab.home, lab.units, "paris", lab.progress)
    labs.wait_healthy(lab)


def _failover(lab: labs.Lab, people: Recovering) -> Mapping[str, Any]:
    """The report of a failover when the VNF runs in Lyon, which is then taken away again."""
    at = datetime.datetime.now(datetime.UTC).isoformat()
    faults.kill(lab.home, lab.units, "paris")
    people.logs_in(lab.environment.site("lyon"))
    asked = people.ask("failover", NAME, ask="lyon", disaster_at=at)
    try:
        reached(people.approve(asked, ask="lyon"), "awaiting-commit")
        report: Mapping[str, Any] = people.report(asked["id"], ask="lyon")
        return report
    finally:
        with labs.undisturbed():
            protecting.quietly(
                "the failover was not taken away", lambda: _taken_away(people, asked["id"])
            )


def _taken_away(people: Recovering, operation: str, site: str = "lyon") -> None:
    """End an operation, how far it may be, with nothing left of it. Raises IsthmusError."""
    for verb, approver in (("rollback", True), ("cancel", False)):
        words = ("operation", verb, operation, "--ask", site, "--wait")
        try:
            done = people.isthmus(
                *words, codes=(0, 1, 2), seconds=OPERATION_SECONDS, approver=approver
            )
        except IsthmusError as error:
            # Where it stands only one of the two is possible.
            refused = error
            continue
        if done["phase"] == "finished":
            return
        raise IsthmusError("it is not finished", where=operation, cause=str(done["reason"]))
    raise refused


@contextlib.contextmanager
def _protected(
    lab: labs.Lab, people: Recovering, made: Vnf, result: Result
) -> Iterator[Mapping[str, Any]]:
    """The VNF as a protection group with one checkpoint, known in Lyon; as `isthmus checkpoint show` has it. All of it is
    forgotten afterwards, and what it stored is deleted."""
    stored: list[Mapping[str, Any]] = []
    try:
        _forget(people)
        people.declare(made, backup_site="lyon", policy=NAME)
        protecting.say("the first checkpoint")
        seconds, done = protecting.timed(lambda: people.protect(NAME))
        reached(done, "finished", "succeeded")
        found = people.isthmus("checkpoint", "show", done["checkpoint"])
        stored.append(found)
        result.figure("protect.window", float(found["window_s"]), "s")
        result.figure("protect.all", seconds, "s")
        result.notes.append(
            f"one checkpoint: {found['consistency']}, window {found['window_s']:.2f} s, {seconds:.0f} s in all with full backups"
        )
        # It complains of manifests that others have left, and learns ours all the same.
        protecting.tried(
            result, "rebuild", lambda: people.isthmus("recovery", "rebuild", "--site", "lyon")
        )
        yield found
    finally:
        with labs.undisturbed():
            _forget(people)
            for each in stored:
                _delete(lab, each)


def _forget(people: Recovering) -> None:
    """End what is under way and forget what is declared in both sites, as far as there is any, also of a run that was killed."""
    for site in ("lyon", "paris"):
        protecting.quietly("operations go on", lambda site=site: _ended(people, site))  # type: ignore[misc]
        # Groups before their policies.
        for noun in ("group", "plan", "policy"):
            people.run((noun, "delete", NAME, "--ask", site))


def _ended(people: Recovering, site: str) -> None:
    """End what the site's engine still does with the group."""
    for each in people.isthmus("operation", "list", "--group", NAME, "--ask", site):
        if each["Phase"] != "finished":
            _taken_away(people, each["ID"], site)


def _delete(lab: labs.Lab, checkpoint: Mapping[str, Any]) -> None:
    """A checkpoint's documents and backups, which no command deletes before a newer one is there."""
    where = StorePlace(
        group_id=checkpoint["group_id"], seq=checkpoint["seq"], checkpoint_id=checkpoint["id"]
    )
    paris = Place(lab, "paris")
    protecting.quietly(
        "documents stay in the store",
        lambda: paris.within(lambda: paris.store().delete_checkpoint(where)),
    )
    for name in ("lyon", "paris"):
        storage = vnf.Site(lab.home, lab.environment.site(name)).demo.block_storage
        for each in checkpoint["backups"]:
            protecting.quietly(
                "a backup stays",
                lambda storage=storage, each=each: storage.delete_backup(each["backup_id"]),  # type: ignore[misc]
            )


if __name__ == "__main__":
    raise SystemExit(launching.one("failover", measure, takes=TAKES))
