"""`isthmus check` on real sites: what is wrong is found, and nothing else is."""

import json
from typing import Any

import pytest
from running_lab import Lab

from isthmus.lab import waiting

pytestmark = pytest.mark.lab

# Agents ask a server for its settings every five seconds, and look at it four times a second.
TOLD_DEADLINE = 20.0
ALWAYS = {("group-roles", None)}
"""The lab gives its user a role directly."""


def check(lab: Lab) -> tuple[int, set[tuple[str, str | None]]]:
    """The exit code, and each check that found something, with its site."""
    done = lab.command("check", "-f", "json")
    assert done.returncode in (0, 1, 2), done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    assert document["exit_code"] == done.returncode
    found = {(r["check"], r["site"]) for r in document["results"] if r["findings"]}
    return done.returncode, found


def found(lab: Lab, code: int, *more: tuple[str, str]) -> None:
    """Wait until these findings stand beside the lab's own, and no others."""
    wanted = (code, ALWAYS | set(more))

    def other() -> str | None:
        seen = check(lab)
        return None if seen == wanted else f"found {seen}"

    waiting.until(
        other, deadline=TOLD_DEADLINE, what=f"the checks do not find {wanted}", where="lab"
    )


def test_a_whole_lab_has_no_finding_but_its_users_direct_role(lab: Lab) -> None:
    found(lab, 1)


def test_a_dead_database_is_one_finding_and_what_stands_on_it_is_skipped(lab: Lab) -> None:
    lab.kill("madrid/replica-paris")
    found(lab, 2, ("database-answers", "madrid"))


def test_a_setting_that_was_changed_in_a_running_server_is_found(lab: Lab) -> None:
    lab.sql("madrid/replica-paris", "SET GLOBAL read_only = OFF")
    try:
        found(lab, 2, ("replica-read-only", "madrid"))
    finally:
        lab.sql("madrid/replica-paris", "SET GLOBAL read_only = ON")
    found(lab, 1)
