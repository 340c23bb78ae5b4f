"""The refusals over arbitrary servers."""

from __future__ import annotations

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from isthmus.plugins.nova import acceptance

GOOD = acceptance.Server(
    uuid="5e4ff28f",
    vm_state="active",
    task_state=None,
    power_state=1,
    host="compute1",
    guest_agent=True,
    locked=False,
    window=None,
)
SERVERS = st.builds(
    acceptance.Server,
    uuid=st.just("5e4ff28f"),
    vm_state=st.sampled_from(["active", "paused", "stopped", "resized", "shelved", "error"]),
    task_state=st.sampled_from([None, "migrating", "image_snapshot_pending"]),
    power_state=st.sampled_from([None, 0, 1, 3, 4]),
    host=st.sampled_from([None, "compute1"]),
    guest_agent=st.booleans(),
    locked=st.booleans(),
    window=st.sampled_from([None, "since noon"]),
)


@given(SERVERS, st.booleans())
def test_only_a_quiet_running_server_with_a_guest_agent_is_frozen(
    server: acceptance.Server, admin: bool
) -> None:
    if acceptance.refuse_quiesce(server, admin=admin) is None:
        assert dataclasses.replace(server, locked=False) == GOOD
        assert admin or not server.locked


@given(SERVERS, st.booleans())
def test_every_open_window_can_be_closed_unless_its_guest_is_paused(
    server: acceptance.Server, admin: bool
) -> None:
    if server.window and server.vm_state != "paused":
        assert acceptance.refuse_unquiesce(server, admin=admin) is None


@given(SERVERS)
def test_a_message_goes_only_to_a_server_that_runs_on_a_host(server: acceptance.Server) -> None:
    if acceptance.thaw(server) is acceptance.Thaw.SEND:
        assert server.vm_state == "active"
        assert server.host
