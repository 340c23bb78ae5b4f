"""Section ``[isthmus_authtoken]`` of a service's configuration."""

from __future__ import annotations

import dataclasses
import urllib.parse
from typing import Any

from keystonemiddleware.auth_token import ConfigurationError
from oslo_config import cfg

GROUP = "isthmus_authtoken"

OPTIONS = [
    cfg.DictOpt(
        "others",
        default={},
        help="Identity endpoints of other sites as name:URL, separated by commas, in the order in "
        "which they are asked when the site's own ([keystone_authtoken] auth_url) does not answer. "
        "Empty: the stock filter.",
    ),
    cfg.DictOpt(
        "agents",
        default={},
        help="Base URL of the agent of each site in `others`, as name:URL. It must prove that the "
        "site's databases are fresh, or the site's answers do not count.",
    ),
    cfg.StrOpt(
        "local_agent",
        help="Base URL of this site's agent. It must say that no write of this site waits in its "
        "queue (a revocation there is known to no other site), or others are not asked.",
    ),
    cfg.FloatOpt(
        "timeout",
        default=3.0,
        min=0.1,
        max=60.0,
        help="Seconds without an answer after which an endpoint counts as silent. Slow is not "
        "dead: a Keystone whose threads all hash passwords takes a second or two, and its load "
        "would fall on the next site.",
    ),
    cfg.FloatOpt(
        "stale_limit",
        default=5.0,
        min=0.5,
        max=300.0,
        help="How old the data of another site's databases may be in seconds. The default is the "
        "lag at which an agent takes a database out.",
    ),
    cfg.FloatOpt(
        "proof_seconds",
        default=5.0,
        min=0.5,
        max=60.0,
        help="How old a proof of freshness may be in seconds when the answer has arrived. Must be "
        "above `timeout`; together with `stale_limit` it may not exceed token_cache_time.",
    ),
    cfg.FloatOpt(
        "come_back_seconds",
        default=5.0,
        min=0.5,
        max=300.0,
        help="Longest time in seconds between two looks whether a silent endpoint is back. The "
        "first look is after half a second; each failure doubles the pause up to this.",
    ),
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Other:
    """An endpoint of another site: its API with version, and its agent."""

    name: str
    url: str
    agent: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What the section says, checked. Times are in seconds."""

    others: tuple[Other, ...]
    local_agent: str
    timeout: float
    stale_limit: float
    proof_seconds: float
    come_back_seconds: float
    keep_seconds: int
    """How long an answer of another endpoint is kept; 0 is not at all."""


def list_opts() -> list[tuple[str, list[Any]]]:
    """For oslo.config's sample generator."""
    return [(GROUP, OPTIONS)]


def read(conf: Any, token_cache_time: int) -> Settings | None:
    """The settings, None if no other endpoint is named; registers the options (idempotent).

    Raises ConfigurationError for settings that would let a revoked token live longer.
    """
    conf.register_opts(OPTIONS, GROUP)
    section = conf[GROUP]
    if not section.others:
        return None
    bound = section.stale_limit + section.proof_seconds
    if token_cache_time < bound:
        raise _wrong(
            f"[keystone_authtoken] token_cache_time = {token_cache_time} is less than stale_limit "
            f"+ proof_seconds = {section.stale_limit:g} + {section.proof_seconds:g} = {bound:g}: "
            "another endpoint could accept a revoked token for longer than this site's own. Raise "
            "the first, or lower one of the others"
        )
    if section.timeout >= section.proof_seconds:
        raise _wrong(
            f"timeout = {section.timeout:g} is not below proof_seconds = {section.proof_seconds:g}:"
            " a proof would be too old before the answer arrives"
        )
    if not section.local_agent:
        raise _wrong("local_agent is missing: without it nobody knows what waits in the queue")
    return Settings(
        others=tuple(_other(name, url, section.agents) for name, url in section.others.items()),
        local_agent=_url("local_agent", section.local_agent),
        timeout=section.timeout,
        stale_limit=section.stale_limit,
        proof_seconds=section.proof_seconds,
        come_back_seconds=section.come_back_seconds,
        # Rounded down: memcached counts whole seconds.
        keep_seconds=int(token_cache_time - bound),
    )


def _other(name: str, url: str, agents: dict[str, str]) -> Other:
    if name not in agents:
        raise _wrong(f"agents has no {name}: without its agent its answers can never count")
    identity = _url(f"others, {name}", url)
    if not identity.endswith("/v3"):
        identity += "/v3"
    return Other(name=name, url=identity, agent=_url(f"agents, {name}", agents[name]))


def _url(where: str, text: str) -> str:
    """The URL without a trailing slash. A wrong one is not repeated: it may hold a password."""
    try:
        parts = urllib.parse.urlsplit(text.strip())
        fine = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        fine = False
    if not fine:
        raise _wrong(f"{where}: not a URL like http://address:port")
    if parts.username or parts.password:
        raise _wrong(f"{where}: the URL holds credentials")
    return text.strip().rstrip("/")


def _wrong(text: str) -> Exception:
    return ConfigurationError(f"[{GROUP}] {text}.")  # type: ignore[no-any-return]
