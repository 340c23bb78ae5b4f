"""How orders about freezes are refused: the words that engines and people get."""

from __future__ import annotations

import os
from collections.abc import Iterable

from isthmus import errors


def not_armed(round_id: str, causes: Iterable[str]) -> errors.BusyError:
    """For guests that are not as they have to be."""
    return errors.BusyError(
        "guests cannot be armed",
        where=f"round {round_id}",
        cause="; ".join(causes),
        unchanged="none of them was armed or frozen by this request",
    )


def cannot_arm(round_id: str, error: Exception) -> errors.HostError:
    """For a host that lacks something."""
    cause = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
    return errors.HostError(
        "guests cannot be armed",
        where=f"round {round_id}",
        cause=cause,
        unchanged="none of them was armed or frozen by this request",
    )


def still_armed(round_id: str, causes: Iterable[str]) -> errors.BusyError:
    """For a round that cannot be disarmed."""
    return errors.BusyError(
        "the round stays armed",
        where=f"round {round_id}",
        cause="; ".join(causes),
        unchanged="no dead-man was taken away; each thaws its guest at its deadline",
        next_command=f"POST /freezes/{round_id}/thaw, then DELETE again",
    )
