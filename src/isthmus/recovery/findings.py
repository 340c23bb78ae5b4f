"""Findings about recovery: what would keep a group from coming back, whose fault, and what to do.

It exists so that validation of plans, rebuilding from manifests and prechecks share one shape. It
judges nothing itself. A finding is no error: the rest is looked at all the same.
"""

from __future__ import annotations

import dataclasses
import enum

from isthmus.outcomes import Outcome


class Code(enum.StrEnum):
    """What kind of finding; stable, for scripts and documentation."""

    NOT_MAPPED = "not-mapped"
    MISSING = "missing"
    AMBIGUOUS = "ambiguous"
    DIFFERS = "differs"
    TOO_SMALL = "too-small"
    ADDRESS_OUTSIDE = "address-outside"
    ADDRESS_TAKEN = "address-taken"
    ADDRESS_TWICE = "address-twice"
    MAC_TAKEN = "mac-taken"
    NO_ROUTE = "no-route"
    NOT_TESTED = "not-tested"
    QUOTA = "quota"
    NO_USER_DATA = "no-user-data"
    UNREADABLE = "unreadable"
    NO_RESTORE_PATH = "no-restore-path"
    CHAIN_BROKEN = "chain-broken"
    MANIFEST_REFUSED = "manifest-refused"
    SAME_SEQUENCE = "same-sequence"
    EPOCH_BACKWARDS = "epoch-backwards"
    EPOCH_AHEAD = "epoch-ahead"
    GROUP_DIFFERS = "group-differs"
    BACKUP_DIFFERS = "backup-differs"
    GROUP_MOVED = "group-moved"
    GROUP_RETURNED = "group-returned"
    OWNER_UNKNOWN = "owner-unknown"
    STALE_MEMBER = "stale-member"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """Something that is not as it should be, why, and what to do.

    `subject` is what it is about, kind first (`flavor m1.small`); `servers` the names of the members
    that need it; `site` where. `remedy` is a whole sentence or a command.
    """

    code: Code
    outcome: Outcome
    subject: str
    site: str
    summary: str
    cause: str
    remedy: str
    servers: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[str, ...]:
        """Equal for the same trouble seen twice, so that a face can say since when it stands."""
        return (self.code, self.site, self.subject)


def worst(findings: tuple[Finding, ...]) -> Outcome:
    """The worst outcome, INFO when there is nothing."""
    return max(
        (each.outcome for each in findings), key=lambda one: one.exit_code, default=Outcome.INFO
    )
