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
    cfg.BoolOpt(
        "coherence",
        default=True,
        help="Answer repeated validations from memory while the agent of this host proves that "
        "nothing has changed. Without the agent's generation file it has no effect.",
    ),
    cfg.StrOpt(
        "generation_path",
        default="/run/isthmus/generations",
        help="The generation file of the agent on this host (generation_file in its "
        "configuration). It must belong to root or to Keystone's user and be writable by nobody else.",
    ),
    cfg.FloatOpt(
        "proof_max_age",
        default=1.0,
        min=0.3,
        max=60.0,
        help="How old the agent's proof may be in seconds before this process steps aside: the "
        "bound on what an agent that hangs can hide. A proof comes ten times a second; the default "
        "leaves room for a busy host.",
    ),
    cfg.FloatOpt(
        "answer_max_age",
        default=300.0,
        min=0.0,
        help="How long an answer is given from memory in seconds, although nothing has changed. It "
        "bounds what a change that is in no binary log can do. The default is what "
        "keystonemiddleware does by default without any proof. 0 keeps no answer.",
    ),
    cfg.FloatOpt(
        "external_max_age",
        default=0.0,
        min=0.0,
        help="The same for users whose truth is not in the database (LDAP, federation), whom "
        "nobody follows. The default never gives an answer about them from memory.",
    ),
    cfg.IntOpt(
        "answers_mib",
        default=64,
        min=1,
        help="Memory for answers in each Keystone process, in MiB. The default holds some 5,000 "
        "with a catalog of 60 endpoints; those that were given longest ago leave first.",
    ),
]


def register(conf: Any) -> Any:
    """Register the options on ``conf`` (idempotent) and return its section."""
    conf.register_opts(OPTIONS, GROUP)
    return conf[GROUP]


def list_opts() -> list[tuple[str, list[Any]]]:
    """For oslo.config's sample generator."""
    return [(GROUP, OPTIONS)]
