"""Cinder chooses for the whole process how it does things at once, in its first import, so these tests run in a process of their
own (``pytest tests/unit/plugins_cinder``) and are left out of any other run."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    """Leave these tests out of a run that has others too."""
    folder = config.invocation_params.dir
    asked = [Path(folder, arg.split("::")[0]).resolve() for arg in config.args]
    return None if all(path.is_relative_to(HERE) for path in asked) else True
