"""The agent's configuration: what is refused, and in which words."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from isthmus import errors
from isthmus.agent import config


@pytest.fixture
def document(tmp_path: Path) -> dict[str, Any]:
    password = tmp_path / "password"
    password.write_text("hidden\n")
    password.chmod(0o600)
    return {
        "site": "madrid",
        "listen": ["127.0.0.1:8990"],
        "writer_preference": ["paris", "lyon"],
        "databases": [
            {"name": "replica-paris", "kind": "replica", "host": "127.0.0.1", "port": 3306,
             "user": "agent", "password_file": str(password), "home": "paris"},
        ],
        "masters": {"paris": {"host": "127.0.0.2", "port": 3306}},
        "replication": {"user": "repl", "password_file": str(password)},
        "key_repositories": {"token": "/keys"},
        "queue": "/queue.sqlite",
        "policy": {"lag_limit_seconds": 7},
    }  # fmt: skip


@pytest.fixture
def load(tmp_path: Path) -> Callable[[object], config.Config]:
    def written(document: object) -> config.Config:
        path = tmp_path / "agent.yaml"
        path.write_text(yaml.safe_dump(document))
        path.chmod(0o600)
        return config.load(path)

    return written


Load = Callable[[object], config.Config]


def test_a_whole_file_is_read(document: dict[str, Any], load: Load) -> None:
    found = load(document)
    assert found.databases[0].account.password == "hidden"
    assert found.policy.lag_limit_seconds == 7
    assert found.policy.home_after_seconds == 30
    assert found.master_at(config.Address(host="127.0.0.2", port=3306)) == "paris"
    assert "hidden" not in repr(found)


def test_files_of_which_some_options_are_told_are_named_by_service(
    document: dict[str, Any], load: Load
) -> None:
    assert load(document).configuration_files == {}
    files = {"keystone": "/etc/keystone/keystone.conf"}
    found = load({**document, "configuration_files": files}).configuration_files
    assert found == {"keystone": Path("/etc/keystone/keystone.conf")}
    with pytest.raises(errors.ConfigurationError) as caught:
        load({**document, "configuration_files": {"keystone": 7}})
    assert "configuration_files.keystone must be a text" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.update(colour="red"), "unknown: colour"),
        (lambda d: d.pop("site"), "missing: site"),
        (lambda d: d["databases"][0].pop("port"), r"missing: databases\[0\].port"),
        (
            lambda d: d["databases"][0].update(kind="spare"),
            "must be one of writer, member, replica",
        ),
        (lambda d: d["databases"][0].update(home="rome"), "home of replica-paris is rome"),
        (lambda d: d["policy"].update(lag_limit_seconds=0), "must be more than 0"),
        (lambda d: d["policy"].update(lag="1"), "unknown: policy.lag"),
        (lambda d: d.update(listen="127.0.0.1:1"), "listen must be a list, found str"),
        (lambda d: d.pop("masters"), "masters and replication are needed"),
        (lambda d: d["databases"].append(d["databases"][0]), "have the same name"),
        (lambda d: d["databases"][0].update(kind="writer"), "does not name madrid"),
        (
            lambda d: d["databases"][0].update(kind="writer", node="madrid-1"),
            "does not name madrid-1",
        ),
        (
            lambda d: d["databases"].extend(
                {**d["databases"][0], "name": name, "kind": "member"} for name in ("a", "b")
            ),
            "two are the same node",
        ),
    ],
)
def test_a_wrong_field_is_named(
    document: dict[str, Any], load: Load, change: Callable[[dict[str, Any]], object], words: str
) -> None:
    change(document)
    with pytest.raises(errors.ConfigurationError, match=words):
        load(document)


def test_a_file_that_others_can_read_is_refused_with_the_remedy(
    document: dict[str, Any], load: Load
) -> None:
    Path(document["replication"]["password_file"]).chmod(0o640)
    with pytest.raises(errors.ConfigurationError, match="mode is 0640") as error:
        load(document)
    assert "chmod 0600" in error.value.describe()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(errors.ConfigurationError, match="No such file"):
        config.load(tmp_path / "none.yaml")


def with_keys(document: dict[str, Any], **changes: Any) -> dict[str, Any]:
    password = document["replication"]["password_file"]
    lifetimes = {"expiration": 3600, "allow_expired_window": 172800, "clock_skew": 60}
    keys = {
        "private_key_file": "/node.pem",
        "nodes": {"madrid": "AAAA", "paris": "BBBB"},
        "writer": {"host": "127.0.0.1", "port": 3307, "user": "agent", "password_file": password},
        "kinds": {"token": lifetimes},
    }
    return {**document, "keys": {**keys, **changes}}


def test_the_keys_are_read(document: dict[str, Any], load: Load) -> None:
    found = load(with_keys(document)).keys
    assert found is not None
    assert found.kinds["token"].lifetime == 176_520  # type: ignore[index]
    assert found.writer.account.password == "hidden"
    assert "hidden" not in repr(found)


LIFETIMES = {"expiration": 3600, "allow_expired_window": 172800, "clock_skew": 60}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"nodes": {"paris": "BBBB"}}, "keys.nodes does not name madrid"),
        ({"kinds": {}}, "keys.kinds must not be empty"),
        ({"kinds": {"jws": LIFETIMES}}, "keys.kinds.jws is none of token, receipt, credential"),
        ({"kinds": {"receipt": LIFETIMES}}, "does not say where the receipt keys are"),
        ({"kinds": {"token": {"expiration": 1}}}, "missing: keys.kinds.token.allow_expired_window"),
        (
            {"kinds": {"token": {**LIFETIMES, "interval": 3600}}},
            r"176520 / 3600 = 49.03.*52 keys, and max_active_keys is 6",
        ),
    ],
)
def test_keys_that_cannot_be_rotated_safely_are_refused(
    document: dict[str, Any], load: Load, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(errors.ConfigurationError, match=words):
        load(with_keys(document, **changes))
