"""Section ``[isthmus_quiesce]`` of Nova's configuration."""

from __future__ import annotations

from typing import Any

from oslo_config import cfg

GROUP = "isthmus_quiesce"

OPTIONS = [
    cfg.FloatOpt(
        "window_seconds",
        default=60.0,
        min=1.0,
        help="How long a quiesced server stays locked in Nova when nobody unquiesces it. It has to be longer than "
        "every freeze deadline, because the lock protects the window. After it, the lock is taken away as soon as it "
        "stands in somebody's way. It does not thaw the guest: the agent of the compute host does, at its deadline.",
    ),
]


def register(conf: Any) -> Any:
    """Register the options on ``conf`` (idempotent) and return their section."""
    conf.register_opts(OPTIONS, GROUP)
    return conf[GROUP]


def list_opts() -> list[tuple[str, list[Any]]]:
    """For oslo.config's sample generator."""
    return [(GROUP, OPTIONS)]
