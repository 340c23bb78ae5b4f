"""Fixtures of the lab tests, a mark for those that need the environment with networks, and the logs of what failed."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab_fixtures import ends_of_logs, lab, lab_up, machine, network_lab, network_up, wide_up

__all__ = ["lab", "lab_up", "machine", "network_lab", "network_up", "wide_up"]

NETWORK = Path(__file__).parent / "network"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in the folder `network` is marked so: it brings up another environment."""
    for item in items:
        if item.path.is_relative_to(NETWORK):
            item.add_marker(pytest.mark.network)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Add what the units wrote while the test ran: the lab that could be asked about it is gone when somebody reads the report."""
    made = yield
    report = made.get_result()  # type: ignore[attr-defined]
    if report.failed:
        report.sections.append(("ends of the logs", ends_of_logs(time.time() - call.duration)))
