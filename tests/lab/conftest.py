"""Fixtures of the lab tests."""

from lab_fixtures import lab, lab_up, machine, network_lab, network_up

__all__ = ["lab", "lab_up", "machine", "network_lab", "network_up"]
