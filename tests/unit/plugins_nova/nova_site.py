"""One site's Nova in this process: its real API with our filter, conductor, scheduler, two databases.

It stands on the base classes with which Nova tests itself: messages go over a bus in memory to a
real compute manager, whose hypervisor is Nova's own stand-in. What a guest answers to a freeze is set
by the test at the driver, the last place before libvirt.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import fixtures
import nova.tests.unit  # noqa: F401 - loads Nova's objects
from nova import context as nova_context
from nova import objects
from nova.compute import power_state, rpcapi, vm_states
from nova.tests.functional import integrated_helpers
from nova.tests.functional.api import client
from nova.virt import fake

from conditions import wait_for
from isthmus.plugins.nova import windows

# A message over a bus in memory, on busy cores.
THAWED = 10.0

PASTE = Path(__file__).with_name("api-paste.ini")


class Site(integrated_helpers._IntegratedTestBase):  # type: ignore[misc]
    """A site with one compute host. `api` belongs to the owner of the servers, `admin_api` to an
    administrator of the same project."""

    __test__ = False
    microversion = "2.73"
    # A thaw has to be the message that it is in life: one that nobody waits for.
    CAST_AS_CALL = False

    def setUp(self) -> None:
        self._server = ""
        self._sent = self._arrived = 0
        # Nova's tests make errors of what newer libraries announce to drop. That is Nova's to mend.
        with mock.patch("nova.tests.fixtures.WarningsFixture", fixtures.Fixture):
            super().setUp()
        self.start_anew()

    def runTest(self) -> None:
        """A name that unittest asks for; tests use ``running``."""

    def _setup_services(self) -> None:
        self.flags(api_paste_config=str(PASTE), group="wsgi")
        # SQLite in memory refuses a second writer at once, so nothing writes unasked (0: no report at all; the first of any
        # other interval comes after 5 s).
        self.flags(report_interval=0, service_down_time=7200, periodic_enable=False)
        super()._setup_services()

    def start_anew(self) -> None:
        """Forget what earlier tests set, and what they have said and nobody waited for: a thaw is a message."""
        wait_for("all thaws arrived", lambda: self._arrived >= self._sent, THAWED)
        mock.patch.stopall()
        send = rpcapi.ComputeAPI.unquiesce_instance

        def sending(*arguments: Any, **keywords: Any) -> None:
            self._sent += 1
            send(*arguments, **keywords)

        mock.patch.object(rpcapi.ComputeAPI, "unquiesce_instance", sending).start()
        self.told: list[str] = []
        self.driver("quiesce", lambda *_: self.told.append("quiesce"))
        self.driver("unquiesce", lambda *_: self.told.append("unquiesce"))

    def driver(self, name: str, act: Any) -> None:
        """Let the hypervisor do `act(context, instance, image)` when it is asked to freeze or thaw."""

        def acting(_: Any, context: Any, instance: Any, image: Any) -> None:
            try:
                act(context, instance, image)
            finally:
                self._arrived += name == "unquiesce"

        mock.patch.object(fake.FakeDriver, name, acting).start()

    # --- servers

    def server(self, *, agent: bool = True) -> str:
        """The one server, which runs as if nothing had ever been done with it; its id."""
        if not self._server:
            self._server = str(self._create_server(networks="none", api=self.admin_api)["id"])
        with self.instance(self._server) as instance:
            instance.vm_state, instance.task_state = vm_states.ACTIVE, None
            instance.power_state = power_state.RUNNING
            instance.locked, instance.locked_by = False, None
            for key in (windows.KEY, windows.REASON):
                instance.system_metadata.pop(key, None)
            instance.system_metadata["image_hw_qemu_guest_agent"] = "yes" if agent else "no"
        self._before = len(self._actions(self._server))
        return self._server

    @contextlib.contextmanager
    def instance(self, server: str) -> Iterator[Any]:
        """The server's row; what is changed is saved."""
        found = self.look(server)
        yield found
        found.save()

    def look(self, server: str) -> Any:
        """The server's row, to read."""
        context = nova_context.get_admin_context()
        mapping = objects.InstanceMapping.get_by_instance_uuid(context, server)
        nova_context.set_target_cell(context, mapping.cell_mapping)
        return objects.Instance.get_by_uuid(
            context, server, expected_attrs=["system_metadata", "flavor"]
        )

    # --- requests

    def ask(self, server: str, body: Any, *, who: Any = None) -> tuple[int, str]:
        """Status and words of the answer to an action."""
        caller = who or self.admin_api
        try:
            answer = caller.api_post(f"/servers/{server}/action", body)
        except client.OpenStackApiException as error:
            return error.response.status_code, error.response.text
        return answer.status, ""

    def quiesce(self, server: str, **who: Any) -> tuple[int, str]:
        return self.ask(server, {"quiesce": None}, **who)

    def unquiesce(self, server: str, **who: Any) -> tuple[int, str]:
        return self.ask(server, {"unquiesce": None}, **who)

    def actions(self, server: str) -> list[tuple[str, str | None]]:
        """The records of quiesce and unquiesce in this test, oldest first: action and message."""
        return self._actions(server)[self._before :]

    def _actions(self, server: str) -> list[tuple[str, str | None]]:
        found = self.admin_api.get_instance_actions(server)
        ours = [each for each in found if "quiesce" in each["action"]]
        return [(each["action"], each["message"]) for each in reversed(ours)]


@contextlib.contextmanager
def running() -> Iterator[Site]:
    """A site; afterwards everything global that Nova's base classes replace is put back."""
    site = Site()
    try:
        site.setUp()
        yield site
    finally:
        mock.patch.stopall()
        site.doCleanups()
