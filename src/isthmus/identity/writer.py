"""Which Galera node takes the writes: one per primary component, and who takes over when it is
lost. No I/O.

A Galera node accepts writes anywhere, but identity writes go to one node at a time (fewer
certification conflicts, and none of the anomalies that were found with several writers). A node
sees the members of its view but not their state: a preferred node that has just joined may be
minutes away from Synced. So preference alone cannot decide. The decision lies in one replicated
row, `isthmus_identity.writer`: the site that holds it and an epoch. Galera orders and certifies
changes of a row, so a compare-and-set on the epoch has exactly one winner in a primary component
and none outside.

The holder keeps it for as long as it can (a writer that returns does not take it back: that would
interrupt the writes for nothing; a planned switchover sets the row). Preference decides who claims
first when the row is free.

The holder renews the row in the transaction of its heartbeat, twice a second. A node that has been
cut off cannot commit, sees no renewal of its own, and stops calling itself the writer after
`renewed_within_seconds`. Keep that shorter than Galera's `evs.suspect_timeout` (the others claim no
earlier), and no two nodes are ever writers at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from isthmus.identity.replication import Heartbeat

PRIMARY = "Primary"
SYNCED = "Synced"
# A donor still takes part and commits; only its own applying may fall behind, which does not touch
# a writer's commits. Taking the writes away from the one donor of a joining node would stop them
# for the whole transfer.
DONOR = "Donor/Desynced"


class Verdict(StrEnum):
    """What a node of the identity cluster is good for."""

    SERVING = "serving"
    LAGGING = "lagging"  # a donor that has fallen behind
    JOINING = "joining"  # in the cluster, not in step yet
    NON_PRIMARY = "non-primary"  # cut off from the majority
    UNREACHABLE = "unreachable"
    UNKNOWN = "unknown"


class Act(StrEnum):
    """What the node's agent should do to the row."""

    NONE = "none"
    CLAIM = "claim"
    RENEW = "renew"


@dataclass(frozen=True, kw_only=True)
class Register:
    """The row: the holder (None: nobody yet) and the epoch, which every change of the holder raises
    by one."""

    site: str | None
    epoch: int


@dataclass(frozen=True, kw_only=True)
class View:
    """A node's own view at monotonic time `at` (`now`: UTC). `members` are node names, without
    arbitrators."""

    at: float
    now: datetime
    name: str
    status: str
    state: str
    ready: bool
    size: int
    members: tuple[str, ...]
    arbitrators: tuple[str, ...] = ()
    register: Register | None
    heartbeats: tuple[Heartbeat, ...]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Times of the writer's choice, in seconds."""

    renewed_within_seconds: float = 2.0
    silent_after_seconds: float = 10.0
    rank_delay_seconds: float = 5.0
    lag_limit_seconds: float = 5.0


@dataclass(frozen=True, kw_only=True)
class Beat:
    """A writer's last heartbeat: `since` when it has stood at `sequence`. `moved`: it was seen to
    advance; without that, all that is known is that somebody wrote it at some time."""

    sequence: int
    since: float
    moved: bool


@dataclass(frozen=True, kw_only=True)
class State:
    """Per writer, its last heartbeat and when it advanced; since when the row has been free. Times
    are monotonic."""

    beats: Mapping[str, Beat] = field(default_factory=dict)
    free_since: float | None = None
    seen_at: float | None = None


@dataclass(frozen=True, kw_only=True)
class Decision:
    """`writer`: this node takes the writes now, and until `writer_until` (monotonic) at the
    longest. `epoch` is the one that an act compares with."""

    state: State
    verdict: Verdict
    reason: str
    writer: bool = False
    writer_until: float = 0.0
    act: Act = Act.NONE
    epoch: int = 0
    lag_seconds: float | None = None


# Someone who looks four times a second and has not looked for this long knows nothing about who was
# silent.
_GAP_SECONDS = 3.0


def decide(
    state: State, view: View, site: str, preference: tuple[str, ...], limits: Limits
) -> Decision:
    """One step for the node of `site`.

    Invariants, whatever the partitions: a node outside the primary component is not the writer and
    claims nothing; a node is the writer only while the row names it and its own renewals arrive; a
    claim compares with the epoch that was seen, and is made only by a Synced node and only when the
    row's holder is not in the view or has been silent.
    """
    state = _remembered(state, view)
    lag = _lag(view)
    verdict, reason = _serving(view, site, lag, limits)
    if view.status != PRIMARY or not view.ready or view.name != site or view.register is None:
        return Decision(
            state=replace(state, free_since=None), verdict=verdict, reason=reason, lag_seconds=lag
        )
    if view.register.site == site:
        held = _held(state, view, site, view.register, limits)
    else:
        held = _other(state, view, site, preference, view.register, limits)
    # The sentence about serving comes first when there is something wrong, else the one about the
    # writes.
    return replace(
        held,
        verdict=verdict,
        lag_seconds=lag,
        reason=held.reason if verdict is Verdict.SERVING else reason,
    )


def _remembered(state: State, view: View) -> State:
    gap = state.seen_at is None or view.at - state.seen_at > _GAP_SECONDS
    beats = {b.writer: _beat(state, b, view.at, gap=gap) for b in view.heartbeats}
    return replace(
        state, beats=beats, seen_at=view.at, free_since=None if gap else state.free_since
    )


def _beat(state: State, beat: Heartbeat, at: float, *, gap: bool) -> Beat:
    known = state.beats.get(beat.writer)
    if known is None or gap:
        return Beat(sequence=beat.sequence, since=at, moved=False)
    if known.sequence == beat.sequence:
        return known
    return Beat(sequence=beat.sequence, since=at, moved=True)


def _lag(view: View) -> float | None:
    holder = view.register.site if view.register else None
    for beat in view.heartbeats:
        if beat.writer == holder:
            return max(0.0, (view.now - beat.written_at).total_seconds())
    return None


def out_of_step(view: View, node: str) -> tuple[Verdict, str] | None:
    """Why a node that should be called `node` may not be read, however fresh its data are; None if it may."""
    if view.name != node:
        return (
            Verdict.UNKNOWN,
            f"this node calls itself {view.name!r}: set wsrep_node_name={node} in its configuration",
        )
    if view.status != PRIMARY:
        return (
            Verdict.NON_PRIMARY,
            f"the node is cut off from the majority of its cluster ({view.status or 'no cluster'})",
        )
    if not view.ready or view.state not in (SYNCED, DONOR):
        return Verdict.JOINING, f"the node is not in step with its cluster yet ({view.state})"
    return None


def _serving(view: View, site: str, lag: float | None, limits: Limits) -> tuple[Verdict, str]:
    if found := out_of_step(view, site):
        return found
    if view.state == DONOR and (lag or 0.0) > limits.lag_limit_seconds:
        return (
            Verdict.LAGGING,
            f"the node is the donor of a joining node and its data are {lag:.1f} s old",
        )
    if view.register is None:
        return (
            Verdict.SERVING,
            "no writer can be chosen: the schema isthmus_identity or its row `writer` is missing",
        )
    return Verdict.SERVING, "in step with the cluster"


def _held(state: State, view: View, site: str, row: Register, limits: Limits) -> Decision:
    """The row names this site: renew it, and be the writer for as long as the renewals are seen to
    arrive."""
    state = replace(state, free_since=None)
    if view.state not in (SYNCED, DONOR):
        return Decision(
            state=state, verdict=Verdict.JOINING, reason="the writer, but not in step yet"
        )
    beat = state.beats.get(site)
    until = beat.since + limits.renewed_within_seconds if beat and beat.moved else 0.0
    fresh = beat is not None and beat.moved and view.at <= until
    reason = (
        "takes the writes"
        if fresh
        else f"holds the writes (epoch {row.epoch}), but its renewals do not arrive"
    )
    return Decision(
        state=state,
        verdict=Verdict.SERVING,
        reason=reason,
        writer=fresh,
        writer_until=until if fresh else 0.0,
        act=Act.RENEW,
        epoch=row.epoch,
    )


def _other(
    state: State,
    view: View,
    site: str,
    preference: tuple[str, ...],
    row: Register,
    limits: Limits,
) -> Decision:
    """The row names another site or nobody: claim it when it is free and it is this node's turn."""
    free = _free(state, view, row, limits)
    if free is None or view.state != SYNCED:
        reason = f"{row.site} takes the writes" if free is None else f"{free}; not in step yet"
        return Decision(
            state=replace(state, free_since=None), verdict=Verdict.SERVING, reason=reason
        )
    since = view.at if state.free_since is None else state.free_since
    state = replace(state, free_since=since)
    turn = since + _rank(view, site, preference, row) * limits.rank_delay_seconds
    act = Act.CLAIM if view.at >= turn else Act.NONE
    return Decision(
        state=state,
        verdict=Verdict.SERVING,
        reason=f"{free}; claiming the writes at epoch {row.epoch}",
        act=act,
        epoch=row.epoch,
    )


def _free(state: State, view: View, row: Register, limits: Limits) -> str | None:
    """Why the row is free; None: its holder has it."""
    if row.site is None:
        return "no site has taken the writes yet"
    if row.site not in view.members:
        return f"{row.site}, which took the writes, has left the cluster"
    beat = state.beats.get(row.site)
    silent = view.at - beat.since if beat else 0.0
    if silent > limits.silent_after_seconds:
        return f"{row.site}, which takes the writes, is silent for {silent:.0f} s"
    return None


def _rank(view: View, site: str, preference: tuple[str, ...], row: Register) -> int:
    """How many members of the view go before this one; the silent holder is not waited for."""
    order = [name for name in preference if name in view.members and name != row.site]
    return order.index(site) if site in order else len(order) + 1
