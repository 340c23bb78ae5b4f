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

ANSWERS = ("/bin/true",)
"""Run where a member has no test: the guest's kernel, its root file system and its agent work."""

TEST_SECONDS = 60.0
_TAIL = 300


class Guests:
    """`flows.means.Probe` over the host agents of this site."""

    def __init__(self, guests: hooks.Guests) -> None:
        self._guests = guests

    def __call__(self, compute: Any, member: Member, server_id: str) -> Mapping[str, Any]:
        """Figures of the test. Raises UnavailableError while the guest does not answer."""
        server = compute.get(f"/servers/{server_id}")["server"]
        code, words = self._guests.execute(
            str(server["OS-EXT-SRV-ATTR:host"]),
            str(server["OS-EXT-SRV-ATTR:instance_name"]),
            member.test or ANSWERS,
            TEST_SECONDS,
        )
        if code != 0:
            raise errors.IsthmusError(
                "a member's test failed",
                where=f"member {member.name}, server {server_id}",
                cause=f"exit code {code}: {words.strip()[-_TAIL:]}",
                unchanged="nothing was changed by the test",
            )
        return figures(words)


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
