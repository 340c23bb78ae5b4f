"""Keeps a site from running members of groups that another site took over, again and again.

It exists because a lost site that comes back starts what ran in it: the servers would answer beside
those that the failover made. What is to be done is decided by `isthmus.recovery.stale`; this module
reads markers, asks Nova, and tells. Of all engines of a site the one with the lease acts. Another
site's members are not its business.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import orm

from isthmus import errors
from isthmus.operations import holding, leases, trail
from isthmus.operations.holding import Held
from isthmus.operations.leases import FencedError
from isthmus.recovery import stale
from isthmus.recovery.declarations import Group, Member
from isthmus.recovery.epochs import Epochs, Marker
from isthmus.recovery.findings import Finding
from isthmus.recovery.flows.declared import Declared
from isthmus.recovery.flows.looking import Looking
from isthmus.recovery.rest import Api, CloudError
from isthmus.recovery.stale import Action, Deed, Look, Server, Standing, Unread, Word
from isthmus.sites import fanout
from isthmus.store import databases

LOG = logging.getLogger(__name__)

SUBJECT = "stale-members"
"""What the lease is for. Not that of a group: a checkpoint that was cut off by the disaster and is
ended now must not be waited for."""

_WITHIN_S = 60.0
_AT_ONCE = 8
_CHANGING = Unread(
    cause="the marker changed, or could not be read, while the servers were looked at"
)
_RUNNING = 1
"""Nova's power state."""


class StaleMembers(Looking):
    """`compute`: Nova of the own site, as an administrator from outside the groups' projects: what such
    a one locks, a project cannot unlock. `interval`: seconds between two looks, which is how long a
    member may run that was started wrongly; `lasts`: of the lease.

    Invariants: no server is touched unless this engine has the lease, and none of a group whose
    marker was not read and verified in this very look.
    """

    def __init__(
        self,
        database: databases.Database,
        declared: Declared,
        epochs: Epochs,
        compute: Api,
        *,
        owner: str,
        interval: float,
        lasts: float = leases.SECONDS,
    ) -> None:
        super().__init__(
            "stale-members", interval, first=0.0, unknown="it is not known which groups have moved"
        )
        self._database, self._declared, self._epochs = database, declared, epochs
        self._compute, self._site, self._owner = compute, compute.region, owner
        self._lasts = lasts
        self._owned: dict[str, int] = {}
        self._found: dict[str, tuple[Finding, ...]] = {}
        self._noted: dict[str, tuple[Action, ...]] = {}

    def findings(self, group_id: str) -> Sequence[Finding]:
        """What the last look found about a group; for any thread."""
        return self._found.get(group_id, ())

    def look(self) -> None:
        """One look at all groups whose members live here, and what follows from it. Raises
        UnavailableError when the groups cannot be read."""
        groups = {each.id: each for each in self._declared.groups() if each.site == self._site}
        words = self._words(groups)
        for group_id, word in words.items():
            if isinstance(word, Marker) and word.site == self._site:
                self._owned[group_id] = max(word.epoch, self._owned.get(group_id, 0))
        looks = self._looks(groups, words)
        for key in [key for key, each in looks.items() if not each.actions]:
            self._noted.pop(key, None)
        try:
            done = self._acted(groups, looks)
        except errors.IsthmusError as error:
            # Without the database nobody knows who acts: nobody does, and that is to be told.
            done = {key: _undone(each, str(error)) for key, each in looks.items()}
        found = {key: stale.findings(self._site, groups[key], each) for key, each in done.items()}
        self._tell(found)
        self._found = found

    def _words(self, groups: Mapping[str, Group]) -> dict[str, Word]:
        """What the store says of each group, verified."""
        questions = {key: functools.partial(self._epochs.latest, key) for key in groups}
        answers = fanout.ask_all(questions, timeout=_WITHIN_S, at_once=_AT_ONCE)
        return {
            key: each.value if each.error is None else Unread(cause=each.error)
            for key, each in answers.items()
        }

    def _looks(self, groups: Mapping[str, Group], words: Mapping[str, Word]) -> dict[str, Look]:
        """With the members as they are now, of groups that were ever claimed by a site."""
        judged = {
            key: stale.standing(self._site, word, owned=self._owned.get(key, 0))
            for key, word in words.items()
        }
        asked = [key for key, each in judged.items() if each in (Standing.MOVED, Standing.OWN)]
        questions: dict[tuple[str, str], Callable[[], Server]] = {
            (key, each.server_id): functools.partial(self._server, each)
            for key in asked
            for each in groups[key].members
        }
        answers = fanout.ask_all(questions, timeout=_WITHIN_S, at_once=_AT_ONCE)
        looks = {}
        for key, word in words.items():
            servers, failed = [], {}
            for member in groups[key].members if key in asked else ():
                answer = answers[key, member.server_id]
                servers.append(answer.value or Server(id=member.server_id, name=member.name))
                if answer.error is not None:
                    failed[member.server_id] = answer.error
            looks[key] = Look(
                word=word,
                standing=judged[key],
                servers=tuple(servers),
                actions=stale.decided(self._site, word, servers, owned=self._owned.get(key, 0)),
                failed=failed,
            )
        return looks

    def _server(self, member: Member) -> Server:
        found = self._compute.find(f"/servers/{member.server_id}", "server")
        if found is None:
            return Server(id=member.server_id, name=member.name)
        return Server(
            id=member.server_id,
            name=member.name,
            status=str(found["status"]),
            task=found.get("OS-EXT-STS:task_state"),
            running=found.get("OS-EXT-STS:power_state") == _RUNNING,
            locked=bool(found.get("locked")),
            reason=found.get("locked_reason"),
        )

    def _acted(self, groups: Mapping[str, Group], looks: Mapping[str, Look]) -> dict[str, Look]:
        """The looks with what came of their actions; as they are where another engine acts."""
        if not any(each.actions for each in looks.values()):
            return dict(looks)
        held = holding.take(
            self._database,
            SUBJECT,
            owner=self._owner,
            operation_id=SUBJECT,
            lasts=self._lasts,
        )
        if held is None:
            return dict(looks)
        with held.kept():
            return {key: self._done(groups[key], each, held) for key, each in looks.items()}

    def _done(self, group: Group, look: Look, held: Held) -> Look:
        if not look.actions:
            return look
        # Looking took its time: who gave the group back meanwhile must not find it stopped.
        if self._words({group.id: group})[group.id] != look.word:
            return dataclasses.replace(look, standing=Standing.UNKNOWN, word=_CHANGING)
        failed = dict(look.failed)
        try:
            self._note(group, look, held)
            for action in look.actions:
                held.guard()
                cause = self._asked(action)
                if cause is not None:
                    failed[action.server_id] = cause
        except FencedError:
            LOG.info("another engine of %s sees to members of group %s", self._site, group.name)
        return dataclasses.replace(look, failed=failed)

    def _note(self, group: Group, look: Look, held: Held) -> None:
        """Write down what is begun now, in the audit trail; once, however often it is tried."""
        if not look.actions or self._noted.get(group.id) == look.actions:
            return
        names = {each.id: each.name for each in look.servers}
        deeds = [f"{each.deed} {names[each.server_id]}" for each in look.actions]
        marker = look.word
        assert isinstance(marker, Marker)  # noqa: S101 - nothing is decided without one

        def action(session: orm.Session) -> None:
            trail.note(
                session,
                group.id,
                time.time(),
                "kept members from running" if look.standing is Standing.MOVED else "let go",
                self._owner,
                deeds=deeds,
                owner=marker.site,
                epoch=marker.epoch,
            )

        held.database.write(action)
        self._noted[group.id] = look.actions

    def _asked(self, action: Action) -> str | None:
        """Ask Nova; why it was not done, None if it was. A server that is gone needs nothing."""
        try:
            self._compute.post(f"/servers/{action.server_id}/action", _body(action))
        except CloudError as error:
            return None if error.status == 404 else str(error)
        return None

    def _tell(self, found: Mapping[str, tuple[Finding, ...]]) -> None:
        """Log what is new since the last look."""
        for key, findings in found.items():
            known = {each.key for each in self._found.get(key, ())}
            for each in findings:
                if each.key not in known:
                    names = f" ({', '.join(each.servers)})" if each.servers else ""
                    LOG.warning("%s: %s%s: %s", each.subject, each.summary, names, each.cause)


def _undone(look: Look, cause: str) -> Look:
    failed = {each.server_id: cause for each in look.actions}
    return dataclasses.replace(look, failed={**look.failed, **failed})


def _body(action: Action) -> dict[str, Any]:
    match action.deed:
        case Deed.LOCK:
            return {"lock": {"locked_reason": action.reason}}
        case Deed.STOP:
            return {"os-stop": None}
        case Deed.UNLOCK:
            return {"unlock": None}
