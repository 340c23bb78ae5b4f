"""Making a replica follow another master, with the proof of position before and after.

The decision to do so is `isthmus.identity.replication`'s; here the proof is taken again from both
databases at the moment of the switch, and the switch is undone when the new master refuses.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from isthmus.agent import databases
from isthmus.agent.config import Config
from isthmus.identity import replication
from isthmus.identity.positions import Position

# Catching up after a switch takes tens of milliseconds; this is for a backlog over a slow WAN.
PROOF_SECONDS = 10.0
_POLL = 0.05


@dataclass(frozen=True, kw_only=True)
class Result:
    """What was done, in words; whether the replica now follows the new master, or was refused."""

    succeeded: bool
    text: str
    refused: bool = False


def repoint(session: databases.Session, config: Config, target: str) -> Result:
    """Make the replica behind `session` follow `target`; raises `DatabaseError` of the replica."""
    before = databases.look_at_replica(session, config.master_at)
    previous = before.stream.master if before.stream else None
    held = before.applied.joined(before.stream.received if before.stream else Position())
    try:
        master = _ask(config, target)
    except databases.DatabaseError as error:
        return Result(succeeded=False, text=f"not re-pointed: {target} does not answer: {error}")
    if not master.usable or not held or not master.position.includes(held):
        state = "Primary and Synced" if master.usable else master.reason
        return Result(
            succeeded=False,
            text=f"not re-pointed: {target} ({state}) is at {master.position}, "
            f"the replica at {held}",
        )
    _follow(session, config, target)
    moved = f"from {previous or 'an unknown master'} to {target} at {held}"
    return _proven(
        session, config, _Switch(target=target, previous=previous, goal=master.position, text=moved)
    )


def _ask(config: Config, target: str) -> replication.Master:
    session = databases.Session(config.masters[target], config.replication)
    try:
        return databases.look_at_master(session, time.monotonic)
    finally:
        session.close()


def _follow(session: databases.Session, config: Config, target: str) -> None:
    databases.follow(session, config.masters[target], config.replication)


@dataclass(frozen=True, kw_only=True)
class _Switch:
    """A switch that was made and has to be proven: `goal` is where the new master was."""

    target: str
    previous: str | None
    goal: Position
    text: str


def _proven(session: databases.Session, config: Config, switch: _Switch) -> Result:
    """Wait for both threads to run and for the new master's position, or undo the switch."""
    began = time.monotonic()

    def stream() -> tuple[replication.Replica, replication.Stream | None]:
        replica = databases.look_at_replica(session, config.master_at)
        return replica, replica.stream

    replica, now = _until(
        stream, lambda seen: _arrived(*seen, switch.goal) or _refused(seen[1]), PROOF_SECONDS
    )
    seconds = time.monotonic() - began
    if _arrived(replica, now, switch.goal):
        return Result(
            succeeded=True,
            text=f"re-pointed {switch.text}: it reached {replica.applied} in {seconds:.2f} s "
            f"({switch.target} was at {switch.goal}), stream and applier run",
        )
    if now is not None and now.connected and now.applying:
        return Result(
            succeeded=True,
            text=f"re-pointed {switch.text}: stream and applier run, but it is still at "
            f"{replica.applied} of {switch.goal} after {seconds:.0f} s",
        )
    return _undone(session, config, switch, now)


def _undone(
    session: databases.Session, config: Config, switch: _Switch, now: replication.Stream | None
) -> Result:
    cause = (now.connect_error or now.apply_error) if now else ""
    text = f"re-pointing {switch.text} failed: {cause or 'the stream does not run'}"
    if switch.previous is None:
        text += f"; the replica was left at {switch.target}"
        return Result(succeeded=False, refused=True, text=text)
    _follow(session, config, switch.previous)
    text += f"; the replica follows {switch.previous} again"
    return Result(succeeded=False, refused=True, text=text)


def _arrived(
    replica: replication.Replica, stream: replication.Stream | None, goal: Position
) -> bool:
    runs = stream is not None and stream.connected and stream.applying
    return runs and replica.applied.includes(goal)


def _refused(stream: replication.Stream | None) -> bool:
    """The new master said no for good (for instance 1236: it has not the replica's position)."""
    if stream is None or stream.apply_errno:
        return True
    return bool(stream.connect_errno) and not stream.connected and stream.connect_errno < 2000


Seen = tuple[replication.Replica, replication.Stream | None]


def _until(look: Callable[[], Seen], done: Callable[[Seen], bool], seconds: float) -> Seen:
    deadline = time.monotonic() + seconds
    seen = look()
    while not done(seen) and time.monotonic() < deadline:
        time.sleep(_POLL)
        seen = look()
    return seen
