"""Whether a member that came back is what it should be: its guest answers, and its own test succeeds.

It exists so that a drill proves more than that Nova says ACTIVE. The test is a command of the
operator's in the guest, run by the guest agent: nothing of the engine is in the member's networks,
and an isolated network of a drill must stay so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from isthmus import errors
from isthmus.recovery.declarations import Member
from isthmus.recovery.freezing import hooks
from isthmus.recovery.freezing.ledger import Whereabouts

ANSWERS = ("/bin/true",)
"""Runs when the guest's kernel, its root file system and its agent work; all that is asked of a member
without a test."""

ANSWER_SECONDS = 20.0
TEST_SECONDS = 120.0
_TAIL = 300


class Guests:
    """`flows.means.Probe` over the host agents of this site."""

    def __init__(self, guests: hooks.Guests) -> None:
        self._guests = guests

    def __call__(self, compute: Any, member: Member, server_id: str) -> Mapping[str, Any]:
        """Figures of the test. Raises UnavailableError while the guest does not answer."""
        where = Whereabouts.of(compute.get(f"/servers/{server_id}")["server"])
        self._guests.execute(where.host, where.domain, ANSWERS, ANSWER_SECONDS)
        return self._tested(where, member, server_id) if member.test else {}

    def _tested(self, where: Whereabouts, member: Member, server_id: str) -> Mapping[str, Any]:
        try:
            code, words = self._guests.execute(where.host, where.domain, member.test, TEST_SECONDS)
        except errors.UnavailableError as error:
            # The guest answers, so that this is no reason to wait: the test may still run, and a second beside it would not help.
            raise _failed(member, server_id, str(error)) from error
        if code != 0:
            raise _failed(member, server_id, f"exit code {code}: {words.strip()[-_TAIL:]}")
        return figures(words)


def _failed(member: Member, server_id: str, cause: str) -> errors.IsthmusError:
    return errors.IsthmusError(
        "a member's test failed",
        where=f"member {member.name}, server {server_id}",
        cause=cause,
        unchanged="nothing was changed by the test",
    )


def figures(words: str) -> dict[str, Any]:
    """The JSON object that the last line of a test's output may be; nothing otherwise."""
    lines = words.strip().splitlines()
    try:
        found = json.loads(lines[-1]) if lines else None
    except ValueError:
        return {}
    if not isinstance(found, dict):
        return {}
    return {name: value for name, value in found.items() if isinstance(value, (int, float, str))}
