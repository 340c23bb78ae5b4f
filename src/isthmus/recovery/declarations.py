"""Protection groups and policies as operators declare them: what is to come back, and how.

It exists so that one value says all that freezing, backups, drills and failovers need to know about
a VNF, and so that every declaration is checked before it is kept. It asks no cloud: whether the
servers exist is the precheck's question, and the database is elsewhere.

Order: *levels* are frozen in ascending order, the members of one level at the same time; thaw and
boot are the exact reverse. So who asks has a lower level than who answers: clients first, the
database last (requirements, geo-site disaster recovery, on the order of quiesce).
"""

from __future__ import annotations

import dataclasses
import enum
import itertools
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn, TypeVar

from isthmus import errors
from isthmus.recovery import documents

LONGEST_FREEZE_S = 10.0
"""Guests of other systems are held for at most 10 s as well (VSS writers; the Windows guest agent
refuses longer), because applications begin to fail over."""

SHORTEST_FREEZE_S = 1.0
"""A snapshot on Ceph with its default settings costs one monitor proposal, which is 1 s."""

GUEST_HOOK_S, SCRIPT_S = (1.0, 600.0), (0.1, 3600.0)
"""How long a hook may take at least and at most. Host agents take commands for guests with these times
and no others, since each waits in one of the threads that guests are frozen and thawed by."""

_T = TypeVar("_T")

KEEP_MOST = 1000
FULL_EVERY_MOST = 100
"""A chain of backups is as weak as each of its parts, and a restore reads all of them."""


class DeclarationError(errors.UsageError):
    """A declaration is refused; `field` names the part that is wrong. Nothing was changed."""

    def __init__(self, field: str, what: str, *, cause: str) -> None:
        super().__init__(
            what, where=f"field {field}", cause=cause, unchanged="nothing was declared or changed"
        )
        self.field = field


class Option(enum.StrEnum):
    """How data get to the backup site (requirements, geo-site disaster recovery, options 1 to 3)."""

    BACKUP = "backup"
    SNAPSHOT = "snapshot"
    REPLICATION = "replication"


OFFERED = frozenset({Option.BACKUP})
"""What this release can do; the others are declared words, so that documents do not change."""


class SnapshotDriver(enum.StrEnum):
    """Who takes the snapshots inside the freeze window."""

    CINDER = "cinder"  # any backend; costs seconds, since volumes are taken one after the other
    RBD = "rbd"  # librbd, all volumes at once


class HookPlace(enum.StrEnum):
    """Where a hook runs."""

    GUEST = "guest"  # by the guest agent's exec in the member's guest
    SCRIPT = "script"  # an executable of the controller's hook directory, on the controller


class OnError(enum.StrEnum):
    """What a hook that failed does to the checkpoint."""

    ABORT = "abort"
    CONTINUE = "continue"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hook:
    """A command before the freeze or after the thaw. Never inside the window.

    `command`: argv; an absolute path for the guest, the bare name of a file for a script. `member`:
    the name of the member whose guest runs it; None: every member, one after the other.
    """

    command: tuple[str, ...]
    place: HookPlace = HookPlace.GUEST
    member: str | None = None
    timeout_s: float = 10.0
    on_error: OnError = OnError.ABORT


@dataclasses.dataclass(frozen=True, kw_only=True)
class Retention:
    """`keep`: how many available checkpoints stay. `full_every`: every how many backups of a volume
    one is full; 1 = all of them."""

    keep: int = 7
    full_every: int = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Policy:
    """How groups are protected. `schedule_s`: seconds from one checkpoint's start to the next's;
    None: only when asked. `freeze_deadline_s`: when dead-men thaw, whatever else is dead."""

    name: str
    option: Option = Option.BACKUP
    driver: SnapshotDriver = SnapshotDriver.CINDER
    freeze_deadline_s: float = LONGEST_FREEZE_S
    pre_hooks: tuple[Hook, ...] = ()
    post_hooks: tuple[Hook, ...] = ()
    retention: Retention = Retention()
    schedule_s: float | None = None

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Policy:
        """From JSON. Raises InputError for a wrong shape, DeclarationError for wrong values."""
        policy = _read(cls, document, "policy")
        check_policy(policy)
        return policy

    def to_document(self) -> dict[str, Any]:
        """As JSON."""
        return dict(documents.write(self))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Member:
    """A server of the group. `name` is unique in the group and is what `depends` lists: the members
    that must run before this one boots, and stay unfrozen until it is frozen. `test`: argv of a
    command in its guest that succeeds when the member is what it should be, tried after it came back;
    empty: that the guest answers is enough."""

    server_id: str
    name: str
    level: int = 0
    depends: tuple[str, ...] = ()
    test: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Group:
    """A VNF: servers of one project in one site that come back together.

    Invariants (kept by `check_group`): names and servers are unique; whoever depends on another
    has a lower level; so there is no circle, and the boot order starts nobody before what it needs.
    `policy` is the name of a policy. `revision` grows with every change.
    """

    id: str
    name: str
    site: str
    backup_site: str
    project_id: str
    members: tuple[Member, ...]
    policy: str
    revision: int = 1

    @property
    def freeze_order(self) -> tuple[tuple[Member, ...], ...]:
        """The members by level, in the order of freezing."""
        by_level = sorted(self.members, key=lambda member: (member.level, member.name))
        levels = itertools.groupby(by_level, key=lambda member: member.level)
        return tuple(tuple(members) for _, members in levels)

    @property
    def thaw_order(self) -> tuple[tuple[Member, ...], ...]:
        """The exact reverse of the freeze order."""
        return self.freeze_order[::-1]

    @property
    def boot_order(self) -> tuple[tuple[Member, ...], ...]:
        """The same: whoever is needed comes first."""
        return self.thaw_order

    def member(self, name: str) -> Member:
        """The member of that name. Raises UsageError."""
        for member in self.members:
            if member.name == name:
                return member
        raise errors.UsageError(f"there is no member {name!r}", where=f"group {self.name}")

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Group:
        """From JSON. Raises InputError for a wrong shape, DeclarationError for wrong values."""
        group = _read(cls, document, "protection group")
        check_group(group)
        return group

    def to_document(self) -> dict[str, Any]:
        """As JSON."""
        return dict(documents.write(self))


def check_policy(policy: Policy) -> None:
    """Raise DeclarationError for the first thing about a policy that cannot work."""
    refuse = _Refusal(f"the policy {policy.name!r} is refused")
    refuse.unless(bool(policy.name.strip()), "name", "it is empty")
    refuse.unless(policy.option in OFFERED, "option", f"this release offers {_words(OFFERED)}")
    refuse.unless(
        SHORTEST_FREEZE_S <= policy.freeze_deadline_s <= LONGEST_FREEZE_S,
        "freeze_deadline_s",
        f"it is not from {SHORTEST_FREEZE_S:g} to {LONGEST_FREEZE_S:g} s",
    )
    kept = policy.retention
    refuse.unless(1 <= kept.keep <= KEEP_MOST, "retention.keep", f"it is not 1 to {KEEP_MOST}")
    refuse.unless(
        1 <= kept.full_every <= FULL_EVERY_MOST,
        "retention.full_every",
        f"it is not 1 to {FULL_EVERY_MOST}",
    )
    refuse.unless(
        policy.schedule_s is None or policy.schedule_s > policy.freeze_deadline_s,
        "schedule_s",
        "the next checkpoint would begin before a freeze of the one before has surely ended",
    )
    for hook in (*policy.pre_hooks, *policy.post_hooks):
        _check_hook(hook, refuse)


def _check_hook(hook: Hook, refuse: _Refusal) -> None:
    refuse.unless(bool(hook.command and hook.command[0]), "hooks.command", "it is empty")
    least, most = GUEST_HOOK_S if hook.place is HookPlace.GUEST else SCRIPT_S
    refuse.unless(
        least <= hook.timeout_s <= most, "hooks.timeout_s", f"it is not {least:g} to {most:g} s"
    )
    first = hook.command[0]
    if hook.place is HookPlace.GUEST:
        _check_guest_word(first, "hooks.command", refuse)
    else:
        # Whoever may write a policy is not thereby allowed to run any program of the controller.
        plain = "/" not in first and first not in (".", "..")
        refuse.unless(plain, "hooks.command", "a script is named without a path")


def _check_guest_word(first: str, field: str, refuse: _Refusal) -> None:
    refuse.unless(first.startswith("/"), field, "a guest needs an absolute path")


def check_group(group: Group) -> None:
    """Raise DeclarationError for the first thing about a group that cannot work."""
    refuse = _Refusal(f"the protection group {group.name!r} is refused")
    refuse.unless(bool(group.name.strip()), "name", "it is empty")
    refuse.unless(bool(group.members), "members", "there are none")
    refuse.unless(group.site != group.backup_site, "backup_site", "it is the group's own site")
    _unique((each.name for each in group.members), "members.name", refuse)
    _unique((each.server_id for each in group.members), "members.server_id", refuse)
    by_name = {each.name: each for each in group.members}
    for member in group.members:
        if member.test:
            _check_guest_word(member.test[0], "members.test", refuse)
        _unique(member.depends, "members.depends", refuse)
        for name in member.depends:
            needed = by_name.get(name)
            if needed is None:
                refuse("members.depends", f"{member.name} depends on {name}, which is no member")
            refuse.unless(
                member.level < needed.level,
                "members.level",
                f"{member.name} depends on {name} and must be frozen before it: its level"
                f" ({member.level}) must be lower than {name}'s ({needed.level})",
            )


def check_together(group: Group, others: Iterable[Group]) -> None:
    """Raise DeclarationError when a name is taken or a server belongs to another group already."""
    refuse = _Refusal(f"the protection group {group.name!r} is refused")
    servers = {each.server_id: each.name for each in group.members}
    for other in others:
        if other.id == group.id:
            continue
        same_name = (other.name, other.project_id) == (group.name, group.project_id)
        refuse.unless(not same_name, "name", "the project has a group of that name")
        shared = [servers[each.server_id] for each in other.members if each.server_id in servers]
        refuse.unless(
            not shared, "members.server_id", f"{_words(shared)} belongs to group {other.name}"
        )


class _Refusal:
    """Raises DeclarationError in the words of one declaration."""

    def __init__(self, what: str) -> None:
        self._what = what

    def unless(self, good: bool, field: str, cause: str) -> None:
        if not good:
            self(field, cause)

    def __call__(self, field: str, cause: str) -> NoReturn:
        raise DeclarationError(field, self._what, cause=cause)


def _unique(texts: Iterable[str], field: str, refuse: _Refusal) -> None:
    seen: set[str] = set()
    for text in texts:
        refuse.unless(bool(text.strip()), field, "one is empty")
        refuse.unless(text not in seen, field, f"{text} is there twice")
        seen.add(text)


def _words(texts: Iterable[str]) -> str:
    return ", ".join(sorted(texts))


def _read(kind: type[_T], document: Mapping[str, Any], noun: str) -> _T:
    try:
        return documents.read(kind, document)
    except documents.ShapeError as error:
        name = document.get("name") if isinstance(document, Mapping) else None
        raise errors.InputError(
            f"the declaration of a {noun} cannot be read",
            where=f"{noun} {name or 'without a name'}",
            cause=str(error),
            unchanged="nothing was declared or changed",
        ) from error
