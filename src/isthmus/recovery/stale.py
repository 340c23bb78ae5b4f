"""Stale members: servers that a site still has of a group that belongs to another one. Values only.

It exists so that nothing but a judgement over values stops a server: a site that comes back after its
groups failed over must not run them a second time, and a service that runs must never be stopped on
doubt. Who reads the marker and asks Nova is `isthmus.recovery.flows.stale_members`.
"""

from __future__ import annotations

import dataclasses
import enum
import re
from collections.abc import Iterator, Sequence

from isthmus.outcomes import Outcome
from isthmus.recovery import documents
from isthmus.recovery.declarations import Group
from isthmus.recovery.epochs import Marker
from isthmus.recovery.findings import Code, Finding

_REASON = re.compile(r"isthmus: its group moved to site \S+ in epoch ([0-9]{1,18})")


class Standing(enum.StrEnum):
    """What a site may do with the members of a group."""

    UNCLAIMED = "unclaimed"  # no site ever claimed the group: nothing moved
    OWN = "own"
    MOVED = "moved"
    UNKNOWN = "unknown"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Unread:
    """There may be a marker, and it could not be read, or is not believed: `cause`."""

    cause: str


Word = Marker | Unread | None
"""What the store says of a group. A Marker here was verified; None: there is none."""


class Deed(enum.StrEnum):
    """What Nova is asked for."""

    LOCK = "lock"
    STOP = "stop"
    UNLOCK = "unlock"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Action:
    """For one server. `reason`: of a lock."""

    deed: Deed
    server_id: str
    reason: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Server:
    """A member as Nova tells of it: `status` and `task` in Nova's words, `running` by its power state,
    `reason` of its lock. `status` None: Nova has no such server."""

    id: str
    name: str
    status: str | None = None
    task: str | None = None
    running: bool = False
    locked: bool = False
    reason: str | None = None

    @property
    def locked_by_us(self) -> int | None:
        """The epoch in which the group moved, by the reason of our lock; None if it is not ours."""
        found = _REASON.fullmatch(self.reason or "") if self.locked else None
        return int(found[1]) if found else None

    @property
    def comes_up(self) -> bool:
        """Whether it runs, or Nova would start it again with its host."""
        return self.status == "ACTIVE" or (self.status is not None and self.running)

    @property
    def can_be_stopped(self) -> bool:
        """What Nova refuses else."""
        return self.status in ("ACTIVE", "ERROR") and self.task is None


def reason(marker: Marker) -> str:
    """What the lock of a member says, by which it is known again; Nova takes 255 characters."""
    return f"isthmus: its group moved to site {marker.site} in epoch {marker.epoch}"


def standing(site: str, word: Word, *, owned: int = 0) -> Standing:
    """`owned`: the highest epoch in which `site` was seen to own the group. A marker of another site
    that is not higher is an old one, whoever gives it out."""
    match word:
        case None:
            return Standing.UNCLAIMED
        case Unread():
            return Standing.UNKNOWN
    if word.site == site:
        return Standing.OWN
    return Standing.MOVED if word.epoch > owned else Standing.UNKNOWN


def decided(
    site: str, word: Word, servers: Sequence[Server], *, owned: int = 0
) -> tuple[Action, ...]:
    """What is to be asked of Nova, in this order.

    Invariants: nothing is locked or stopped but by a marker of a higher epoch and another site;
    nothing is unlocked but by a marker of this site that is higher than the one it was locked by; a
    lock of somebody else stays as it is; when all of it is done, there is nothing to do.
    """
    match standing(site, word, owned=owned), word:
        case Standing.MOVED, Marker() as marker:
            return (*_locks(marker, servers), *_stops(servers))
        case Standing.OWN, Marker() as marker:
            return tuple(
                Action(deed=Deed.UNLOCK, server_id=each.id)
                for each in servers
                if each.locked_by_us is not None and each.locked_by_us < marker.epoch
            )
    return ()


def _locks(marker: Marker, servers: Sequence[Server]) -> Iterator[Action]:
    """All locks come before the first stop, so that nobody starts what was just stopped."""
    for each in servers:
        if each.status is not None and not each.locked:
            yield Action(deed=Deed.LOCK, server_id=each.id, reason=reason(marker))


def _stops(servers: Sequence[Server]) -> Iterator[Action]:
    for each in servers:
        if each.comes_up and each.can_be_stopped:
            yield Action(deed=Deed.STOP, server_id=each.id)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Look:
    """What one look at a group came to. `failed`: why an action was not done, or a server not read,
    by server."""

    word: Word
    standing: Standing
    servers: tuple[Server, ...] = ()
    actions: tuple[Action, ...] = ()
    failed: dict[str, str] = dataclasses.field(default_factory=dict)

    def trouble(self, server: Server) -> str | None:
        """Why a member of a group that moved may still run; None if it does not, or will not soon."""
        if server.id in self.failed:
            return self.failed[server.id]
        if not server.comes_up or server.can_be_stopped or server.task == "powering-off":
            return None
        at_it = f" ({server.task})" if server.task else ""
        return f"Nova stops no server that is {server.status}{at_it}"


def findings(site: str, group: Group, look: Look) -> tuple[Finding, ...]:
    """What people should know of it."""
    match look.standing, look.word:
        case Standing.UNKNOWN, word:
            return (_unknown(site, group, word),)
        case Standing.MOVED, Marker() as marker:
            return tuple(_moved(site, group, look, marker))
        case Standing.OWN, Marker() as marker:
            return tuple(_returned(site, group, look, marker))
    return ()


def _unknown(site: str, group: Group, word: Word) -> Finding:
    cause = (
        word.cause
        if isinstance(word, Unread)
        else "the store gives out a marker that is older than one that was seen"
    )
    return Finding(
        code=Code.OWNER_UNKNOWN,
        outcome=Outcome.WARN,
        subject=f"group {group.name}",
        site=site,
        summary="it is not known whether the group still belongs to this site",
        cause=cause,
        remedy="its servers are left as they are; before you start any: isthmus operation list"
        f" --ask {group.backup_site}",
    )


def _moved(site: str, group: Group, look: Look, marker: Marker) -> Iterator[Finding]:
    trouble = {each.name: cause for each in look.servers if (cause := look.trouble(each))}
    held = [each for each in look.servers if each.status is not None and each.name not in trouble]
    yield Finding(
        code=Code.GROUP_MOVED,
        outcome=Outcome.WARN,
        subject=f"group {group.name}",
        site=site,
        summary=f"it belongs to site {marker.site}; {_kept(held)}",
        cause=_since(marker),
        remedy="start none of its servers here",
        servers=tuple(each.name for each in held),
    )
    if trouble:
        yield Finding(
            code=Code.STALE_MEMBER,
            outcome=Outcome.ERROR,
            subject=f"group {group.name}",
            site=site,
            summary=f"it belongs to site {marker.site}, and servers here may run",
            cause="; ".join(f"{name}: {cause}" for name, cause in trouble.items()),
            remedy="it is tried again; openstack server stop SERVER if that does not help",
            servers=tuple(trouble),
        )


def _kept(held: Sequence[Server]) -> str:
    if not held:
        return "none of its servers here is known to be stopped"
    stopping = [each.name for each in held if each.comes_up]
    return f"{', '.join(stopping)} is being stopped" if stopping else "these are locked and stopped"


def _since(marker: Marker) -> str:
    at = documents.written(marker.at)
    return f"epoch {marker.epoch}, claimed by operation {marker.operation_id} at {at}"


def _returned(site: str, group: Group, look: Look, marker: Marker) -> Iterator[Finding]:
    resting = [each for each in look.servers if each.status is not None and not each.comes_up]
    if resting:
        yield Finding(
            code=Code.GROUP_RETURNED,
            outcome=Outcome.INFO,
            subject=f"group {group.name}",
            site=site,
            summary="it belongs to this site again, and these servers do not run",
            cause=f"{_since(marker)}; what was stopped is unlocked and not started",
            remedy="start them in the order of the group: openstack server start SERVER",
            servers=tuple(each.name for each in resting),
        )
    if look.failed:
        names = {each.id: each.name for each in look.servers}
        yield Finding(
            code=Code.STALE_MEMBER,
            outcome=Outcome.WARN,
            subject=f"group {group.name}",
            site=site,
            summary="it belongs to this site again, and servers here may still be locked",
            cause="; ".join(f"{names[each]}: {cause}" for each, cause in look.failed.items()),
            remedy="it is tried again; openstack server unlock SERVER if that does not help",
            servers=tuple(names[each] for each in look.failed),
        )
