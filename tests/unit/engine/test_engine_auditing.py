"""Forwarding is repaired when it is wrong twice, by what Neutron says last."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from engine_world import Site, declaration

from isthmus.engine.auditing import Auditor
from isthmus.engine.calling import CallError
from isthmus.engine.messaging import CastError
from isthmus.network import actions
from isthmus.network.findings import Code
from isthmus.network.forwarding import Cast

HOST_VTEP, FAR_VTEP = "10.99.1.31", "10.99.2.31"


class Hosts:
    """One host agent, whose answer is what the test makes it."""

    names = ("compute1",)

    def __init__(self) -> None:
        self.networks: dict[str, Any] = {}
        self.silent = False

    def get(self, host: str, path: str, timeout: float) -> Any:
        if self.silent:
            raise CallError("connection refused", where=f"the host agent of {host}")
        return {"vtep": HOST_VTEP, "networks": self.networks}


class Keeper:
    """What an auditor needs of one."""

    def __init__(self, site: Site) -> None:
        self.declaration = declaration()
        self.settled = True
        self.view = site.view(self.declaration)

    def known(self, site: str) -> Any:
        return self.view

    def seen(self, seen: Any) -> None:
        self.view = seen.view


class Home:
    site = "paris"

    def __init__(self) -> None:
        self.hosts = Hosts()
        self.neutron_of_paris = Site("paris")
        self.neutron_of_paris._do(
            actions.CreateNetwork(
                name="backup",
                project_id="vnf",
                vni=4000,
                mtu=1450,
                description="",
                tags=("isthmus", f"isthmus-network={declaration().id}"),
            )
        )
        self.neutron_of_paris.boot("local", 1, vtep=HOST_VTEP)
        self.neutron_of_paris.boot("far", 2, vtep=FAR_VTEP)
        self.keepers = {declaration().id: Keeper(self.neutron_of_paris)}
        self.sent: list[Cast] = []
        self.broker_down = False
        self.hold()

    def neutron(self, site: str | None = None) -> Site:
        return self.neutron_of_paris

    def cast(self, casts: Iterable[Cast]) -> None:
        if self.broker_down:
            raise CastError("connection refused")
        self.sent += casts

    def hold(self, **parts: Any) -> None:
        """What the host holds; all as it should be, but for `parts`."""
        far = self.neutron_of_paris.ports["far"]
        right = {
            "unicast": {far.mac: [FAR_VTEP]},
            "flood": [FAR_VTEP],
            "arp": {far.ips[0]: far.mac},
        }
        self.hosts.networks = {"4000": {**right, **parts}}


@pytest.fixture
def home() -> Home:
    return Home()


def audited(home: Home, between: Callable[[], None] = lambda: None) -> Auditor:
    """One audit; `between` happens between its two looks."""
    auditor = Auditor(home, 15.0, wait=lambda seconds: between())  # type: ignore[arg-type]
    auditor.tick()
    return auditor


def test_a_host_that_holds_what_it_should_is_clean(home: Home) -> None:
    auditor = audited(home)
    assert auditor.audit.clean == {"compute1"}
    assert not auditor.audit.findings
    assert not home.sent


def test_a_lost_entry_is_sent_again(home: Home) -> None:
    home.hold(unicast={}, arp={}, flood=[])
    auditor = audited(home)
    assert [each.method for each in home.sent] == ["add_fdb_entries"]
    assert home.sent[0].server == "compute1"
    assert auditor.repairs == {"compute1": 1}
    assert [each.code for each in auditor.audit.findings] == [Code.FORWARDING_REPAIRED]
    assert auditor.audit.clean == frozenset()


def test_what_is_on_its_way_is_not_lost(home: Home) -> None:
    home.hold(unicast={}, arp={}, flood=[])
    auditor = audited(home, between=home.hold)
    assert not home.sent
    assert auditor.audit.clean == {"compute1"}


def test_an_entry_that_is_newer_than_our_view_is_left_alone(home: Home) -> None:
    """A port was made after the keeper's last look: its entries must not be taken away."""
    far = home.neutron_of_paris.ports["far"]
    new = home.neutron_of_paris.boot("new", 3, vtep=FAR_VTEP)
    home.hold(
        unicast={far.mac: [FAR_VTEP], new.mac: [FAR_VTEP]},
        arp={far.ips[0]: far.mac, new.ips[0]: new.mac},
    )
    auditor = audited(home)
    assert not home.sent
    assert auditor.audit.clean == {"compute1"}


def test_a_stale_entry_is_taken_away(home: Home) -> None:
    far = home.neutron_of_paris.ports["far"]
    home.hold(unicast={far.mac: [FAR_VTEP], "fa:16:3e:00:00:99": [FAR_VTEP]})
    audited(home)
    assert [each.method for each in home.sent] == ["remove_fdb_entries"]


def test_a_port_that_has_just_changed_is_looked_at_anew(home: Home) -> None:
    keeper = home.keepers[declaration().id]
    keeper.settled = False
    late = home.neutron_of_paris.boot("late", 4, vtep=FAR_VTEP)
    auditor = audited(home)
    assert late in keeper.view.ports
    assert auditor.audit.findings, "the host lacks it"


def test_a_silent_host_is_a_finding_and_the_others_are_audited(home: Home) -> None:
    home.hosts.silent = True
    auditor = audited(home)
    [finding] = auditor.audit.findings
    assert finding.code is Code.HOST_SILENT
    assert "compute1" in finding.summary
    assert auditor.audit.clean == frozenset()


def test_a_broker_that_is_down_is_a_finding_and_counts_as_no_repair(home: Home) -> None:
    home.hold(unicast={}, arp={}, flood=[])
    home.broker_down = True
    auditor = audited(home)
    assert [each.code for each in auditor.audit.findings] == [Code.FORWARDING_DIFFERS]
    assert auditor.repairs == {}


def test_nothing_is_repaired_when_neutron_cannot_confirm(home: Home) -> None:
    home.hold(unicast={}, arp={}, flood=[])

    def neutron_falls_silent() -> None:
        home.neutron_of_paris.silent = "connection refused"

    audited(home, between=neutron_falls_silent)
    assert not home.sent


def test_a_network_that_is_being_deleted_is_not_audited(home: Home) -> None:
    keeper = home.keepers[declaration().id]
    keeper.declaration = dataclasses.replace(keeper.declaration, deleting=True)
    home.hold(unicast={}, arp={}, flood=[])
    audited(home)
    assert not home.sent
