"""The watcher of guests' interfaces on one compute host: `HOST-taps`. See `isthmus.lab.tap_links` for what it heals."""

from isthmus.lab import errors, tap_links
from isthmus.lab.components import host as hosting
from isthmus.lab.components import ovs
from isthmus.lab.components.base import Context, python
from isthmus.lab.components.host import HostComponent

PART = "taps"


class TapLinks(HostComponent):
    def needs(self, context: Context) -> list[str]:
        return [hosting.unit(context, hosting.SWITCH)]

    def start(self, context: Context) -> None:
        daemon = self.spawn(
            context, [python(), "-m", "isthmus.lab.tap_links", hosting.ovsdb(context)]
        )
        context.wait(daemon, lambda: None)

    def test(self, context: Context) -> str:
        if not context.processes():
            raise errors.NotReady(
                what="nobody watches the guests' interfaces", where=context.unit, cause="no process"
            )
        words = ("--format=json", "--columns=name,admin_state,external_ids", "list", "Interface")
        rows = tap_links.rows(ovs.vsctl(context, *words))
        if down := tap_links.down(rows):
            raise errors.NotReady(
                what="interfaces of guests are down", where=context.unit, cause=", ".join(down)
            )
        return f"watches; {sum(row.plugged for row in rows)} interfaces of guests are up"
