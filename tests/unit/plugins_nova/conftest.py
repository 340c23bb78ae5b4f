"""A site's Nova for every test that asks for one.

Nova's base classes decide for the whole process how it does things at once (eventlet or threads), so
these tests run in a process of their own (``pytest tests/unit/plugins_nova``) and are left out of any
other run.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from nova_site import Site

HERE = Path(__file__).parent


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    """Leave these tests out of a run that has others too, and where they cannot run."""
    folder = config.invocation_params.dir
    asked = [Path(folder, arg.split("::")[0]).resolve() for arg in config.args]
    if not all(path.is_relative_to(HERE) for path in asked):
        return True
    return None if _prepared() else True


@functools.cache
def _prepared() -> bool:
    """Before anything of Nova is imported: its tests would choose eventlet for the whole process."""
    # With it Nova's fixtures put the API's application behind an HTTP client.
    if importlib.util.find_spec("wsgi_intercept") is None:
        warnings.warn("wsgi-intercept is not installed: no test of plugins/nova runs", stacklevel=2)
        return False
    os.environ["OS_NOVA_DISABLE_EVENTLET_PATCHING"] = "1"
    from nova import monkey_patch

    monkey_patch.patch()
    return True


@pytest.fixture(scope="module")
def started() -> Iterator[Site]:
    """Two databases, a cell, conductor, scheduler, compute and the API: seconds, so a module shares them."""
    from nova_site import running

    with running() as site:
        yield site


@pytest.fixture
def site(started: Site) -> Iterator[Site]:
    """See ``nova_site``; its compute answers freezes as a good guest does."""
    started.start_anew()
    yield started
    started.start_anew()
