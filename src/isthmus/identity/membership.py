"""Whether a node of a cluster that follows may be read: in step with its cluster, and the cluster with the writers. No I/O.

Such a node takes no writes. One node of its cluster has the stream, and Galera passes on what comes.
So its age is that of the newest heartbeat of a writer site that has arrived, by the clocks of both.
"""

from dataclasses import dataclass

from isthmus.identity.writer import Verdict, View, out_of_step


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What the node is good for, why, and how old its data are (None: nothing says so)."""

    verdict: Verdict
    reason: str
    lag_seconds: float | None = None


def judge(view: View, node: str, before: Verdict, *, lag_limit_seconds: float) -> Judgement:
    """One step for the node that is called `node` and was last found to be `before`.

    Invariant: a node that is out of its cluster's majority, out of step, or older than the limit is not serving.
    """
    lag = min(
        ((view.now - beat.written_at).total_seconds() for beat in view.heartbeats), default=None
    )
    if found := out_of_step(view, node):
        verdict, reason = found
        # Of a node that is another than was meant, nothing is said.
        known = lag if view.name == node else None
        return Judgement(verdict=verdict, reason=reason, lag_seconds=known)
    if lag is None:
        reason = (
            "no heartbeat of a writer site has arrived yet: does a node of this cluster follow one?"
        )
        return Judgement(verdict=Verdict.UNKNOWN, reason=reason)
    # It comes back only well below the limit, or it would go in and out with every heartbeat.
    limit = lag_limit_seconds if before is Verdict.SERVING else lag_limit_seconds / 2
    if lag > limit:
        reason = (
            f"data are {lag:.1f} s old (limit {lag_limit_seconds:g} s): the stream from the writers' cluster, which one node of "
            "this cluster has, brings nothing"
        )
        return Judgement(verdict=Verdict.LAGGING, reason=reason, lag_seconds=lag)
    reason = f"in step with the cluster, data are {max(0.0, lag):.1f} s old"
    return Judgement(verdict=Verdict.SERVING, reason=reason, lag_seconds=max(0.0, lag))
