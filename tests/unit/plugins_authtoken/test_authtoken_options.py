"""Settings that would let a revoked token live longer are refused at the start."""

from __future__ import annotations

from typing import Any

import pytest
from keystonemiddleware.auth_token import ConfigurationError
from oslo_config import cfg

from isthmus.plugins.authtoken import options

GOOD: dict[str, Any] = {
    "others": {"paris": "http://192.0.2.1:5000", "lyon": "http://192.0.2.2:5000/v3/"},
    "agents": {"lyon": "http://192.0.2.2:8990/", "paris": "http://192.0.2.1:8990"},
    "local_agent": "http://192.0.2.3:8990",
}


def read(token_cache_time: int = 10, **changes: Any) -> options.Settings | None:
    conf = cfg.ConfigOpts()
    conf([], default_config_files=[])
    conf.register_opts(options.OPTIONS, options.GROUP)
    for name, value in {**GOOD, **changes}.items():
        conf.set_override(name, value, options.GROUP)
    return options.read(conf, token_cache_time)


def test_without_others_it_is_the_stock_filter() -> None:
    assert read(others={}, token_cache_time=-1) is None


def test_others_keep_their_order_and_are_v3() -> None:
    settings = read()
    assert settings is not None
    assert [(each.name, each.url, each.agent) for each in settings.others] == [
        ("paris", "http://192.0.2.1:5000/v3", "http://192.0.2.1:8990"),
        ("lyon", "http://192.0.2.2:5000/v3", "http://192.0.2.2:8990"),
    ]


@pytest.mark.parametrize(("cache", "kept"), [(10, 0), (11, 1), (60, 50), (300, 290)])
def test_what_others_say_is_kept_for_the_rest_of_the_bound(cache: int, kept: int) -> None:
    settings = read(token_cache_time=cache)
    assert settings is not None
    assert settings.keep_seconds == kept
    assert settings.keep_seconds + settings.stale_limit + settings.proof_seconds <= cache


@pytest.mark.parametrize("cache", [-1, 0, 9])
def test_a_cache_time_that_others_could_exceed_is_refused_with_the_arithmetic(cache: int) -> None:
    with pytest.raises(ConfigurationError, match=r"5 \+ 5 = 10"):
        read(token_cache_time=cache)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"local_agent": None}, "local_agent is missing"),
        ({"agents": {"paris": "http://192.0.2.1:8990"}}, "no lyon"),
        ({"timeout": 5.0}, "not below proof_seconds"),
        ({"others": {"paris": "192.0.2.1:5000"}}, "not a URL"),
        ({"others": {"paris": "http://192.0.2.1:port"}}, "not a URL"),
        ({"local_agent": "http://u:hunter2@192.0.2.3:8990"}, "holds credentials"),
    ],
)
def test_what_is_missing_or_wrong_is_named(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as refused:
        read(**changes)
    assert "hunter2" not in str(refused.value)
