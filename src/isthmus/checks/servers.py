"""Questions that checks of several subjects put about the settings of database servers."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from isthmus.checks.facts import Place, Server
from isthmus.checks.values import Flaw
from isthmus.sites.agent_documents import Kind


def known(place: Place) -> Place:
    """The place, if the settings of any of its servers are known. Raises NotKnownError."""
    place.servers()
    return place


def node(place: Place) -> Server:
    """The Galera node of a writer site. Raises NotKnownError."""
    return place.servers(Kind.WRITER)[0]


def off(server: Server, switch: str) -> Iterator[Flaw]:
    """A flaw if the switch is not on. Raises NotKnownError."""
    if not server.on(switch):
        yield Flaw(cause=f"{server.name}: {switch} is {server.value(switch)}")


def switched_on(switch: str, kind: Kind | None = None) -> Callable[[Place], Iterator[Flaw]]:
    """Looks whether a switch is on in all servers of a kind."""

    def look(place: Place) -> Iterator[Flaw]:
        for server in place.servers(kind):
            yield from off(server, switch)

    return look


def set_to(
    variable: str, wanted: str, kind: Kind | None = None
) -> Callable[[Place], Iterator[Flaw]]:
    """Looks whether a variable has one value in all servers of a kind."""

    def look(place: Place) -> Iterator[Flaw]:
        for server in place.servers(kind):
            value = server.value(variable)
            if value != wanted:
                yield Flaw(cause=f"{server.name}: {variable} is {value}")

    return look
