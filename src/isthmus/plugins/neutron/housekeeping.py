"""The periodic worker: rows of VTEPs in use look alive, rows without ports go away.

Why refresh: nothing reports for these rows, and Neutron's health check would call each of them a
dead agent every minute. "Alive" therefore says only that remote ports use the row.

Why not delete a row together with its last port: l2population looks the row up after the port's
transaction, to tell all agents where the port has been. Two deletions at once would leave the
second without that row, and a stale entry on every host. A row that was not refreshed goes with
the run after, a whole period later, when no request can still need it.

Several workers (one per controller) may run at once: all they do is idempotent.
"""

from __future__ import annotations

import datetime
from typing import Any

from neutron import worker
from neutron_lib import context as neutron_context
from neutron_lib.db import api as db_api
from oslo_config import cfg
from oslo_db import exception as db_exceptions
from oslo_log import log
from oslo_utils import timeutils

from isthmus.plugins.neutron import vteps

LOG = log.getLogger(__name__)


def make_worker() -> Any:
    """The worker, for ``neutron-periodic-workers``."""
    seconds = period(cfg.CONF.agent_down_time)
    return worker.PeriodicWorker(
        run, seconds, initial_delay=seconds, desc="rows of remote tunnel endpoints"
    )


def period(agent_down_time: int) -> float:
    """Seconds between two runs: a row survives one run that fails, and is not called dead."""
    return agent_down_time / 3


def run() -> None:
    """One run. It never raises: the loop that calls it would end."""
    try:
        keep(neutron_context.get_admin_context(), timeutils.utcnow())
    except Exception:
        LOG.exception("The rows of remote tunnel endpoints were not refreshed; next run as usual.")


@db_api.retry_db_errors  # type: ignore[untyped-decorator]
def keep(context: Any, now: datetime.datetime) -> None:
    """Refresh what is used, then delete what the run before has not refreshed either."""
    with db_api.CONTEXT_WRITER.using(context):
        vteps.refresh(context.session, now)
    before = now - datetime.timedelta(seconds=1.5 * period(cfg.CONF.agent_down_time))
    with db_api.CONTEXT_READER.using(context):
        unused = vteps.unused(context.session, before)
    for agent_id in unused:
        _delete(context, agent_id)


def _delete(context: Any, agent_id: str) -> None:
    try:
        with db_api.CONTEXT_WRITER.using(context):
            vteps.delete(context.session, agent_id)
    except db_exceptions.DBReferenceError:
        LOG.debug("Row %s has found a new port meanwhile.", agent_id)
    else:
        LOG.info("Row %s of a remote tunnel endpoint has no ports any more; deleted.", agent_id)
