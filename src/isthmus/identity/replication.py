"""Whether an asynchronous replica may be read, and which master it should follow: decisions, no
I/O.

A replica of a dead master looks healthy to a TCP check while its data grow old. So age is judged
here, by the heartbeat that the writer site sends down the stream and by the positions of the
masters. `isthmus.agent` makes the observations and carries out the actions; which Galera node is
the writer is decided in `isthmus.identity.writer`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from isthmus.identity.positions import Position

# A look at a master or at the replica that is older than this says nothing about now (looks come
# every second or less).
FRESH_SECONDS = 3.0
# A master must have been looked at this long after the replica stood still before its position
# counts against the replica.
SETTLED_SECONDS = 1.0
# A master that refused the replica is not tried again for this long; a person will have read the
# event by then.
BARRED_SECONDS = 600.0
NOWHERE = Position()
HOUR = 3600.0


class Verdict(StrEnum):
    """What a replica is good for; only `serving` is read from while there is a better one."""

    SERVING = "serving"
    LAGGING = "lagging"  # data arrive, late
    FROZEN = "frozen"  # the stream is connected and nothing arrives
    DISCONNECTED = "disconnected"  # there is no stream
    DIVERGED = "diverged"  # it holds what no master has, or its applier failed
    UNREACHABLE = "unreachable"  # the database process does not answer
    UNKNOWN = "unknown"  # not observed yet, or the observation cannot be judged


class Act(StrEnum):
    """What the agent should do to a replica."""

    NONE = "none"
    REPOINT = "repoint"  # its master is lost: follow another
    HOME = "home"  # its own master is back: return


@dataclass(frozen=True, kw_only=True)
class Action:
    """An act and the site whose database it is about."""

    act: Act = Act.NONE
    master: str | None = None


@dataclass(frozen=True, kw_only=True)
class Limits:
    """When to judge and act, in seconds; what each is for is in docs/agent.rst."""

    lag_limit_seconds: float = 5.0
    freeze_after_seconds: float = 5.0
    repoint_after_seconds: float = 5.0
    home_after_seconds: float = 30.0
    repoints_per_hour: int = 12


@dataclass(frozen=True, kw_only=True)
class Heartbeat:
    """One row of `heartbeat` as the replica has applied it; `written_at` in UTC by the writer's
    clock."""

    writer: str
    sequence: int
    written_at: datetime


@dataclass(frozen=True, kw_only=True)
class Stream:
    """SHOW SLAVE STATUS; `master` is the site at whose database it points, None when that is no
    known master."""

    master: str | None
    connected: bool
    applying: bool
    received: Position
    connect_errno: int = 0
    connect_error: str = ""
    apply_errno: int = 0
    apply_error: str = ""
    stopped: bool = False  # stopped without an error: by a person


@dataclass(frozen=True, kw_only=True)
class Replica:
    """A look at a replica that got an answer; `stream` is None when replication is not
    configured."""

    applied: Position
    stream: Stream | None
    heartbeats: tuple[Heartbeat, ...]


@dataclass(frozen=True, kw_only=True)
class Master:
    """A look at a master at monotonic time `at`; `usable`: Primary and Synced. Else `reason` says
    why not."""

    at: float
    usable: bool
    position: Position
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Observation:
    """What the agent sees at monotonic time `at` (and `now`, UTC). `replica` is None when it did
    not answer."""

    at: float
    now: datetime
    replica: Replica | None
    masters: Mapping[str, Master]
    error: str = ""
    answered: bool = False  # with an error: the database refuses the look, but it is alive
    may_act: bool = True


@dataclass(frozen=True, kw_only=True)
class State:
    """What has to be remembered between observations of one replica; times are monotonic."""

    verdict: Verdict = Verdict.UNKNOWN
    seen_at: float | None = None
    applied: Position = NOWHERE
    received: Position = NOWHERE
    sequences: Mapping[str, int] = field(default_factory=dict)
    newest: Heartbeat | None = None
    advanced_at: float | None = None
    quiet_since: float | None = None
    backlog: tuple[tuple[float, Position], ...] = ()
    home_since: float | None = None
    moves: tuple[float, ...] = ()
    barred: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What follows from an observation. `lag_seconds` is the age of the newest heartbeat by the
    clocks, `advance_age_seconds` the time since a heartbeat last advanced here by the monotonic
    clock alone."""

    state: State
    verdict: Verdict
    reason: str
    action: Action = Action()
    lag_seconds: float | None = None
    advance_age_seconds: float | None = None


def acted(state: State, at: float, master: str, *, refused: bool) -> State:
    """The state after an action: a new master starts with a clean slate, one that refused is left
    alone for a while."""
    barred = {name: until for name, until in state.barred.items() if until > at}
    if refused:
        barred[master] = at + BARRED_SECONDS
    return replace(state, quiet_since=at, backlog=(), home_since=None, barred=barred)


def observe(state: State, seen: Observation, limits: Limits, home: str | None) -> Decision:
    """One step: judge the replica and choose an action.

    Invariants, whatever is observed in whatever order:
    - no re-point while anything arrived or was applied within `repoint_after_seconds`;
    - a re-point or a return goes only to a master that was seen Primary and Synced within the last
      seconds and whose position includes all that the replica received and applied (the proof of
      position);
    - a replica whose position no usable master includes is never re-pointed, and neither is one
      whose applier failed or was stopped by a person; the verdict or the reason says what to do;
    - a return home follows `home_after_seconds` of an unbroken usable home and a replica that
      serves;
    - at most `repoints_per_hour` actions in any hour, half of them returns, and never two within
      twice `repoint_after_seconds`;
    - without `may_act` there is no action.
    """
    state = _home_watched(state, seen, home)
    if seen.replica is None:
        verdict = Verdict.UNKNOWN if seen.answered else Verdict.UNREACHABLE
        problem = "refuses to be looked at" if seen.answered else "does not answer"
        return Decision(
            state=replace(state, verdict=verdict, seen_at=None),
            verdict=verdict,
            reason=f"the database {problem}: {seen.error}",
        )
    state = _remembered(state, seen, seen.replica)
    look = _Look(state=state, seen=seen, replica=seen.replica, limits=limits)
    verdict, reason = look.verdict()
    state = replace(state, verdict=verdict)
    action = look.action(verdict, home)
    if action.act is not Act.NONE:
        state = replace(state, moves=(*state.moves, seen.at))
    return Decision(
        state=state, verdict=verdict, reason=reason, action=action,
        lag_seconds=look.lag, advance_age_seconds=look.stale,
    )  # fmt: skip


def _home_watched(state: State, seen: Observation, home: str | None) -> State:
    """Since when the home master has been usable without a break."""
    usable = home is not None and _usable(seen.masters.get(home), seen.at)
    since = (seen.at if state.home_since is None else state.home_since) if usable else None
    return replace(
        state, home_since=since, moves=tuple(at for at in state.moves if seen.at - at < HOUR)
    )


def _usable(master: Master | None, at: float) -> bool:
    return master is not None and master.usable and at - master.at <= FRESH_SECONDS


def _remembered(state: State, seen: Observation, replica: Replica) -> State:
    """Fold what the replica shows into the state: what advanced, since when nothing has, what is
    still to come."""
    received = replica.stream.received if replica.stream else Position()
    sequences = {beat.writer: beat.sequence for beat in replica.heartbeats}
    newest = _newest(state, replica.heartbeats)
    advanced = newest != state.newest
    arrived = advanced or (replica.applied, received) != (state.applied, state.received)
    # Time in which nobody looked is no proof of silence: after a gap the clock of silence starts
    # again.
    gap = state.seen_at is None or seen.at - state.seen_at > FRESH_SECONDS
    return replace(
        state,
        seen_at=seen.at,
        applied=replica.applied,
        received=received,
        sequences=sequences,
        newest=newest,
        advanced_at=seen.at if advanced else state.advanced_at,
        quiet_since=seen.at if arrived or gap or state.quiet_since is None else state.quiet_since,
        backlog=_backlog(state, seen, replica),
    )


def _newest(state: State, heartbeats: tuple[Heartbeat, ...]) -> Heartbeat | None:
    """The heartbeat that advanced last; writers' clocks differ, so that the latest time is only the
    first guess."""
    moved = [b for b in heartbeats if state.sequences.get(b.writer) != b.sequence]
    if state.newest is not None and not moved:
        return state.newest
    return max(moved, key=lambda beat: beat.written_at, default=state.newest)


def _backlog(
    state: State, seen: Observation, replica: Replica
) -> tuple[tuple[float, Position], ...]:
    """Positions of the present master that the replica has not applied, each with the time when it
    was seen there."""
    left = tuple(entry for entry in state.backlog if not replica.applied.includes(entry[1]))
    present = replica.stream.master if replica.stream else None
    master = seen.masters.get(present) if present else None
    if master is None or not _usable(master, seen.at) or replica.applied.includes(master.position):
        return left
    # The oldest entry gives the age; 64 entries, a second apart, keep it exact for a minute and are
    # enough to see relief.
    if (left and left[-1][1] == master.position) or len(left) >= 64:
        return left
    return (*left, (master.at, master.position))


@dataclass(frozen=True, kw_only=True)
class _Look:
    """One observation with the state it was folded into; the questions that the decision asks."""

    state: State
    seen: Observation
    replica: Replica
    limits: Limits

    @property
    def lag(self) -> float | None:
        newest = self.state.newest
        return max(0.0, (self.seen.now - newest.written_at).total_seconds()) if newest else None

    @property
    def stale(self) -> float | None:
        since = self.state.advanced_at
        return None if since is None else self.seen.at - since

    @property
    def quiet(self) -> float:
        since = self.state.quiet_since
        return 0.0 if since is None else self.seen.at - since

    @property
    def present(self) -> str | None:
        return self.replica.stream.master if self.replica.stream else None

    @property
    def proven(self) -> float | None:
        """Lag behind the present master in seconds of the monotonic clock; None when that master
        cannot be asked."""
        if not _usable(self.seen.masters.get(self.present or ""), self.seen.at):
            return None
        return self.seen.at - self.state.backlog[0][0] if self.state.backlog else 0.0

    @property
    def age(self) -> float | None:
        """Age of the data: proven if it can be (clocks may be wrong), else by the heartbeat, by the
        worse of both ages."""
        if self.proven is not None or self.lag is None:
            return self.proven
        return max(self.lag, self.stale or 0.0)

    @property
    def held(self) -> Position:
        """All that the replica has, applied or not: what a new master must include."""
        return self.replica.applied.joined(self.state.received)

    def verdict(self) -> tuple[Verdict, str]:
        stream = self.replica.stream
        if stream is None:
            return (
                Verdict.DISCONNECTED,
                "replication is not configured: load the replica and point it at its master",
            )
        if stream.apply_errno:
            return Verdict.DIVERGED, (
                f"the applier stopped at {self.replica.applied}: {stream.apply_error} ({stream.apply_errno}); "
                "reload this replica from a writer site"
            )
        if self.stranded():
            return Verdict.DIVERGED, self.stranded_reason()
        if self.age is None:
            return (
                Verdict.UNKNOWN,
                "no heartbeat of a writer site has been applied yet and the master cannot be asked",
            )
        return self.aged(stream, self.age)

    def aged(self, stream: Stream, age: float) -> tuple[Verdict, str]:
        fine = self.state.verdict is Verdict.SERVING
        limit = self.limits.lag_limit_seconds
        silent = self.proven is None and self.quiet >= self.limits.freeze_after_seconds
        # It comes back only well below the limit, or it would go in and out with every heartbeat.
        if age <= (limit if fine else limit / 2) and not silent:
            return Verdict.SERVING, self.serving_reason(stream, age)
        data = f"data are {age:.1f} s old (limit {limit:g} s)"
        if not stream.connected:
            return Verdict.DISCONNECTED, f"{data}; no stream from {self.where}: {_cause(stream)}"
        if not stream.applying:
            return (
                Verdict.LAGGING,
                f"{data}; the applier is stopped: START SLAVE when the work on it is done",
            )
        if self.quiet >= self.limits.freeze_after_seconds:
            return (
                Verdict.FROZEN,
                f"{data}; the stream from {self.where} is connected, but nothing arrived for {self.quiet:.1f} s",
            )
        return Verdict.LAGGING, f"{data}; it follows {self.where}"

    @property
    def where(self) -> str:
        return self.present or "a database that is not in the configuration"

    def serving_reason(self, stream: Stream, age: float) -> str:
        text = f"follows {self.where}, data are {age:.1f} s old"
        if not stream.connected:
            return f"{text}; the stream is down: {_cause(stream)}"
        if self.lag is not None and self.lag > self.limits.lag_limit_seconds:
            return f"{text}; the heartbeat is {self.lag:.1f} s old by the clocks, which is no lag: writers' clocks or heartbeat"
        return text

    def stranded(self) -> bool:
        """Nothing arrives, and every master that could help was asked since and lacks what this
        replica holds."""
        if self.quiet < self.limits.repoint_after_seconds or not self.held:
            return False
        asked = list(self.settled().values())
        return bool(asked) and not any(master.position.includes(self.held) for master in asked)

    def settled(self) -> dict[str, Master]:
        """Usable masters that were asked well after the replica stood still."""
        since = (self.state.quiet_since or 0.0) + SETTLED_SECONDS
        return {
            name: master
            for name, master in self.seen.masters.items()
            if _usable(master, self.seen.at) and master.at >= since
        }

    def stranded_reason(self) -> str:
        others = ", ".join(f"{name} is at {m.position}" for name, m in self.settled().items())
        return (
            f"this replica holds {self.held} and no writer site has that ({others}); it follows {self.where}; "
            "it was left as it is: bring that site back, or reload this replica from a writer site"
        )

    def action(self, verdict: Verdict, home: str | None) -> Action:
        if not self.seen.may_act or verdict is Verdict.DIVERGED or not self.patient():
            return Action()
        if (target := self.rescue(home)) is not None:
            return Action(act=Act.REPOINT, master=target)
        if home is not None and self.homeward(verdict, home):
            return Action(act=Act.HOME, master=home)
        return Action()

    def patient(self) -> bool:
        """Whether the limits on the number of actions leave room for one."""
        moves = self.state.moves
        if len(moves) >= self.limits.repoints_per_hour:
            return False
        return not moves or self.seen.at - moves[-1] >= 2 * self.limits.repoint_after_seconds

    def rescue(self, home: str | None) -> str | None:
        """The master to flee to, None when there is no need or no way."""
        stream = self.replica.stream
        if stream is None or stream.stopped or not stream.applying or not self.held:
            return None
        if self.quiet < self.limits.repoint_after_seconds:
            return None
        names = sorted(self.seen.masters, key=lambda name: name != home)
        for name in names:
            # With the stream up, silence alone proves nothing: another master must really have more
            # to give.
            gain = not stream.connected or self.seen.masters[name].position.ahead_of(self.held)
            if name != self.present and gain and self.proof(name):
                return name
        return None

    def homeward(self, verdict: Verdict, home: str) -> bool:
        stream, since = self.replica.stream, self.state.home_since
        if stream is None or stream.stopped or not stream.applying or not self.held:
            return False
        if self.present == home or verdict is not Verdict.SERVING or since is None:
            return False
        if len(self.state.moves) >= self.limits.repoints_per_hour // 2:
            return False
        return self.seen.at - since >= self.limits.home_after_seconds and self.proof(home)

    def proof(self, name: str) -> bool:
        """The proof of position: the master is usable now and includes all that this replica
        holds."""
        master = self.seen.masters[name]
        barred = self.state.barred.get(name, self.seen.at) > self.seen.at
        return not barred and _usable(master, self.seen.at) and master.position.includes(self.held)


def _cause(stream: Stream) -> str:
    if stream.stopped:
        return "it was stopped by hand; START SLAVE when the work on it is done"
    return (
        f"{stream.connect_error} ({stream.connect_errno})" if stream.connect_errno else "connecting"
    )
