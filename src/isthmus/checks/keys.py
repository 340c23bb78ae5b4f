"""Do all sites hold the same keys, long enough, and does somebody look after them?"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping

from isthmus.checks import facts
from isthmus.checks.facts import Facts, NotKnownError, Place
from isthmus.checks.values import Category, Check, Flaw
from isthmus.identity.findings import Outcome
from isthmus.identity.keys.settings import LEAST_KEYS, Settings
from isthmus.sites import agent_documents
from isthmus.sites.agent_documents import KeySettings

EXPIRATION = 3600.0
ALLOW_EXPIRED_WINDOW = 172_800.0
MAX_ACTIVE_KEYS = 3
"""Keystone's own defaults."""


def _readable(place: Place) -> Iterator[Flaw]:
    list(place.repositories())
    for name, found in place.status.keys.items():
        if isinstance(found, agent_documents.Unreadable):
            yield Flaw(cause=f"{name} keys: {found.error}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Held:
    """What a site holds, and whether its agent keeps it as all sites are to have it."""

    digest: str
    rotated: bool


def _held(kind: str, place: Place) -> _Held:
    found = dict(place.repositories()).get(kind)
    if found is None:
        raise NotKnownError(f"the agent was told of no {kind} keys")
    return _Held(digest=found.digest, rotated=kind in place.status.followers)


def _equal(kind: str, found: Mapping[str, _Held], _facts: Facts) -> Iterator[Flaw]:
    holders: dict[str, list[str]] = {}
    for site, held in found.items():
        holders.setdefault(held.digest, []).append(site)
    if len(holders) == 1:
        return
    cause = "; ".join(f"{', '.join(sites)} {digest[:8]}" for digest, sites in holders.items())
    if all(held.rotated for held in found.values()):
        # A key that is not everywhere signs nowhere; a rotation takes a second, and a silent site holds it.
        yield Flaw(
            cause=cause,
            severity=Outcome.WARN,
            consequence="a rotation is in flight, or waits for a site; no token is refused",
        )
    else:
        yield Flaw(cause=cause)


def _staged(place: Place) -> Iterator[Flaw]:
    for name, repository in place.repositories():
        if repository.keys < 2:
            yield Flaw(cause=f"{name} keys: {repository.keys}, primary {repository.primary}")


def _formula(place: Place) -> Iterator[Flaw]:
    """Keystone drops nothing by itself; who rotates does, by its own count of keys, for lifetimes that Keystone decides."""
    keystone = place.keystone
    expiration = _number(keystone, "token.expiration", EXPIRATION)
    window = _number(keystone, "token.allow_expired_window", ALLOW_EXPIRED_WINDOW)
    told = (place.status.key_settings or {}).get("token")
    if told is None:
        count = _number(keystone, "fernet_tokens.max_active_keys", MAX_ACTIVE_KEYS)
        if count < LEAST_KEYS:
            yield Flaw(
                cause=f"[fernet_tokens] max_active_keys is {count:g}: a rotation needs {LEAST_KEYS}"
                " (one primary, one staged, one that still validates)"
            )
        return
    for name, real, kept in (
        ("expiration", expiration, told.expiration),
        ("allow_expired_window", window, told.allow_expired_window),
    ):
        if kept < real:
            yield Flaw(
                cause=f"Keystone's {name} is {real:g} s, but the agent retires keys as if it were {kept:g} s"
            )
    settings = _settings(told, expiration=expiration, window=window)
    if refusal := settings.refusal():
        yield Flaw(cause=refusal)


def _settings(told: KeySettings, *, expiration: float, window: float) -> Settings:
    """What holds: the agent's own numbers with the longer of each lifetime."""
    return Settings(
        expiration=max(expiration, told.expiration),
        allow_expired_window=max(window, told.allow_expired_window),
        clock_skew=told.clock_skew,
        max_active_keys=told.max_active_keys,
        interval=told.interval,
        jitter=told.jitter,
    )


def _number(options: Mapping[str, str], name: str, default: float) -> float:
    return facts.number(name, options[name]) if name in options else default


def _rotated(found: Mapping[str, frozenset[str]], _facts: Facts) -> Iterator[Flaw]:
    kinds = sorted({kind for each in found.values() for kind in each})
    if not kinds:
        raise NotKnownError("no agent rotates keys")
    for kind in kinds:
        for site in (site for site, each in found.items() if kind not in each):
            yield Flaw(
                site=site, cause=f"other sites' agents rotate {kind} keys, this one's does not"
            )


def _kinds(place: Place) -> frozenset[str]:
    return place.status.rotated


def _trouble(place: Place) -> Iterator[Flaw]:
    for kind, follower in _followers(place):
        if follower.trouble:
            yield Flaw(cause=f"{kind} keys: {follower.trouble}")


def _fence(place: Place) -> Iterator[Flaw]:
    for kind, follower in _followers(place):
        if follower.fenced:
            yield Flaw(cause=f"{kind} keys: {follower.fenced}", names={"kind": kind})


def _followers(place: Place) -> Iterator[tuple[str, agent_documents.Follower]]:
    if not place.status.followers:
        raise NotKnownError("this agent rotates no keys")
    yield from place.status.followers.items()


def _key_settings(place: Place) -> Mapping[str, KeySettings]:
    if not place.status.key_settings:
        raise NotKnownError("this agent rotates no keys, or its release does not tell how")
    return place.status.key_settings


def _same_settings(found: Mapping[str, Mapping[str, KeySettings]], _facts: Facts) -> Iterator[Flaw]:
    for kind in sorted({kind for each in found.values() for kind in each}):
        settings = {site: each[kind] for site, each in found.items() if kind in each}
        if len(set(settings.values())) > 1:
            words = "; ".join(
                f"{site}: {s.expiration:g} + {s.allow_expired_window:g} s, skew {s.clock_skew:g} s, "
                f"{s.max_active_keys} keys, every {s.interval:g} s"
                for site, s in settings.items()
            )
            yield Flaw(cause=f"{kind} keys: {words}")


def _equality(kind: str, consequence: str) -> Check:
    return Check(
        id=f"{kind}-keys",
        title=f"All sites hold the same {kind} keys",
        category=Category.KEYS,
        severity=Outcome.ERROR,
        needs=("agent-answers", "key-repository"),
        consequence=consequence,
        remedy="see which site has which generation; without rotation by the agents, copy the keys of the site that rotated last",
        command="isthmus identity key list",
        reads=functools.partial(_held, kind),
        of_all=functools.partial(_equal, kind),
    )


CHECKS = (
    Check(
        id="key-repository",
        title="The agent can read the keys",
        category=Category.KEYS,
        severity=Outcome.WARN,
        needs=("agent-answers",),
        consequence="nobody sees whether this site's keys are those of the others",
        remedy="give the agent's user read access to the key repository at {site}",
        command="ls -ld /etc/keystone/fernet-keys",
        of_site=_readable,
    ),
    _equality("token", "what one site issues, another may refuse"),
    _equality("credential", "credentials stored at one site (EC2, TOTP) cannot be read at another"),
    Check(
        id="key-staged",
        title="The next key is staged",
        category=Category.KEYS,
        severity=Outcome.WARN,
        needs=("agent-answers", "key-repository"),
        consequence="with a single key the next rotation makes one that other sites do not have yet: its tokens are refused there",
        remedy="stage a key at all sites before one is promoted",
        command="isthmus identity key rotate --wait",
        of_site=_staged,
    ),
    Check(
        id="key-formula",
        title="Keys are kept for as long as tokens of them live",
        category=Category.KEYS,
        severity=Outcome.ERROR,
        needs=("agent-answers",),
        consequence="a key is dropped while tokens that it sealed are still good: they are refused before they expire",
        remedy="set max_active_keys, expiration and allow_expired_window of the agent at {site} by this arithmetic",
        command="isthmus identity key list",
        of_site=_formula,
    ),
    Check(
        id="key-rotation",
        title="Every agent rotates what others rotate",
        category=Category.KEYS,
        severity=Outcome.ERROR,
        needs=("agent-answers",),
        consequence="this site never installs a new key: it refuses what the others issue, or holds up every rotation",
        remedy="add the section `keys` to the agent's configuration at {site}, with the same nodes as elsewhere",
        command="isthmus identity key list",
        reads=_kinds,
        of_all=_rotated,
    ),
    Check(
        id="key-trouble",
        title="The agent installs the keys that it is given",
        category=Category.KEYS,
        severity=Outcome.ERROR,
        needs=("agent-answers",),
        consequence="the site keeps its old keys, and rotation waits for it",
        remedy="put right what the agent says at {site}; it tries again by itself",
        command="isthmus identity key list",
        of_site=_trouble,
    ),
    Check(
        id="key-fence",
        title="No site is fenced",
        category=Category.KEYS,
        severity=Outcome.WARN,
        needs=("agent-answers",),
        consequence="the site's Keystone answers logins with 503; it validates as before",
        remedy="let {site} in again once it reaches the others",
        command="isthmus identity key unfence {site} --kind {kind}",
        of_site=_fence,
    ),
    Check(
        id="key-settings",
        title="All agents rotate by the same settings",
        category=Category.KEYS,
        severity=Outcome.WARN,
        needs=("agent-answers",),
        consequence="how long a key lives depends on which site conducts",
        remedy="make `keys.kinds` equal in the configurations of all agents",
        command="isthmus check --only key-settings -f json",
        reads=_key_settings,
        of_all=_same_settings,
    ),
)
