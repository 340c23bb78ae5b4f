"""Fixtures of the command line's tests."""

from loopback_cloud import cloud, isthmus

__all__ = ["cloud", "isthmus"]
