"""One site's Neutron in this process: its real API, ML2, policies and tables (SQLite), our drivers.

It stands on the base classes with which Neutron tests its own drivers. Only what would leave the
process is replaced: messages to agents are kept instead of sent.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import Any
from unittest import mock

from neutron.plugins.ml2.drivers.l2pop import rpc as l2pop_rpc
from neutron.tests.common import helpers
from neutron.tests.unit.plugins.ml2 import test_plugin
from neutron_lib import context as neutron_context
from neutron_lib.db import api as db_api
from neutron_lib.db import model_base
from oslo_config import cfg

from isthmus.plugins.neutron import options

# Neutron's fixture makes the tables of the models that are loaded when it is first used.
from isthmus.plugins.neutron.db import models

ALLOWED = ["10.99.0.0/16", "fd00:99::/32"]
OWNER = "isthmus:remote"
FLOOD = ("00:00:00:00:00:00", "0.0.0.0")  # noqa: S104 - l2population's entry for floods
ADMIN = ("admin", "member", "reader")
SERVICE = ("service",)
MEMBER = ("member", "reader")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reply:
    """What the API answered."""

    status: int
    body: Any

    @property
    def words(self) -> str:
        """The text of an error."""
        return str(self.body["NeutronError"]["message"])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Told:
    """One message to all agents: the method and, per VTEP, the entries."""

    method: str
    entries: dict[str, Any]


class Site(test_plugin.Ml2PluginV2TestCase):  # type: ignore[misc]
    """A site whose hosts ``compute1`` and ``compute2`` have tunnels at 10.99.1.31 and 10.99.1.32."""

    _mechanism_drivers = ["remote_port", "openvswitch", "l2population"]  # noqa: RUF012
    __test__ = False
    tables = models
    overlay_ip_version = 4

    def setUp(self) -> None:
        self._vnis = itertools.count(4000)
        self._cidrs = itertools.count(1)
        cfg.CONF.set_override("extension_drivers", ["port_security", "remote_port"], "ml2")
        cfg.CONF.set_override("overlay_ip_version", self.overlay_ip_version, "ml2")
        options.register(cfg.CONF)
        cfg.CONF.set_override("allowed_vteps", ALLOWED, options.GROUP)
        notify = l2pop_rpc.L2populationAgentNotifyAPI
        self.fanouts = self._replace(notify, "_notification_fanout")
        self.casts = self._replace(notify, "_notification_host")
        super().setUp()
        self.start_anew()

    def start_anew(self) -> None:
        """Forget everything but the agents of the two hosts."""
        with self.engine.begin() as connection:
            for table in reversed(model_base.BASEV2.metadata.sorted_tables):
                connection.execute(table.delete())
        for mocked in (self.fanouts, self.casts):
            mocked.reset_mock(side_effect=True)
        for number in (1, 2):
            helpers.register_ovs_agent(
                host=f"compute{number}", tunneling_ip=f"10.99.1.3{number}", tunnel_types=["vxlan"]
            )

    def runTest(self) -> None:
        """A name that unittest asks for; tests use ``running``."""

    def _replace(self, owner: Any, name: str) -> mock.Mock:
        patch = mock.patch.object(owner, name)
        self.addCleanup(patch.stop)
        return patch.start()

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        roles: Sequence[str] = ADMIN,
        project: str = "cloud",
        query: str | None = None,
    ) -> Reply:
        """A request with the given roles in a project."""
        request = self._req(method, path, body, params=query)
        request.environ["neutron.context"] = neutron_context.Context(
            "somebody", project, is_admin="admin" in roles, roles=list(roles)
        )
        response = request.get_response(self.api)
        return Reply(status=response.status_int, body=response.json if response.body else None)

    def done(self, method: str, path: str, body: Any = None, **who: Any) -> Any:
        """A request that has to be granted; the one object in its reply."""
        reply = self.ask(method, path, body, **who)
        assert reply.status < 300, reply
        return None if reply.body is None else next(iter(reply.body.values()))

    def network(self, network_type: str = "vxlan", project: str = "tenant") -> str:
        """A network with one subnet; its id."""
        provider = {
            "vxlan": {"provider:segmentation_id": next(self._vnis)},
            "flat": {"provider:physical_network": "external"},
        }[network_type]
        network = {"name": "backup", "project_id": project, "provider:network_type": network_type}
        made = self.done("POST", "networks", {"network": network | provider})
        subnet = {
            "network_id": made["id"],
            "project_id": project,
            "ip_version": 4,
            "cidr": f"192.168.{next(self._cidrs)}.0/24",
            "enable_dhcp": False,
        }
        self.done("POST", "subnets", {"subnet": subnet})
        return str(made["id"])

    def port(self, network: str, host: str | None = None, **attributes: Any) -> dict[str, Any]:
        """An ordinary port, bound to a host if one is named."""
        where = {} if host is None else {"binding:host_id": host}
        port = {"network_id": network, "project_id": "tenant", **where, **attributes}
        return dict(self.done("POST", "ports", {"port": port}))

    def remote_request(self, network: str, vtep: str | None, **attributes: Any) -> dict[str, Any]:
        """The body of a request for a remote port."""
        port = {
            "network_id": network,
            "device_owner": OWNER,
            "device_id": "lyon/5e4ff28f",
            "remote_vtep": vtep,
            "security_groups": [],
        }
        return {"port": port | attributes}

    def remote_port(
        self, network: str, vtep: str = "10.99.2.31", **attributes: Any
    ) -> dict[str, Any]:
        """A remote port."""
        return dict(self.done("POST", "ports", self.remote_request(network, vtep, **attributes)))

    def change(self, port: dict[str, Any], **attributes: Any) -> Reply:
        """The reply to an update of a port."""
        return self.ask("PUT", f"ports/{port['id']}", {"port": attributes})

    def shown(self, port: dict[str, Any], **who: Any) -> dict[str, Any]:
        """The port as the API shows it now."""
        return dict(self.done("GET", f"ports/{port['id']}", **who))

    def rows(self) -> dict[str, Any]:
        """The agent rows of remote VTEPs by host."""
        agents = self.plugin.get_agents(self.context, {"agent_type": ["Remote VTEP"]})
        return {agent["host"]: agent for agent in agents}

    def told(self) -> list[Told]:
        """What all agents were told since the last call, in order."""
        messages = [call.args[1:] for call in self.fanouts.call_args_list]
        self.fanouts.reset_mock()
        return [_told(method, networks) for method, networks in messages]

    @contextlib.contextmanager
    def writing(self) -> Iterator[Any]:
        """A session of Neutron's database, in a transaction."""
        context = neutron_context.get_admin_context()
        with db_api.CONTEXT_WRITER.using(context):
            yield context.session


def entry(port: dict[str, Any]) -> tuple[str, str]:
    """What agents are told of the first address of a port."""
    return port["mac_address"], port["fixed_ips"][0]["ip_address"]


def _told(method: str, message: dict[str, Any]) -> Told:
    [(key, inner)] = message.items()
    if key == "chg_ip":
        [by_vtep] = inner.values()
        entries = {
            vtep: {when: [tuple(entry) for entry in told] for when, told in changes.items()}
            for vtep, changes in by_vtep.items()
        }
        return Told(method="chg_ip", entries=entries)
    assert inner["network_type"] == "vxlan"
    ports = {vtep: [tuple(entry) for entry in told] for vtep, told in inner["ports"].items()}
    return Told(method=method, entries=ports)


@contextlib.contextmanager
def running(kind: type[Site] = Site) -> Iterator[Site]:
    """A site; afterwards everything global that Neutron's base classes replace is put back."""
    # Tests of another service may have read their configuration into the same global object.
    cfg.CONF.reset()
    site = kind()
    try:
        site.setUp()
        yield site
    finally:
        site.doCleanups()
