"""Which port a person means."""

from __future__ import annotations

import dataclasses

import pytest
import tracing_facts as ground

from isthmus import errors
from isthmus.network.tracing import resolving
from isthmus.network.tracing.facts import Site


@pytest.fixture
def sites() -> dict[str, Site]:
    return dict(ground.healthy().sites)


@pytest.mark.parametrize(
    "words", ["db", "10.7.0.130", ground.IDS["lyon"], ground.IDS["lyon"][:8], "lyon:db"]
)
def test_a_port_is_found_by_what_people_call_it(words: str, sites: dict[str, Site]) -> None:
    site, port = resolving.resolve(words, sites)
    assert (site, port) == ("lyon", ground.real("lyon"))


def test_a_name_that_two_sites_have_needs_the_site(sites: dict[str, Site]) -> None:
    twin = dataclasses.replace(ground.real("paris"), id="c" * 8, name="db", ips=("10.7.0.9",))
    sites["paris"] = dataclasses.replace(sites["paris"], ports=(*sites["paris"].ports, twin))
    with pytest.raises(errors.UsageError, match="several ports") as refused:
        resolving.resolve("db", sites)
    assert "paris:cccccccc" in (refused.value.cause or "")
    assert resolving.resolve("paris:db", sites)[1] is twin


def test_an_address_wins_over_a_name(sites: dict[str, Site]) -> None:
    odd = dataclasses.replace(ground.real("paris"), id="c" * 8, name="10.7.0.130", ips=())
    sites["paris"] = dataclasses.replace(sites["paris"], ports=(*sites["paris"].ports, odd))
    assert resolving.resolve("10.7.0.130", sites)[1].name == "db"


def test_a_port_of_a_silent_site_is_known_by_its_remote_port(sites: dict[str, Site]) -> None:
    sites["lyon"] = Site(name="lyon", error="no answer")
    site, port = resolving.resolve("db", sites)
    assert (site, port.id, port.host) == ("lyon", ground.IDS["lyon"], "")


def test_a_port_that_is_not_there_is_refused_with_the_sites_that_were_not_asked(
    sites: dict[str, Site],
) -> None:
    sites["lyon"] = Site(name="lyon", error="no answer")
    with pytest.raises(errors.UsageError, match="no port 'mail'") as refused:
        resolving.resolve("mail", sites)
    assert refused.value.cause == "not asked, because silent: lyon"
