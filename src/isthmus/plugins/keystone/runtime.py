"""This process's queue and replayer, made from keystone.conf on first use.

A WSGI server may load the application before it forks, so nothing here may be made at import, and
what a parent has made is not used by its child.
"""

from __future__ import annotations

import functools
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keystone.conf
from keystone import exception
from keystone.revoke import core as revoke_core
from keystone.token import provider
from oslo_config import cfg
from oslo_log import log
from oslo_utils import timeutils

from isthmus.plugins.keystone import (
    answers,
    delivery,
    entries,
    generation_file,
    journal,
    moments,
    options,
    replay,
    signatures,
    writes,
)

LOG = log.getLogger(__name__)

# A WSGI server gives up its privileges soon after the fork, and the queue's file must belong to the
# user that Keystone runs as.
_AFTER_FORK_SECONDS = 1.0


@dataclass(kw_only=True)
class Runtime:
    """The parts of one process."""

    site: str
    process: int
    journal: journal.Journal
    replayer: replay.Replayer
    follow_timeout: float
    revocation_timeout: float
    clock: moments.Clock
    kept: answers.Answers
    counter: writes.Counter | None
    complained: bool = False
    newest_revocation: int = 0

    def queue(self, kind: entries.Kind, *, user_id: str = "", event: str = "") -> int | None:
        """Queue an entry and start its replay. None if it could not be stored, which is logged."""
        try:
            sequence = self.journal.append(kind, now=time.time(), user_id=user_id, event=event)
        except journal.JournalUnavailableError as error:
            if not self.complained:
                LOG.warning("This site cannot queue what it owes to the writer site: %s", error)
            self.complained = True
            return None
        self.complained = False
        self.replayer.wake()
        return sequence

    @functools.cached_property
    def queue_identity(self) -> str:
        """The identity of the queue's file."""
        return self.journal.identity

    def position(self, session: Any) -> int:
        """How far the database of this session has this site's queue."""
        return delivery.position(session, self.site, self.queue_identity)

    def count_write(self) -> None:
        """A request of this process has written."""
        if self.counter is not None:
            self.counter.grow()

    def drop_stale_caches(self) -> None:
        """Forget cached validations when any process has queued a revocation since the last look.

        The process that queues it invalidates Keystone's regions itself; this is for backends that
        other processes do not share, and for the moment between the two.
        """
        revoked = self.journal.revocations()
        newest = revoked[-1].sequence if revoked else 0
        if newest > self.newest_revocation:
            revoke_core.REVOKE_REGION.invalidate()
            provider.TOKENS_REGION.invalidate()
        self.newest_revocation = max(newest, self.newest_revocation)


_lock = threading.Lock()
_runtime: Runtime | None = None
_abandoned: list[Runtime] = []


def get() -> Runtime:
    """This process's parts. Raises oslo.config's RequiredOptError without ``[isthmus] site``."""
    global _runtime
    runtime = _runtime
    if runtime is not None and runtime.process == os.getpid():
        return runtime
    with _lock:
        if _runtime is None or _runtime.process != os.getpid():
            if _runtime is not None:
                _abandoned.append(_runtime)
            _runtime = _make(options.register(keystone.conf.CONF))
        return _runtime


def _make(section: Any) -> Runtime:
    if not section.site:
        raise cfg.RequiredOptError("site", cfg.OptGroup(options.GROUP))
    queue = journal.Journal(section.queue_path, limit=section.queue_limit)
    counter = _counter(section)
    return Runtime(
        site=section.site,
        process=os.getpid(),
        journal=queue,
        replayer=replay.Replayer(
            queue,
            deliver=lambda batch: delivery.deliver(section.site, queue.identity, batch),
            position=lambda: delivery.local_position(section.site, queue.identity),
            backoff_limit=section.backoff_limit,
        ),
        follow_timeout=section.follow_timeout,
        revocation_timeout=section.revocation_timeout,
        clock=_clock(section, queue, counter),
        kept=answers.Answers(section.answers_mib * 2**20),
        counter=counter,
    )


def _counter(section: Any) -> writes.Counter | None:
    """This host's count of writes, beside its queue; without it nothing is answered from memory."""
    if not section.coherence:
        return None
    try:
        return writes.Counter(Path(f"{section.queue_path}.writes"))
    except OSError as error:
        LOG.warning("No answer is given from memory: %s", error)
        return None


def _clock(section: Any, queue: journal.Journal, counter: writes.Counter | None) -> moments.Clock:
    if counter is None:
        return moments.Clock(
            view=lambda: None, writes=lambda: 0, revocations=lambda: 0, files=lambda: 0
        )
    reader = generation_file.Reader(section.generation_path, limit_seconds=section.proof_max_age)
    files = _files(keystone.conf.CONF)
    return moments.Clock(
        view=reader.view,
        writes=counter.value,
        revocations=queue.revocations_seen,
        files=lambda: signatures.of(files),
    )


def _files(conf: Any) -> tuple[str, ...]:
    """What Keystone reads again on every request: the keys of its tokens, and its policy."""
    keys = (
        [conf.jwt_tokens.jws_public_key_repository]
        if conf.token.provider == "jws"
        else [conf.fernet_tokens.key_repository]
    )
    directories = {str(Path(file).resolve().parent) for file in conf.config_file or ()}
    rules = [conf.oslo_policy.policy_file, *conf.oslo_policy.policy_dirs]
    return (*keys, *(str(Path(d, rule)) for d in sorted(directories) for rule in rules))


def _in_child() -> None:
    global _lock
    _lock = threading.Lock()
    timer = threading.Timer(_AFTER_FORK_SECONDS, lambda: get().replayer.start())
    timer.daemon = True
    timer.start()


def replay_in_children() -> None:
    """Start the replay in every process that is forked from here on, without waiting for a request.

    A restarted Keystone may hold a queue from before, and nobody may log in for hours.
    """
    os.register_at_fork(after_in_child=_in_child)


def today() -> Any:
    """The current UTC day, as Keystone sees it."""
    return timeutils.utcnow().date()


def refuse_unqueued() -> exception.Error:
    """The error for a revocation that can be neither written nor queued."""
    return ServiceUnavailableError()


class ServiceUnavailableError(exception.ServiceUnavailable):  # type: ignore[misc]
    """503 in Keystone's own words and shape."""

    message_format = (
        "The writer site of the identity service cannot be reached and this site cannot queue the "
        "revocation. Nothing was revoked. Try again in 5 s."
    )
