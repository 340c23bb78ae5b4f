"""Fixtures of the command line's tests."""

from loopback_cloud import cloud, isthmus
from loopback_engines import engines

__all__ = ["cloud", "engines", "isthmus"]
