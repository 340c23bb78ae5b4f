"""What a person sees of operations: documents of the engines drawn as fields, lines and progress.

Pure: documents in, values and text out. What is asked of whom stands in `isthmus.cli.operation`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from isthmus.cli.site import Lines

Document = Mapping[str, Any]

WAITING = frozenset({"awaiting-approval", "awaiting-commit", "paused", "finished"})
"""Phases in which nothing happens until a person decides, or ever."""

LIST_HEADER = ("ID", "Kind", "Group", "Site", "Phase", "Outcome", "By", "Requested")


def list_row(operation: Document) -> tuple[Any, ...]:
    """One line of `isthmus operation list`."""
    names = ("id", "kind", "group", "site", "phase", "outcome", "by", "requested_at")
    return tuple(operation[name] or "" for name in names)


def whole(operation: Document) -> dict[str, Any]:
    """All fields of `isthmus operation show`, in the order of reading."""
    plan, approval = operation["plan"] or {}, operation["approval"] or {}
    findings = plan.get("findings", [])
    return {
        "id": operation["id"],
        "kind": operation["kind"],
        "group": operation["group"],
        "site": operation["site"],
        "phase": operation["phase"],
        "outcome": operation["outcome"],
        "reason": operation["reason"],
        "requested_by": operation["by"],
        "requested_at": operation["requested_at"],
        "approved_by": approval.get("by"),
        "checkpoint": plan.get("checkpoint_id"),
        "lost_seconds": operation["lost_seconds"],
        "lost_bytes": operation["lost_bytes"],
        "findings": Lines(list(findings), [f"{f['level']} {f['summary']}" for f in findings]),
        "steps": Lines(list(operation["steps"]), step_lines(operation["steps"])),
        "troubles": Lines(
            list(operation["troubles"]),
            [f"{each['step']}: {each['what']}" for each in operation["troubles"]],
        ),
        "skips": Lines(
            list(operation["skips"]),
            [f"{s['step']}: {s['reason']} ({s['by']['name']})" for s in operation["skips"]],
        ),
        "things": Lines(
            list(operation["things"]),
            [f"{each['kind']} {each['name']} ({each['state']})" for each in operation["things"]],
        ),
        "possible": Lines(list(operation["possible"]), [", ".join(operation["possible"])]),
    }


def step_lines(steps: Sequence[Document]) -> list[str]:
    """Each step, and below it what it did."""
    return [
        line
        for step in steps
        for line in (step_line(step), *(_note(each) for each in step.get("notes") or ()))
    ]


def _note(note: Document) -> str:
    ended = "failed" if note["error"] else "done"
    error = f": {note['error']}" if note["error"] else ""
    return f"  {note['what']} ({note['where']}): {ended} in {note['seconds']:.1f} s{error}"


def step_line(step: Document) -> str:
    """One step in one line."""
    taken = "" if step["seconds"] is None else f" in {step['seconds']:.1f} s"
    again = f", {step['attempts']} tries" if step["attempts"] > 1 else ""
    error = f": {step['error']}" if step["error"] else ""
    return f"{step['title']}: {step['state']}{taken}{again}{error}"


def before_approval(operation: Document) -> Iterator[str]:
    """What a person has to read before typing the code."""
    plan = operation["plan"] or {}
    yield f"{operation['kind']} of group {operation['group']} in {operation['site']}"
    yield f"requested by {operation['by']} at {operation['requested_at']}"
    if operation["lost_seconds"] is not None:
        yield f"  {_age(operation)}"
    for name, text in (plan.get("facts") or {}).items():
        yield f"  {name}: {text}"
    for finding in plan.get("findings", []):
        yield f"  {finding['level']}: {finding['summary']}"
    yield f"  {len(plan.get('steps', []))} steps:"
    for step in plan.get("steps", []):
        yield f"    {step['title']}"


def _age(operation: Document) -> str:
    """What the age of the data means: only a failover gives up what was written since."""
    age = _duration(operation["lost_seconds"])
    if operation["kind"] == "failover":
        return f"WILL BE LOST: the last {age}{_bytes(operation)}"
    return f"Data: {age} old; nothing is given up, the servers in production are not touched"


def _bytes(operation: Document) -> str:
    lost = operation["lost_bytes"]
    return ", what was written then is not known" if lost is None else f" ({lost:,} bytes written)"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} seconds"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} minutes {rest} seconds ({seconds:.0f} s)"


def progress(operation: Document, said: dict[str, str]) -> Iterator[str]:
    """What is new since the last look; `said` remembers."""
    if said.get("") != operation["phase"]:
        said[""] = operation["phase"]
        yield f"{operation['phase']}"
    for step in operation["steps"]:
        key, line = f"{step['part']}/{step['name']}", _doing(step)
        if step["state"] != "planned" and said.get(key) != line:
            said[key] = line
            yield f"  {line}"


def _doing(step: Document) -> str:
    told = step.get("progress")
    if step["state"] != "running" or not told:
        return step_line(step) if step["state"] != "running" else f"{step['title']} ..."
    share = f" {100 * told['done'] / told['total']:.0f} %" if told["total"] else ""
    return f"{step['title']} ...{share} {told['words']}".rstrip()


def exit_code(operation: Document) -> int:
    """0 all is well or on its way, 1 a person has to help, 2 it did not succeed."""
    if operation["outcome"] is not None:
        return 0 if operation["outcome"] == "succeeded" else 2
    return 1 if operation["phase"] == "paused" else 0
