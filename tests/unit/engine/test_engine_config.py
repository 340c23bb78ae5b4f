"""A wrong configuration is refused at the start, with the place and without the secret."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from isthmus import errors
from isthmus.engine import config

SECRET = "never-to-be-shown-0123456789abcdef"


def document(directory: Path) -> dict[str, Any]:
    for name in ("database", "identity", "messaging", "shared"):
        file = directory / name
        file.touch(mode=0o600)
        file.write_text(f"{SECRET}\n")
    return {
        "site": "paris",
        "listen": ["10.99.1.7:8991", "10.98.0.1:8991"],
        "peers": {"lyon": "http://10.99.2.7:8991/", "madrid": "http://10.99.3.7:8991"},
        "database": {
            "reader": "10.99.1.1:3306",
            "writer": "10.99.1.1:3307",
            "user": "engine",
            "password_file": str(directory / "database"),
        },
        "identity": {
            "auth_url": "http://10.99.1.1:5000/v3",
            "username": "isthmus",
            "password_file": str(directory / "identity"),
            "project_name": "service",
            "user_domain_id": "default",
            "project_domain_id": "default",
        },
        "messaging": {"url_file": str(directory / "messaging")},
        "secret_file": str(directory / "shared"),
        "hosts": {"compute1": "http://10.99.1.31:8992"},
        "networks": {
            "vni_range": [4000, 4999],
            "physical_network": "external",
            "tunnel_overhead": 50,
            "underlay_mtu": 1500,
        },
        "timing": {"reconcile_seconds": 10},
        "state": str(directory),
    }


def load(directory: Path, content: Any, mode: int = 0o600) -> config.Config:
    file = directory / "engine.yaml"
    file.touch()
    file.chmod(mode)
    file.write_text(yaml.safe_dump(content))
    return config.load(file)


def test_a_good_file_is_read_with_its_secrets(tmp_path: Path) -> None:
    settings = load(tmp_path, document(tmp_path))
    assert settings.sites == ("lyon", "madrid", "paris")
    assert str(settings.listen[1]) == "10.98.0.1:8991"
    assert settings.peers["lyon"] == "http://10.99.2.7:8991"
    assert settings.database.password.get_secret_value() == SECRET
    assert settings.secret.get_secret_value() == SECRET.encode()
    assert settings.timing.reconcile_seconds == 10
    assert settings.timing.lease_seconds == 1.0


def test_secrets_do_not_show_when_the_configuration_is_printed(tmp_path: Path) -> None:
    assert SECRET not in repr(load(tmp_path, document(tmp_path)))


def test_a_witness_has_neither_messaging_nor_hosts(tmp_path: Path) -> None:
    content = document(tmp_path)
    for name in ("messaging", "hosts", "timing"):
        del content[name]
    settings = load(tmp_path, content)
    assert settings.messaging is None
    assert settings.hosts == {}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"sites": []}, "unknown: sites"),
        ({"listen": []}, "listen: "),
        ({"listen": ["10.99.1.7"]}, "listen.0: should look like ADDRESS:PORT"),
        ({"site": "Paris!"}, "site: should be lower-case"),
        ({"peers": {"lyon": "10.99.2.7"}}, "peers.lyon: the URL should look like http"),
        ({"peers": {"paris": "http://10.99.1.7:8991"}}, "which is this site itself"),
        ({"networks": {"vni_range": [5000, 4000]}}, "networks.vni_range: should be two numbers"),
        ({"networks": {"vni_range": [0, 16777216]}}, "networks.vni_range"),
        ({"timing": {"reconcile_seconds": 0}}, "timing.reconcile_seconds"),
        ({"timing": {"lease_seconds": 0.3}}, "at least twice renew_seconds"),
        ({"state": None}, "state"),
        ({"secret_file": "/nonexistent"}, "No such file"),
    ],
)
def test_a_wrong_field_is_named(tmp_path: Path, change: dict[str, Any], expected: str) -> None:
    with pytest.raises(errors.ConfigurationError) as caught:
        load(tmp_path, {**document(tmp_path), **change})
    assert expected in str(caught.value)
    assert SECRET not in caught.value.describe()


def test_a_missing_field_is_named(tmp_path: Path) -> None:
    content = document(tmp_path)
    del content["database"]["writer"]
    with pytest.raises(errors.ConfigurationError, match=r"missing: database\.writer"):
        load(tmp_path, content)


@pytest.mark.parametrize("name", ["database", "identity", "messaging", "shared"])
def test_a_secret_that_others_can_read_is_refused(tmp_path: Path, name: str) -> None:
    content = document(tmp_path)
    (tmp_path / name).chmod(0o604)
    with pytest.raises(errors.ConfigurationError, match="0604"):
        load(tmp_path, content)


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(errors.ConfigurationError, match="chmod 0600"):
        load(tmp_path, document(tmp_path), mode=0o644)


@pytest.mark.parametrize("text", ["", "- a", "a: [", "just text"])
def test_what_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "engine.yaml"
    file.touch(mode=0o600)
    file.write_text(text)
    with pytest.raises(errors.ConfigurationError, match=r"engine\.yaml"):
        config.load(file)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(errors.ConfigurationError, match="No such file"):
        config.load(tmp_path / "none.yaml")
