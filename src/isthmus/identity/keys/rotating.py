"""What whoever conducts does next, and what an operator's word changes: pure transitions.

Invariant, for tokens issued while no replacement is in flight, and as long as the clocks of any two
sites differ by no more than `clock_skew`: *a token issued by any unfenced site validates at every
unfenced site until it expires*. It rests on three rules.

- A key signs only after every unfenced node has said, by the digest of its repository, that it has it.
- A key goes only `Settings.lifetime` after every unfenced node has said that it signs with a later one,
  and not while something that is kept (a credential) is encrypted with it.
- A fenced node counts as unfenced again only after it has said that it has what the others have.

There is no time limit on an acknowledgement: a silent node holds the rotation (nothing is lost by an
old key being used for longer) until it answers or an operator fences it. One rotation is in flight at
a time, because the second would promote a key that the first one's stragglers have not got.

A replacement is the exception by purpose: all old keys go at once. Until every unfenced node has
acknowledged it, tokens of sites that have it are refused by those that have not, which still accept
the old ones.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from isthmus import errors
from isthmus.identity.keys.generations import (
    Ack,
    Fence,
    Generation,
    Kind,
    Phase,
    State,
    Wanted,
    What,
)
from isthmus.identity.keys.settings import Settings

REMEMBERED = 10
"""Retired generations that stay in the document; the history has all of them."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """A transition: the next document and what to say about it.

    `make`: the generation whose key is to be made and sealed to `state.sealed_to` before the document
    may be stored. Where the repository changes, `state.digest` is empty and has to be filled in by who
    has the keys.
    """

    state: State
    event: str
    by: str
    make: int | None = None


def adopt(
    state: State,
    acks: Mapping[str, Ack],
    nodes: tuple[str, ...],
    own: tuple[int, ...],
    now: float,
    settings: Settings,
) -> Change | None:
    """Take over the repository that all sites have already. `own`: the indices of the conductor's.

    Nothing is taken over before every node has shown the digest of its repository, and all are equal:
    otherwise the tokens of some sites would die. Index 0 becomes a staged generation. The revision is
    later than any that a node followed: the document may have been lost.
    """
    digests = {acks[node].digest for node in nodes if node in acks}
    if set(nodes) - acks.keys() or len(digests) != 1 or not own:
        return None
    numbered = sorted(index for index in own if index > 0)
    primary = numbered[-1] if numbered else 1
    found = [
        Generation(
            number=index,
            phase=Phase.PRIMARY if index == primary else Phase.SECONDARY,
            since=now,
            unused_since=None if index == primary else now,
        )
        for index in numbered or [primary]
    ]
    if 0 in own and numbered:
        found.append(Generation(number=primary + 1, phase=Phase.STAGED, since=now))
    adopted = replace(
        state,
        revision=max(acks[node].revision for node in nodes),
        generations=tuple(found),
        nodes=tuple(sorted(nodes)),
        lifetime=settings.lifetime,
        digest="",
    )
    return _change(
        adopted, f"took over the keys that all sites had: {_numbers(found)}", "conductor"
    )


def disagreement(acks: Mapping[str, Ack], nodes: tuple[str, ...]) -> str | None:
    """Why the keys cannot be taken over yet; None if they can."""
    if silent := sorted(set(nodes) - acks.keys()):
        return f"{', '.join(silent)} has not shown the digest of its repository yet"
    by_digest: dict[str, list[str]] = {}
    for node in sorted(nodes):
        by_digest.setdefault(acks[node].digest, []).append(node)
    if len(by_digest) > 1:
        groups = " / ".join(", ".join(group) for group in by_digest.values())
        return f"the sites have different keys: {groups}"
    return None


def step(
    state: State,
    acks: Mapping[str, Ack],
    nodes: tuple[str, ...],
    now: float,
    settings: Settings,
    spread: float,
    used: Collection[int] = (),
) -> Change | None:
    """The next transition of the whole, or None if there is nothing to do but wait.

    `nodes`: all that the configuration names; `spread`: a random number from 0 to 1 for the schedule;
    `used`: generations with which something is encrypted that is kept, whatever their age.
    """
    return (
        _members(state, nodes, now)
        or _replacement(state, now)
        or _rejoin(state, acks)
        or _complete(state, acks, now, settings, spread)
        or _promote(state, acks, now)
        or _retire(state, now, settings, used)
        or _stage(state, now, settings)
        or _schedule(state, now, settings, spread)
    )


def _members(state: State, nodes: tuple[str, ...], now: float) -> Change | None:
    """A node that is new in the configuration is fenced until it has the keys."""
    if state.nodes == tuple(sorted(nodes)):
        return None
    new, gone = sorted(set(nodes) - set(state.nodes)), sorted(set(state.nodes) - set(nodes))
    fences = {node: fence for node, fence in state.fences.items() if node in nodes}
    for node in new:
        fences[node] = Fence(
            since=now, by="conductor", why="new: it has no keys yet", revision=state.revision + 1
        )
    said = [f"{node} is new and fenced until it has the keys" for node in new]
    said += [f"{node} is no longer a node" for node in gone]
    changed = replace(state, nodes=tuple(sorted(nodes)), fences=fences)
    return _change(changed, "; ".join(said), "conductor")


def _replacement(state: State, now: float) -> Change | None:
    """All keys go, and one new one comes: no barrier, because the old ones must not be used any more."""
    wanted = state.wanted
    if wanted is None or wanted.what is not What.REPLACE or wanted.generation is not None:
        return None
    number = _next(state)
    retired = tuple(
        each if each.phase is Phase.RETIRED else replace(each, phase=Phase.RETIRED, since=now)
        for each in state.generations
    )
    made = Generation(number=number, phase=Phase.PRIMARY, since=now)
    changed = replace(
        state,
        generations=_remembered((*retired, made)),
        wanted=replace(wanted, generation=number),
        digest="",
    )
    text = f"replaced all keys by generation {number}; tokens of the old ones die"
    return _change(changed, text, wanted.by, make=number)


def _rejoin(state: State, acks: Mapping[str, Ack]) -> Change | None:
    """Lift the fences of nodes that have caught up after they were fenced."""
    back = [
        node
        for node, fence in state.fences.items()
        if not fence.keep and state.has(acks, node) and acks[node].revision >= fence.revision
    ]
    if not back:
        return None
    fences = {node: fence for node, fence in state.fences.items() if node not in back}
    text = f"{', '.join(sorted(back))} has the keys again: no longer fenced"
    return _change(replace(state, fences=fences), text, "conductor")


def _complete(
    state: State, acks: Mapping[str, Ack], now: float, settings: Settings, spread: float
) -> Change | None:
    """Everybody signs with the new key: what was used before is unused from now on."""
    wanted, primary = state.wanted, state.primary
    if wanted is None or primary is None or wanted.generation != primary.number:
        return None
    if state.missing(acks):
        return None
    unused = tuple(
        replace(each, unused_since=now)
        if each.phase is Phase.SECONDARY and each.unused_since is None
        else each
        for each in state.generations
    )
    done = replace(
        state, generations=unused, wanted=None, next_at=_next_time(now, settings, spread)
    )
    verb = "rotation to" if wanted.what is What.ROTATE else "replacement by"
    text = (
        f"{verb} generation {primary.number} complete: {len(state.active)} of {len(state.nodes)} nodes"
        f" acknowledged, {max(0.0, now - wanted.at):.1f} s after it was asked for"
    )
    return _change(done, text, wanted.by)


def _promote(state: State, acks: Mapping[str, Ack], now: float) -> Change | None:
    """The staged key signs from now on, because every unfenced node has said that it has it."""
    wanted, staged = state.wanted, state.staged
    if wanted is None or staged is None or wanted.generation != staged.number:
        return None
    if state.missing(acks):
        return None
    phases = {Phase.PRIMARY: Phase.SECONDARY, Phase.STAGED: Phase.PRIMARY}
    moved = tuple(
        replace(each, phase=phases[each.phase], since=now) if each.phase in phases else each
        for each in state.generations
    )
    changed = replace(state, generations=moved, digest="")
    return _change(changed, f"generation {staged.number} is primary", wanted.by)


def due(state: State, now: float, settings: Settings) -> tuple[int, ...]:
    """The generations with which nobody can have made a token that is still valid."""
    return tuple(
        each.number
        for each in state.generations
        if each.phase is Phase.SECONDARY
        and each.unused_since is not None
        and now >= each.unused_since + max(settings.lifetime, state.lifetime)
    )


def _retire(state: State, now: float, settings: Settings, used: Collection[int]) -> Change | None:
    """Keys that nobody needs any more."""
    old = [number for number in due(state, now, settings) if number not in used]
    if not old:
        return None
    left = tuple(
        replace(each, phase=Phase.RETIRED, since=now) if each.number in old else each
        for each in state.generations
    )
    changed = replace(state, generations=_remembered(left), digest="")
    text = f"retired {_numbers(each for each in left if each.number in old)}: {settings.sum} since the last use"
    return _change(changed, text, "conductor")


def _stage(state: State, now: float, settings: Settings) -> Change | None:
    """The first half of a rotation: a key that nobody signs with."""
    wanted = state.wanted
    if wanted is None or wanted.generation is not None or full(state, settings):
        return None
    if state.staged is not None:
        chosen = replace(state, wanted=replace(wanted, generation=state.staged.number))
        return _change(chosen, f"generation {state.staged.number} was staged already", wanted.by)
    number = _next(state)
    staged = Generation(number=number, phase=Phase.STAGED, since=now)
    changed = replace(
        state,
        generations=(*state.generations, staged),
        wanted=replace(wanted, generation=number),
        digest="",
    )
    return _change(changed, f"generation {number} is staged", wanted.by, make=number)


def _schedule(state: State, now: float, settings: Settings, spread: float) -> Change | None:
    """Ask for a rotation when its time has come; keep the time in step with the settings."""
    if state.lifetime < settings.lifetime:
        # A longer life of tokens counts at once; a shorter one only after they are gone, so it is kept.
        changed = replace(state, lifetime=settings.lifetime)
        return _change(changed, f"keys are kept for {settings.sum}", "conductor")
    if state.wanted is not None:
        return None
    if not settings.interval:
        if state.next_at is None:
            return None
        return _change(replace(state, next_at=None), "no rotations are scheduled", "conductor")
    if state.next_at is None:
        at = _next_time(now, settings, spread)
        return _change(replace(state, next_at=at), "the next rotation is scheduled", "conductor")
    if now < state.next_at or full(state, settings):
        return None
    wanted = Wanted(what=What.ROTATE, by="schedule", at=now)
    return _change(replace(state, wanted=wanted), "the schedule asks for a rotation", "schedule")


def full(state: State, settings: Settings) -> str | None:
    """Why no further key may be staged; None if one may."""
    if state.staged is not None or len(state.live) < settings.max_active_keys:
        return None
    return (
        f"there are {len(state.live)} keys and max_active_keys is {settings.max_active_keys}; the oldest"
        f" is kept for {settings.sum} after its last use"
    )


def ask_rotation(state: State, by: str, now: float) -> Change:
    """An operator asks for a rotation. Raises UsageError, BusyError."""
    _adopted(state)
    if state.wanted is not None:
        raise errors.BusyError(
            f"a {_noun(state.wanted.what)} of the {state.kind} keys is in flight",
            cause=f"asked for by {state.wanted.by}; one at a time, because a second would promote a key"
            " that stragglers of the first have not got",
            unchanged="nothing was changed",
            next_command=f"isthmus identity key watch --kind {state.kind}",
        )
    wanted = Wanted(what=What.ROTATE, by=by, at=now)
    return _change(replace(state, wanted=wanted), "asked for a rotation", by)


def ask_replacement(state: State, by: str, now: float, why: str) -> Change:
    """An operator has all keys replaced; a rotation in flight ends with it. Raises UsageError,
    BusyError."""
    _adopted(state)
    if state.kind is Kind.CREDENTIAL:
        raise errors.UsageError(
            "credential keys cannot be replaced at once",
            cause="what is stored under the old keys would be lost; a rotation encrypts it anew and"
            " retires them",
            unchanged="nothing was changed",
            next_command="isthmus identity key rotate --kind credential",
        )
    if state.wanted is not None and state.wanted.what is What.REPLACE:
        raise errors.BusyError(
            f"a replacement of the {state.kind} keys is in flight",
            cause=f"asked for by {state.wanted.by}, and not every unfenced node has acknowledged it",
            unchanged="nothing was changed",
            next_command=f"isthmus identity key watch --kind {state.kind}",
        )
    wanted = Wanted(what=What.REPLACE, by=by, at=now)
    return _change(replace(state, wanted=wanted), f"asked to replace all keys: {why}", by)


def fence(state: State, node: str, by: str, now: float, why: str, *, keep: bool = False) -> Change:
    """Do not wait for a node any more. Without `keep` it comes back by itself when it says, after it has
    heard of the fence, that it has the keys: one that is alive does at once.

    Raises UsageError for a node that does not exist, is fenced already, or is the last one.
    """
    _known(state, node)
    if node in state.fences and (state.fences[node].keep or not keep):
        raise _refused(f"{node} is fenced already", state)
    if state.active == (node,):
        raise _refused(f"{node} is the last node that is not fenced", state)
    made = Fence(since=now, by=by, why=why, revision=state.revision + 1, keep=keep)
    until = "until it is lifted" if keep else "until it has the keys"
    changed = replace(state, fences={**state.fences, node: made})
    return _change(changed, f"fenced {node} {until}: {why}", by)


def unfence(state: State, node: str, by: str) -> Change:
    """Let a node come back as soon as it has the keys. Raises UsageError."""
    _known(state, node)
    found = state.fences.get(node)
    if found is None:
        raise _refused(f"{node} is not fenced", state)
    if not found.keep:
        raise _refused(f"{node} comes back by itself when it has acknowledged the keys", state)
    lifted = replace(found, keep=False, revision=state.revision + 1)
    changed = replace(state, fences={**state.fences, node: lifted})
    return _change(changed, f"{node} may come back when it has the keys", by)


def _change(state: State, event: str, by: str, make: int | None = None) -> Change:
    return Change(state=replace(state, revision=state.revision + 1), event=event, by=by, make=make)


def _next(state: State) -> int:
    return max((each.number for each in state.generations), default=0) + 1


def _next_time(now: float, settings: Settings, spread: float) -> float | None:
    """Never earlier than the interval, because the interval is what the settings were judged by."""
    return now + settings.interval * (1 + settings.jitter * spread) if settings.interval else None


def _remembered(generations: tuple[Generation, ...]) -> tuple[Generation, ...]:
    retired = [each.number for each in generations if each.phase is Phase.RETIRED]
    forgotten = set(retired[:-REMEMBERED])
    return tuple(each for each in generations if each.number not in forgotten)


def _numbers(generations: Iterable[Generation]) -> str:
    return ", ".join(f"{each.number} {each.phase}" for each in generations)


def _noun(what: What) -> str:
    return "rotation" if what is What.ROTATE else "replacement"


def _adopted(state: State) -> None:
    if not state.generations:
        raise errors.UsageError(
            f"the {state.kind} keys are not looked after yet",
            cause="the keys that the sites have are taken over when all nodes have shown equal digests",
            unchanged="nothing was changed",
            next_command="isthmus identity key list",
        )


def _known(state: State, node: str) -> None:
    _adopted(state)
    if node not in state.nodes:
        raise errors.UsageError(
            f"there is no node {node!r}",
            cause=f"the nodes are: {', '.join(state.nodes)}",
            unchanged="nothing was changed",
            next_command="isthmus identity key list",
        )


def _refused(what: str, state: State) -> errors.UsageError:
    fenced = ", ".join(sorted(state.fences)) or "nobody"
    return errors.UsageError(
        what,
        cause=f"of {', '.join(state.nodes)}, fenced are: {fenced}",
        unchanged="nothing was changed",
        next_command="isthmus identity key list",
    )
