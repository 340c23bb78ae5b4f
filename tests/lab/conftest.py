"""Fixtures of the lab tests, and a mark for those that need the environment with networks."""

from pathlib import Path

import pytest
from lab_fixtures import lab, lab_up, machine, network_lab, network_up, wide_up

__all__ = ["lab", "lab_up", "machine", "network_lab", "network_up", "wide_up"]

NETWORK = Path(__file__).parent / "network"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in the folder `network` is marked so: it brings up another environment."""
    for item in items:
        if item.path.is_relative_to(NETWORK):
            item.add_marker(pytest.mark.network)
