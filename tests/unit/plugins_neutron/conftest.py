"""A site's Neutron for every test that asks for one."""

from __future__ import annotations

import http
import http.server
import sys
from collections.abc import Iterator

import pytest
from oslo_service import backend

# Before anything of oslo chooses eventlet for the whole process: Neutron refuses to be loaded after that.
backend.init_backend(backend.BackendType.THREADING)

from neutron_site import Site, running  # noqa: E402

# Loading Neutron's API loads eventlet's web server, which leaves its own green copy of this module
# behind as an attribute of the package. Servers of other tests in this process need the real one.
http.server = sys.modules["http.server"]


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
