"""Settings for machines that are shared, and a process of its own for the tests on Neutron's bases."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# How long one example takes says nothing on a machine that is shared.
settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")

# Loading Neutron's API loads eventlet, whose green copies of the standard library stop real threads and
# servers of other tests in the same process. `make unit` and `make test` run these tests by themselves.
APART = Path(__file__).parent / "unit" / "plugins_neutron"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave the tests that stand apart out of a run that has others too."""
    if collection_path != APART:
        return None
    asked = [
        Path(config.invocation_params.dir, arg.split("::")[0]).resolve() for arg in config.args
    ]
    return not all(path.is_relative_to(APART) for path in asked) or None
