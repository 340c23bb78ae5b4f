"""Fixtures of the lab tests, which of them every run has, and the logs of what failed."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab_fixtures import (
    ends_of_logs,
    lab,
    lab_up,
    machine,
    network_lab,
    network_up,
    recovery_up,
    wide_up,
)

__all__ = ["lab", "lab_up", "machine", "network_lab", "network_up", "recovery_up", "wide_up"]

# Their environments have tests for a run of their own.
FOLDERS = tuple(Path(__file__).parent / name for name in ("network", "recovery"))

# What of the networks belongs to `make test`: a whole module, and single tests of others. `make test-long` runs the rest.
MODULES = {"test_network_engine.py"}
SINGLE = {
    "test_a_dead_host_is_silent_everywhere_and_returns_with_its_guests",
    "test_a_narrow_link_is_named_with_what_passes",
    "test_a_planned_move_is_answered_from_the_other_site_after_a_short_gap",
    "test_a_port_that_moves_to_another_host_is_one_remote_port_that_moves",
    "test_a_vni_that_another_network_has_is_a_finding_that_names_both",
    "test_an_address_of_two_owners_is_a_finding_that_names_both_and_stops_nobody_else",
    "test_an_owner_that_is_cut_off_loses_the_address_before_the_other_site_takes_it",
    "test_when_the_owners_host_dies_the_other_site_answers",
    "test_rotations_under_load_refuse_nobody",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave to a run of their own what is in those folders and named above by nobody."""
    for item in items:
        named = item.path.name in MODULES or item.name in SINGLE
        if not named and any(item.path.is_relative_to(folder) for folder in FOLDERS):
            item.add_marker(pytest.mark.long)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Add what the units wrote while the test ran: the lab that could be asked about it is gone when somebody reads the report."""
    made = yield
    report = made.get_result()  # type: ignore[attr-defined]
    if report.failed:
        report.sections.append(("ends of the logs", ends_of_logs(time.time() - call.duration)))
