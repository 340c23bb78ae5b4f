"""A site's Neutron for every test that asks for one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from neutron_site import Site, running


@pytest.fixture(scope="module")
def started() -> Iterator[Site]:
    """Loading ML2 and the policies takes longer than a test, so a module shares them."""
    with running() as site:
        yield site


@pytest.fixture
def site(started: Site) -> Site:
    """See ``neutron_site``; nothing of an earlier test is left in its tables."""
    started.start_anew()
    return started
