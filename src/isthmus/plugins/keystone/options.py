"""Section ``[isthmus]`` of keystone.conf."""

from __future__ import annotations

from typing import Any

from oslo_config import cfg

GROUP = "isthmus"

OPTIONS = [
    cfg.StrOpt(
        "site",
        required=True,
        help="Name of this site as in the sites file. It names this site's row in the replicated "
        "table of replay positions, so two sites must never share it; there is no default because "
        "a guess (the host name) would change when the host does.",
    ),
    cfg.StrOpt(
        "queue_path",
        default="/var/lib/keystone/isthmus/queue.sqlite",
        help="File of the durable queue, on a local disk (never on NFS: it relies on file locks). "
        "All Keystone processes of a host share it. It is created with mode 0600. The default lies "
        "in Keystone's own state directory because that survives a reboot.",
    ),
    cfg.IntOpt(
        "queue_limit",
        default=100_000,
        min=1000,
        help="Entries kept while the writer site cannot be reached. Beyond it the oldest logins of "
        "the day are dropped first, then the oldest failed logins, then resets; revocations are "
        "never dropped. The default is about 20 MB, a week of 10 logins a minute.",
    ),
    cfg.FloatOpt(
        "follow_timeout",
        default=1.0,
        min=0.0,
        max=30.0,
        help="Longest wait in seconds, after a write, for this site's replica to have applied it, "
        "so that the next request at this site sees it. The default is far above a healthy "
        "replica's lag (milliseconds plus the round trip) and far below a client's patience.",
    ),
    cfg.FloatOpt(
        "revocation_timeout",
        default=1.0,
        min=0.0,
        max=30.0,
        help="How long a revocation waits in seconds to be stored at the writer site before it is "
        "answered. It holds at this site at once in any case; after this time it is answered from "
        "the queue.",
    ),
    cfg.FloatOpt(
        "backoff_limit",
        default=4.0,
        min=0.5,
        max=300.0,
        help="Longest pause in seconds between two attempts to replay the queue. The default keeps "
        "the delay after healing below the time in which a person starts to wonder.",
    ),
]


def register(conf: Any) -> Any:
    """Register the options on ``conf`` (idempotent) and return its section."""
    conf.register_opts(OPTIONS, GROUP)
    return conf[GROUP]


def list_opts() -> list[tuple[str, list[Any]]]:
    """For oslo.config's sample generator."""
    return [(GROUP, OPTIONS)]
