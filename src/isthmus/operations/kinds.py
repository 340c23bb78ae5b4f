"""The kinds of operations and what each needs: who may ask, who must approve, what a failure leads to.

One table, so that nobody has to look for an exception elsewhere. A schedule or an alarm can ask for
`protect` and for nothing else, and nothing but a person can approve.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping


class Kind(enum.StrEnum):
    """What an operation does with a group."""

    PROTECT = "protect"  # make a checkpoint
    DRILL = "drill"  # bring the group up apart from everything, test it, take it away again
    FAILOVER = "failover"  # bring the group up in its backup site, for good
    CLEANUP = "cleanup"  # take away what another operation could not


class Origin(enum.StrEnum):
    """What made somebody ask."""

    PERSON = "person"
    SCHEDULE = "schedule"
    ALARM = "alarm"


class Privilege(enum.StrEnum):
    """What a person may be allowed; each is a right of its own, none contains another."""

    OPERATE = "operate"
    DRILL = "drill"
    FAILOVER = "failover"


class OnFailure(enum.StrEnum):
    """What happens when a step failed for good."""

    ROLL_BACK = "roll-back"
    WAIT = "wait"  # for a person: retry, skip, or roll back


class Ending(enum.StrEnum):
    """What happens when all steps are done."""

    COMMIT = "commit"
    ASK = "ask"  # a person looks at what runs now, and commits or rolls back
    UNDO = "undo"  # everything is taken away, which is success


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rules:
    """`request`, `approve`: the privilege that is needed (`approve` None: no approval). `origins`:
    who may ask."""

    request: Privilege
    approve: Privilege | None
    origins: frozenset[Origin]
    on_failure: OnFailure
    ending: Ending


_PEOPLE = frozenset({Origin.PERSON})

RULES: Mapping[Kind, Rules] = {
    Kind.PROTECT: Rules(
        request=Privilege.OPERATE,
        approve=None,
        origins=frozenset(Origin),
        on_failure=OnFailure.ROLL_BACK,
        ending=Ending.COMMIT,
    ),
    Kind.DRILL: Rules(
        request=Privilege.OPERATE,
        approve=Privilege.DRILL,
        origins=_PEOPLE,
        on_failure=OnFailure.ROLL_BACK,
        ending=Ending.UNDO,
    ),
    Kind.FAILOVER: Rules(
        request=Privilege.OPERATE,
        approve=Privilege.FAILOVER,
        origins=_PEOPLE,
        on_failure=OnFailure.WAIT,
        ending=Ending.ASK,
    ),
    Kind.CLEANUP: Rules(
        request=Privilege.OPERATE,
        approve=None,
        origins=_PEOPLE,
        on_failure=OnFailure.WAIT,
        ending=Ending.COMMIT,
    ),
}
