"""What the commands about recovery share: the engines that they ask, what they are about, how they print.

It exists so that `isthmus.cli.group`, `policy`, `plan`, `checkpoint` and `operation` hold what is their own.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from typing import Any

from cliff import command

from isthmus import outcomes
from isthmus.cli import operation_client, reports
from isthmus.cli.network_client import Client, path
from isthmus.cli.operation_client import Engines


class Asking(command.Command):
    """A command that asks engines."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        operation_client.add_ask(parser)
        return parser

    def engines(self, parsed_args: argparse.Namespace) -> Engines:
        return Engines(self.app.options.sites, parsed_args.ask)


class About(Asking):
    """A command about one thing of a collection. `noun`: what a person calls it, `one`: the field of an
    answer that holds it, `known_by`: what it is given by, `dest`: where the parser keeps that."""

    noun = ""
    collection = ""
    one = ""
    known_by = "Its name."
    dest = "name"

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(self.dest, metavar=self.noun, help=self.known_by)
        return parser

    def found(self, parsed_args: argparse.Namespace) -> tuple[Client, Any]:
        """The first engine that knows the thing, and what it says of it."""
        route = path(self.collection, getattr(parsed_args, self.dest))
        client, answer = self.engines(parsed_args).knowing(route)
        return client, answer[self.one]


class Shown(Asking, reports.Fields):
    """A command that prints fields."""


class Listed(Asking, reports.Rows):
    """A command that prints rows."""

    def known(self, parsed_args: argparse.Namespace, collection: str, *, key: str) -> Sequence[Any]:
        """All things of a collection, each once, with the sites whose engines know it."""
        answers = self.engines(parsed_args).everywhere(path(collection))
        return operation_client.unique(answers, collection, key)


class Forgotten(About):
    """A command that has an engine forget a thing. `key`: the field of the thing by which it is forgotten."""

    key = "name"

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        client, thing = self.found(parsed_args)
        client.delete(path(self.collection, thing[self.key]))


def exit_code(found: Iterable[Any]) -> int:
    """That of the worst of these findings, 0 without any."""
    return outcomes.worst_exit_code(each["outcome"] for each in found)
