"""Why a request to quiesce or unquiesce is refused: pure, over what Nova's tables say of a server.

A server is frozen only while nothing else is done with it. The approved spec wants vm_state active
and no task; the rest follows from what a freeze needs (a guest agent, a host) and from what protects
a window (one at a time).
"""

from __future__ import annotations

import dataclasses
import enum

ACTIVE = "active"
PAUSED = "paused"
RUNNING = 1
"""Nova's number for a machine that runs (``nova.compute.power_state``)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Server:
    """What is known of a server. `window` says since when and by whom it is quiesced, if it is."""

    uuid: str
    vm_state: str
    task_state: str | None
    power_state: int | None
    host: str | None
    guest_agent: bool
    locked: bool
    window: str | None


class Thaw(enum.StrEnum):
    """What an unquiesce that is accepted does."""

    SEND = "send"
    """The guest may be frozen: tell the compute host."""

    CLOSE = "close"
    """There is no running guest that could be frozen: only mark and lock go."""


def refuse_quiesce(server: Server, *, admin: bool) -> str | None:
    """Why the server cannot be frozen now, or None."""
    state = _refuse_state(server, "quiesce")
    if state:
        return state
    if server.window:
        return (
            f"Cannot 'quiesce' instance {server.uuid}: it is quiesced already, {server.window}. "
            "Nothing was changed; unquiesce it first."
        )
    if server.locked and not admin:
        return f"Instance {server.uuid} is locked. Nothing was changed."
    if not server.host:
        return f"Cannot 'quiesce' instance {server.uuid}: it is on no host."
    if not server.guest_agent:
        return (
            f"Cannot 'quiesce' instance {server.uuid}: QEMU guest agent is not enabled. Its image "
            "needs the property hw_qemu_guest_agent=yes, and the guest has to run qemu-guest-agent."
        )
    return None


def refuse_unquiesce(server: Server, *, admin: bool) -> str | None:
    """Why no thaw can be sent now, or None.

    A thaw is accepted also for a server that is not known to be frozen: it is sent without an
    answer, so whoever finds the guest still frozen must be able to send it again.
    """
    if server.task_state and not server.window:
        # Nova freezes servers too, inside its own snapshots: that freeze is not ours to end.
        return _blocked(server, "unquiesce", "task_state", server.task_state)
    if server.vm_state == PAUSED:
        return (
            _blocked(server, "unquiesce", "vm_state", PAUSED)
            + " A paused guest cannot thaw; unpause it first."
        )
    if server.vm_state != ACTIVE and not server.window:
        return _blocked(server, "unquiesce", "vm_state", server.vm_state)
    if server.locked and not server.window and not admin:
        return f"Instance {server.uuid} is locked. Nothing was changed."
    return None


def thaw(server: Server) -> Thaw:
    """What there is to do for a thaw that was not refused."""
    runs = server.vm_state == ACTIVE and server.host
    return Thaw.SEND if runs else Thaw.CLOSE


def _refuse_state(server: Server, action: str) -> str | None:
    if server.vm_state != ACTIVE:
        return _blocked(server, action, "vm_state", server.vm_state)
    if server.task_state:
        return _blocked(server, action, "task_state", server.task_state)
    if server.power_state != RUNNING:
        return _blocked(server, action, "power_state", str(server.power_state))
    return None


def _blocked(server: Server, action: str, attribute: str, state: str) -> str:
    """Nova's own words for a state that does not allow an action."""
    return f"Cannot '{action}' instance {server.uuid} while it is in {attribute} {state}. Nothing was changed."
