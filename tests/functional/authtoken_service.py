"""A service as OpenStack's are: an application behind the filter, loaded by paste, under gunicorn with threads.

Its own process; the configuration file is the environment's AUTHTOKEN_CONFIG.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from isthmus.plugins.authtoken import middleware


def _hello(environ: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
    start("200 OK", [("Content-Type", "text/plain")])
    return [environ["HTTP_X_USER_ID"].encode()]


application = middleware.filter_factory(
    {}, oslo_config_project="service", oslo_config_file=os.environ["AUTHTOKEN_CONFIG"]
)(_hello)
