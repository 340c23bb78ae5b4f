"""The sites file: what is accepted, and how each mistake is worded."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from isthmus import errors
from isthmus.sites import inventory
from isthmus.sites.inventory import Role, Topology

GOOD = """\
topology: star
login_url: http://10.98.0.100:5000/v3
sites:
  - {name: paris, region: paris, role: writer, cloud: paris, agent: "http://10.98.0.1:8990/",
     engine: "http://10.98.0.1:8991/"}
  - {name: madrid, role: replica}
"""


def test_a_full_file_is_read_with_its_defaults():
    known = inventory.parse(GOOD, source="sites.yaml")
    assert known.topology is Topology.STAR
    assert known.login_url == "http://10.98.0.100:5000/v3"
    paris, madrid = known.sites
    assert paris.agent == "http://10.98.0.1:8990"
    assert (paris.engine, madrid.engine) == ("http://10.98.0.1:8991", None)
    assert (madrid.region, madrid.cloud, madrid.agent) == ("madrid", "madrid", None)
    assert madrid.role is Role.REPLICA
    assert known.writers == (paris,)


def test_the_example_that_is_shown_is_a_valid_file():
    assert len(inventory.parse(inventory.EXAMPLE, source="example").sites) == 2


@pytest.mark.parametrize(
    ("text", "where", "cause"),
    [
        ("", "s.yaml", "it should hold a mapping"),
        ("[1]", "s.yaml, line 1", "expected a mapping with the fields: sites, topology"),
        ("a: b: c", "s.yaml, line 1", "mapping values are not allowed"),
        ("topology: star", "s.yaml, line 1", "'sites' is missing"),
        ("sites: paris", "line 1, field 'sites'", "should be a list"),
        ("sites: []", "field 'sites'", "at least one site"),
        ("sites:\n  - paris", "line 2, site 1", "expected a mapping with the fields: name"),
        ("sites:\n  - {role: writer}", "line 2, site 1", "'name' is missing"),
        ("sites:\n  - {name: paris}", "line 2, site 1", "'role' is missing"),
        ("sites:\n  - {name: Paris, role: writer}", "field 'name'", "lower-case letters"),
        ("sites:\n  - {name: 7, role: writer}", "field 'name'", "expected some text"),
        ("sites:\n  - {name: p, role: master}", "field 'role'", "one of: writer, replica"),
        ("sites:\n  - {name: p, role: no}", "field 'role'", "expected some text"),
        ("sites:\n  - {name: p, role: writer, rol: x}", "site 1", "'rol' is not one of: name"),
        ("sites:\n  - {name: p, role: writer, role: writer}", "site 1", "stands twice"),
        ("topology: ring\nsites:\n  - {name: p, role: writer}", "'topology'", "one of: star"),
        ("sites:\n  - {name: p, role: writer, agent: 'p:8990'}", "field 'agent'", "http://"),
        ("sites:\n  - {name: p, role: writer, agent: 'http://p:x'}", "field 'agent'", "not a URL"),
        ("sites:\n  - {name: p, role: writer, engine: 'p:8991'}", "field 'engine'", "http://"),
        (
            "sites:\n  - {name: p, role: writer}\n  - {name: p, role: writer}",
            "line 3, site 'p', field 'name'",
            "already in line 2",
        ),
        (
            "sites:\n  - {name: p, role: writer, region: r}\n"
            "  - {name: q, role: replica, region: r}",
            "line 3, site 'q', field 'region'",
            "already in line 2",
        ),
    ],
)
def test_a_mistake_is_told_with_its_place_and_cause(text: str, where: str, cause: str):
    with pytest.raises(errors.ConfigurationError) as caught:
        inventory.parse(text, source="s.yaml")
    assert where in (caught.value.where or "")
    assert cause in (caught.value.cause or "")
    assert caught.value.next_command


def test_a_password_in_a_url_is_refused_and_not_repeated():
    text = "sites:\n  - {name: p, role: writer, agent: 'http://me:secret@p:8990'}"
    with pytest.raises(errors.ConfigurationError) as caught:
        inventory.parse(text, source="s.yaml")
    assert "clouds.yaml" in (caught.value.cause or "")
    assert "secret" not in caught.value.describe()


def test_a_site_that_does_not_exist_is_answered_with_those_that_do():
    with pytest.raises(errors.UsageError) as caught:
        inventory.parse(GOOD, source="s.yaml").site("rome")
    assert "paris, madrid" in (caught.value.cause or "")


def test_a_named_file_is_never_replaced_by_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Path("sites.yaml").write_text(GOOD)
    with pytest.raises(errors.ConfigurationError, match="no site is configured"):
        inventory.load("other.yaml", {})
    with pytest.raises(errors.ConfigurationError, match="no site is configured"):
        inventory.load(None, {"ISTHMUS_SITES": "other.yaml"})
    assert inventory.load(None, {}).source == "sites.yaml"


def test_the_search_order_is_option_environment_here_home_system():
    environment = {"ISTHMUS_SITES": "/b", "XDG_CONFIG_HOME": "/home/config"}
    assert inventory.candidates("/a", environment) == [Path("/a")]
    assert inventory.candidates(None, environment) == [Path("/b")]
    del environment["ISTHMUS_SITES"]
    assert inventory.candidates(None, environment) == [
        Path("sites.yaml"),
        Path("/home/config/isthmus/sites.yaml"),
        Path("/etc/isthmus/sites.yaml"),
    ]


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path):
    with pytest.raises(errors.ConfigurationError) as caught:
        inventory.load(str(tmp_path), {})
    assert caught.value.cause == "Is a directory"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["sites", "topology", "name", "role", "agent", "x"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@given(VALUES)
def test_any_document_is_either_read_or_refused_in_our_words(value: object):
    with contextlib.suppress(errors.ConfigurationError):
        assert inventory.parse(yaml.safe_dump(value), source="s.yaml").sites


@given(st.text(max_size=60))
def test_any_text_is_either_read_or_refused_in_our_words(text: str):
    with contextlib.suppress(errors.ConfigurationError):
        assert inventory.parse(text, source="s.yaml").sites
