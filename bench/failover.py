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
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench import labs, launching, pairs, protecting
from bench.commands import isthmus
from bench.launching import Options
from bench.pairs import Pair
from bench.protecting import NAME, Place
from bench.results import Cell, Result, Table
from bench.scripted_return import Script
from isthmus.errors import IsthmusError
from isthmus.lab import faults, vnf
from isthmus.lab.vnf import Vnf
from isthmus.recovery.checkpoints import Place as StorePlace

TAKES = "an hour; --quick 20 minutes"
RUNS, QUICK = 5, 1
AIM_TIMES = 2.0
"""How many times as long the peer is to take, at least."""

_OPERATION_S = 1200.0
_ASK_S = 180.0
_JUDGED = (1, 2)
"""Exit codes of commands about operations that print one that has not succeeded."""
_PARTS = {"import": "import", "isolate": "network", "claim": "claim",
          "restore": "volumes", "boot": "servers", "test": "servers"}  # fmt: skip
"""What steps belong to, by the first word of their names."""
_SAME = ("flavor", "network", "subnet", "volume-type", "zone", "keypair", "security-group",
         "image", "server-group")  # fmt: skip


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
        _protected(lab, made, result) as checkpoint,
    ):
        script = Script(lab, made, checkpoint["backups"])
        found: list[Pair] = []
        split: list[Split] = []
        for number in range(count):
            split.append(_run(result, lab, script, number))
            found.append(_pair("all", *split[-1]))
            protecting.say(f"failover, run {number + 1}: {found[-1]}")
        pairs.record(result, "drill", found, "s", at_least=AIM_TIMES)
        result.tables.append(_table(split, found))
        _failed_over(lab, result)
    return result


def _run(result: Result, lab: labs.Lab, script: Script, number: int) -> Split:
    """Both once. The first drill comes first, because it makes the backups known in the other site."""
    turns = {"ours": lambda: _drill(lab), "peer": script.run}
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


def _drill(lab: labs.Lab) -> dict[str, float]:
    """A drill, approved, to its end; the seconds of its parts and of all. Raises IsthmusError unless it succeeded."""
    asked = _asked(lab, "drill")
    done = _approved(lab, asked)
    if done["outcome"] != "succeeded":
        raise IsthmusError("the drill did not succeed", where=asked["id"], cause=_why(done))
    report = _report(lab, asked["id"])
    return {**parts(report), "all": float(report["figures"]["steps_s"])}


def _failed_over(lab: labs.Lab, result: Result) -> None:
    """One failover from a killed site, taken away again; the site lives afterwards."""
    try:
        report = protecting.tried(result, "failover", lambda: _failover(lab))
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


def _failover(lab: labs.Lab) -> Mapping[str, Any]:
    """The report of a failover when the VNF runs in Lyon, which is then taken away again."""
    at = datetime.datetime.now(datetime.UTC).isoformat()
    faults.kill(lab.home, lab.units, "paris")
    asked = _asked(lab, "failover", "--disaster-at", at)
    try:
        done = _approved(lab, asked)
        if done["phase"] != "awaiting-commit":
            raise IsthmusError("the VNF did not come back", where=asked["id"], cause=_why(done))
        report: Mapping[str, Any] = _report(lab, asked["id"])
        return report
    finally:
        with labs.undisturbed():
            protecting.quietly(
                "the failover was not taken away", lambda: _taken_away(lab, asked["id"])
            )


def _taken_away(lab: labs.Lab, operation: str, site: str = "lyon") -> None:
    """End an operation, how far it may be, with nothing left of it. Raises IsthmusError."""
    for verb, approver in (("rollback", True), ("cancel", False)):
        words = ("operation", verb, operation, "--ask", site, "--wait", "-f", "json")
        try:
            done = isthmus(lab, *words, timeout=_OPERATION_S, approver=approver, judged=_JUDGED)
        except IsthmusError as error:
            # Where it stands only one of the two is possible.
            refused = error
            continue
        if done["phase"] == "finished":
            return
        raise IsthmusError("it is not finished", where=operation, cause=_why(done))
    raise refused


def _asked(lab: labs.Lab, kind: str, *further: str) -> Any:
    words = ("operation", kind, NAME, "--ask", "lyon", *further, "--wait", "-f", "json")
    return isthmus(lab, *words, timeout=_ASK_S, judged=_JUDGED)


def _approved(lab: labs.Lab, asked: Mapping[str, Any]) -> Any:
    """The operation when somebody has to decide again, or it is finished. Raises IsthmusError when it was refused."""
    if asked["phase"] != "awaiting-approval":
        raise IsthmusError("it cannot be approved", where=asked["id"], cause=_why(asked))
    words = ("operation", "approve", asked["id"], "--ask", "lyon", "--code-file", "-", "--wait")
    return isthmus(
        lab, *words, "-f", "json",
        timeout=_OPERATION_S, text=str(asked["code"]), approver=True, judged=_JUDGED,
    )  # fmt: skip


def _report(lab: labs.Lab, operation: str) -> Any:
    return isthmus(lab, "operation", "report", operation, "--ask", "lyon", "--format", "json")


def _why(done: Mapping[str, Any]) -> str:
    troubles = "; ".join(f"{each['step']}: {each['what']}" for each in done["troubles"])
    return f"{done['phase']}, {done['outcome']}: {troubles or done['reason']}"


@contextlib.contextmanager
def _protected(lab: labs.Lab, made: Vnf, result: Result) -> Iterator[Mapping[str, Any]]:
    """The VNF as a protection group with one checkpoint, known in Lyon; as `isthmus checkpoint show` has it. All of it is
    forgotten afterwards, and what it stored is deleted."""
    stored: list[Mapping[str, Any]] = []
    try:
        _forget(lab)
        isthmus(lab, "policy", "create", NAME, "--site", "paris", "--driver", "rbd", "-f", "json")
        isthmus(lab, *made.declare(backup_site="lyon", policy=NAME)[1:], "-f", "json")
        _set_plan(lab)
        protecting.say("the first checkpoint")
        words = ("operation", "protect", NAME, "--wait", "-f", "json")
        seconds, done = protecting.timed(
            lambda: isthmus(lab, *words, timeout=_OPERATION_S, judged=_JUDGED)
        )
        if done["outcome"] != "succeeded":
            raise IsthmusError("there is no checkpoint", where="paris", cause=_why(done))
        found = isthmus(lab, "checkpoint", "show", done["checkpoint"], "-f", "json")
        stored.append(found)
        result.figure("protect.window", float(found["window_s"]), "s")
        result.figure("protect.all", seconds, "s")
        result.notes.append(
            f"one checkpoint: {found['consistency']}, window {found['window_s']:.2f} s, {seconds:.0f} s in all with full backups"
        )
        # It complains of manifests that others have left, and learns ours all the same.
        rebuild = ("recovery", "rebuild", "--site", "lyon", "-f", "json")
        protecting.tried(result, "rebuild", lambda: isthmus(lab, *rebuild))
        yield found
    finally:
        with labs.undisturbed():
            _forget(lab)
            for each in stored:
                _delete(lab, each)


def _set_plan(lab: labs.Lab) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "plan.json"
        file.write_text(json.dumps({"source": "paris", "target": "lyon", "same_name": _SAME}))
        isthmus(lab, "plan", "set", NAME, "--ask", "lyon", "--file", str(file), "-f", "json")


def _forget(lab: labs.Lab) -> None:
    """End what is under way and forget what is declared in both sites, as far as there is any, also of a run that was killed."""
    for site in ("lyon", "paris"):
        protecting.quietly("operations go on", lambda site=site: _ended(lab, site))  # type: ignore[misc]
        # Groups before their policies.
        for noun in ("group", "plan", "policy"):
            with contextlib.suppress(IsthmusError):
                isthmus(lab, noun, "delete", NAME, "--ask", site)


def _ended(lab: labs.Lab, site: str) -> None:
    """End what the site's engine still does with the group."""
    words = ("operation", "list", "--group", NAME, "--ask", site, "-f", "json")
    for each in isthmus(lab, *words):
        if each["Phase"] != "finished":
            _taken_away(lab, each["ID"], site)


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
