"""Fixtures of the lab tests."""

from lab_fixtures import lab, lab_up

__all__ = ["lab", "lab_up"]
