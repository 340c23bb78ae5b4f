"""How long a token may live and how often keys change: the settings of one kind of key.

It exists so that settings under which a valid token would lose its key are refused before anything
runs, with the arithmetic shown. The numbers are Keystone's own (`[token] expiration`,
`[token] allow_expired_window`, `[fernet_receipts] ...`) and have to be equal to those of every site.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

LEAST_KEYS = 3
"""A primary key, a staged one, and one that only validates."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Times are in seconds.

    `clock_skew`: the largest difference between the clocks of any two sites. `interval`: least time
    between two scheduled rotations; 0: only an operator rotates. `jitter`: the largest part of the
    interval that is added to it at random, so that the rotations of kinds and clouds that were started
    together do not stay together. The defaults of the lifetimes are Keystone's.
    """

    expiration: float = 3600.0
    allow_expired_window: float = 172_800.0
    clock_skew: float = 60.0
    max_active_keys: int = 6
    interval: float = 0.0
    jitter: float = 0.1

    @property
    def lifetime(self) -> float:
        """How long a key is kept after its last use.

        A token is accepted until expiration + allow_expired_window after it was issued. The skew counts
        twice: the clock of the site that issues may be ahead of the one that validates, and the clock
        that said when the key was last used may be behind the one that says that it may go, because
        another site conducts by then.
        """
        return self.expiration + self.allow_expired_window + 2 * self.clock_skew

    @property
    def keys_needed(self) -> int:
        """How many keys there are at most at one time when the schedule alone rotates."""
        retiring = math.ceil(self.lifetime / self.interval) if self.interval else 1
        return retiring + 2

    @property
    def sum(self) -> str:
        """The arithmetic of `lifetime`, for people."""
        return (
            f"expiration {self.expiration:g} + allow_expired_window {self.allow_expired_window:g}"
            f" + 2 x clock_skew {self.clock_skew:g} = {self.lifetime:g} s"
        )

    def refusal(self) -> str | None:
        """Why these settings are unsafe, with the arithmetic; None if they are not."""
        if self.expiration <= 0 or self.allow_expired_window < 0 or self.clock_skew <= 0:
            return (
                f"expiration is {self.expiration:g}, allow_expired_window {self.allow_expired_window:g},"
                f" clock_skew {self.clock_skew:g}: the first and the last must be more than 0, the"
                " second not less (no two clocks are equal)"
            )
        if self.interval < 0 or not 0 <= self.jitter <= 1:
            return f"interval is {self.interval:g} and jitter {self.jitter:g}: they must be at least 0, and jitter at most 1"
        if self.max_active_keys < LEAST_KEYS:
            return (
                f"max_active_keys is {self.max_active_keys}: a rotation needs {LEAST_KEYS} (one primary,"
                " one staged, one that still validates)"
            )
        if self.keys_needed > self.max_active_keys:
            least = self.lifetime / (self.max_active_keys - 2)
            return (
                f"a key is needed for {self.sum} after its last use; with a new one every"
                f" {self.interval:g} s, {self.lifetime:g} / {self.interval:g} ="
                f" {self.lifetime / self.interval:.2f}, so {self.keys_needed - 2} keys still validate"
                f" beside one primary and one staged: {self.keys_needed} keys, and max_active_keys is"
                f" {self.max_active_keys}. Set max_active_keys to {self.keys_needed} or interval to at"
                f" least {math.ceil(least)}"
            )
        return None
