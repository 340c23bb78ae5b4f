"""``openstack port show`` and ``port create`` display both attributes (a hook of the stock client).

The stock client shows a fixed list of attributes. A command of our own with the same name would be
called a duplicate on every start; a hook (cliff) leaves the stock command in place and adds to what
it is about to print. Who may not see the attributes, or asks a Neutron without them, sees the stock
output.

This module loads inside the client and imports nothing of Neutron.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from cliff import hooks

ATTRIBUTES = ("remote_vtep", "vtep_ip")
Shown = tuple[Sequence[str], Iterable[Any]]


class TunnelColumns(hooks.CommandHook):
    """Cliff makes one for each run of the command."""

    def get_parser(self, parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
        """No options of our own."""
        return parser

    def get_epilog(self) -> str:
        """Nothing to add to the help."""
        return ""

    def before(self, parsed_args: argparse.Namespace) -> argparse.Namespace:
        """Let the command take its action and add what it has left out."""
        command: Any = self.cmd
        stock: Callable[[argparse.Namespace], Shown] = command.take_action
        network = command.app.client_manager.network

        def take_action(parsed_args: argparse.Namespace) -> Shown:
            return _with_tunnels(network, *stock(parsed_args))

        command.take_action = take_action
        return parsed_args

    def after(self, parsed_args: argparse.Namespace, return_code: int) -> int:
        """The command's own code."""
        return return_code


def _with_tunnels(network: Any, names: Sequence[str], values: Iterable[Any]) -> Shown:
    shown = dict(zip(names, values, strict=True))
    port = network.get_port(shown["id"]).to_dict()
    shown |= {name: port[name] for name in ATTRIBUTES if name in port}
    return tuple(sorted(shown)), tuple(shown[name] for name in sorted(shown))
