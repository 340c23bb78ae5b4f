"""What guests hold in memory, written to their volumes before they are frozen.

It exists because a freeze writes all of it first, inside the window: gigabytes, if it comes at the
wrong moment. Flushed just before, a guest has only the last second's left. It is a courtesy: a guest
that takes no commands, or has no such command, is frozen as it is.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from isthmus import errors
from isthmus.recovery.freezing.hooks import Guests
from isthmus.recovery.freezing.ledger import Whereabouts
from isthmus.sites import fanout

log = logging.getLogger(__name__)

COMMAND = ("/bin/sync",)
WITHIN_S = 10.0
"""How long a checkpoint waits for it. What takes longer goes on in the guest, and in the window."""

_GRACE_S = 20.0
"""The host agent words it better when the guest is late; see `hosts.HostAgents.execute`."""


def flush(guests: Guests, where: Mapping[str, Whereabouts]) -> Mapping[str, str | None]:
    """Flush the guests by server ID, all at once: why one could not be, None if it was. Never raises."""

    def one(place: Whereabouts) -> None:
        code, words = guests.execute(place.host, place.domain, COMMAND, WITHIN_S)
        if code != 0:
            raise errors.HostError(
                f"exit code {code}: {words.strip()}", where=f"guest {place.domain}"
            )

    found = fanout.ask_all(
        {server: lambda place=place: one(place) for server, place in where.items()},  # type: ignore[misc]
        timeout=WITHIN_S,
        grace=_GRACE_S,
    )
    for server, result in found.items():
        if result.error is not None:
            log.info("server %s was not flushed before the freeze: %s", server, result.error)
    return {server: result.error for server, result in found.items()}
