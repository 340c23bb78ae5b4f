"""What is known of one site for one network, from looks that overlap in time.

It exists because two kinds of look are under way together: a whole look takes seconds, and the look
at one port that just changed must not wait for it, nor be undone by it. Values only; who looks is
`isthmus.engine.observing`.
"""

from __future__ import annotations

import dataclasses

from isthmus.network import views
from isthmus.network.views import Port, SiteView


@dataclasses.dataclass(frozen=True, kw_only=True)
class Memory:
    """The looks at one site. Times of looks are when they began, by one monotonic clock.

    Invariant: what `latest` says of a port is from the look that began last of all those that
    looked at the port, in whatever order their answers came.
    """

    latest: SiteView | None = None
    """The last good whole look with the later narrow ones laid over it; None before the first."""
    whole_at: float = float("-inf")
    narrow: tuple[tuple[float, SiteView], ...] = ()
    """Narrow looks that began after the whole one, in the order of their beginnings."""
    base: SiteView | None = None
    error: str | None = None
    """Why the last whole look gave nothing; None if it was good."""
    tried_at: float = float("-inf")
    """When the last whole look began, good or not."""

    def after_whole(self, began: float, view: SiteView) -> Memory:
        """With one more whole look, good or not."""
        if began < self.tried_at:
            return self
        if not view.good:
            return dataclasses.replace(self, error=view.error, tried_at=began)
        later = tuple(each for each in self.narrow if each[0] > began)
        return Memory(
            latest=_laid_over(view, later),
            whole_at=began,
            narrow=later,
            base=view,
            tried_at=began,
        )

    def after_narrow(self, began: float, view: SiteView) -> Memory:
        """With one more look at some ports; one that failed, or came before any whole one, says
        nothing."""
        if not view.good or self.base is None or self.latest is None or began < self.whole_at:
            return self
        narrow = tuple(sorted((*self.narrow, (began, view)), key=lambda each: each[0]))
        if narrow[-1][1] is view:
            return dataclasses.replace(self, latest=_laid(self.latest, view), narrow=narrow)
        return dataclasses.replace(self, latest=_laid_over(self.base, narrow), narrow=narrow)

    def view(self, site: str, *, unseen_since: float) -> SiteView:
        """What a decision is to be based on. `unseen_since`: seconds since 1970, the last good look
        of a site that was never seen."""
        if self.latest is not None and self.error is None:
            return self.latest
        seen_at = self.latest.seen_at if self.latest else unseen_since
        return views.silent(site, seen_at, self.error or "not looked at yet")


def _laid_over(base: SiteView, narrow: tuple[tuple[float, SiteView], ...]) -> SiteView:
    for _, view in narrow:
        base = _laid(base, view)
    return base


def _laid(base: SiteView, narrow: SiteView) -> SiteView:
    """A whole view with the ports of a narrow look laid over it.

    A narrow view holds the other ports too, but only as they were when that look began.
    """
    asked = narrow.only or frozenset()
    fresh = [port for port in narrow.ports if real_port(port) in asked]
    laid = views.overlaid(base, asked, fresh)
    groups = {each.id: each for each in (*base.security_groups, *narrow.security_groups)}
    return dataclasses.replace(
        laid,
        only=None,
        security_groups=tuple(groups.values()),
        seen_at=max(base.seen_at, narrow.seen_at),
    )


def real_port(port: Port) -> str:
    """The id of the real port: its own, or of the one that a remote port stands for."""
    return port.origin.port_id if port.origin else port.id
