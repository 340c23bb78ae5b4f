"""Which engine to ask about recovery: each site's engine knows its own operations, groups and plans.

It exists so that every command finds the right engine in the same way. `--ask` names one; otherwise
the engines of the sites file are asked until one knows what is meant. Unlike declarations of networks,
these are not replicated: what is done in Lyon must not need Paris.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from isthmus import errors
from isthmus.cli.network_client import Client
from isthmus.sites import inventory
from isthmus.sites.inventory import Inventory


class Engines:
    """The engines of a sites file. `ask`: only this site's."""

    def __init__(self, sites_option: str | None, ask: str | None = None) -> None:
        self._known: Inventory = inventory.load(sites_option)
        self._names = [ask] if ask else [site.name for site in self._known.sites if site.engine]
        self._clients: dict[str, Client] = {}
        if not self._names:
            # The client says what is missing in the file, and how to add it.
            Client(self._known)

    def of(self, site: str) -> Client:
        """The engine of one site."""
        if site not in self._clients:
            self._clients[site] = Client(self._known, ask=site)
        return self._clients[site]

    def with_site(self, site: str) -> Client:
        """The engine of a site, or the one that was asked for by --ask."""
        return self.of(self._names[0] if len(self._names) == 1 else site)

    def everywhere(self, route: str) -> Iterator[tuple[str, Any]]:
        """Each site with its engine's answer; what a silent one costs is a line on stderr. Raises
        UnavailableError when none answers."""
        silent: list[errors.UnavailableError] = []
        for site in self._names:
            try:
                answer = self.of(site).get(route)
            except errors.UnavailableError as error:
                silent.append(error)
                print(f"{site}: {error}", file=sys.stderr)
            else:
                yield site, answer
        if silent and len(silent) == len(self._names):
            raise silent[0]

    def knowing(self, route: str) -> tuple[Client, Any]:
        """The first engine that knows what `route` is about, and its answer.

        Raises what the engines said when none knows it.
        """
        unknown: errors.IsthmusError | None = None
        for site in self._names:
            try:
                return self.of(site), self.of(site).get(route)
            except errors.UsageError as error:
                unknown = error
            except errors.UnavailableError as error:
                # That nobody else knows it says nothing while an engine is silent.
                print(f"{site}: {error}", file=sys.stderr)
                unknown = unknown or error
        assert unknown is not None  # noqa: S101 - there is at least one name
        raise unknown


def add_ask(parser: argparse.ArgumentParser) -> None:
    """Add --ask."""
    parser.add_argument(
        "--ask",
        metavar="SITE",
        help="Ask the engine of this site, and no other; otherwise the one that knows it.",
    )


def unique(rows: Iterator[tuple[str, Any]], collection: str, key: str) -> Sequence[Any]:
    """What several engines say of the same things, each once, with those that know it."""
    found: dict[str, Any] = {}
    for site, answer in rows:
        for each in answer[collection]:
            known = found.setdefault(str(each[key]), {**each, "known_in": []})
            known["known_in"].append(site)
    return list(found.values())
