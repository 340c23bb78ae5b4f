"""The stock client's ``port show`` with our two attributes."""

from __future__ import annotations

import argparse
import importlib.metadata
import types
from typing import Any

import pytest
from openstack.network.v2 import port as sdk_port

from isthmus.plugins.neutron import client


class Command:
    """What cliff's hook sees of a command that is about to run."""

    def __init__(self, body: dict[str, Any]) -> None:
        network = types.SimpleNamespace(get_port=lambda _id: sdk_port.Port.existing(**body))
        self.app = types.SimpleNamespace(client_manager=types.SimpleNamespace(network=network))

    def take_action(self, parsed_args: argparse.Namespace) -> client.Shown:
        return ("id", "status"), ("5e4f", "ACTIVE")


@pytest.mark.parametrize(
    ("body", "added"),
    [
        ({"remote_vtep": "10.99.2.31", "vtep_ip": "10.99.2.31"}, {"remote_vtep", "vtep_ip"}),
        ({"remote_vtep": None, "vtep_ip": None}, {"remote_vtep", "vtep_ip"}),
        ({}, set()),
    ],
)
def test_what_the_server_shows_is_displayed_and_nothing_else(
    body: dict[str, Any], added: set[str]
) -> None:
    command = Command({"id": "5e4f", **body})
    hook = client.TunnelColumns(command)
    arguments = hook.before(argparse.Namespace())
    names, values = command.take_action(arguments)
    assert set(names) == {"id", "status"} | added
    shown = dict(zip(names, values, strict=True))
    assert {name: shown[name] for name in added} == body
    assert hook.after(arguments, 0) == 0


@pytest.mark.parametrize("command", ["port_show", "port_create"])
def test_the_stock_client_finds_the_hook(command: str) -> None:
    [point] = importlib.metadata.entry_points(group=f"openstack.cli.{command}")
    assert point.load() is client.TunnelColumns
