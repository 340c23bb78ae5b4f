"""The configuration of a compute host's agent: what is refused, and in which words."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from isthmus import errors
from isthmus.agent import main
from isthmus.agent.host import config


@pytest.fixture
def document(tmp_path: Path) -> dict[str, Any]:
    return {
        "kind": "host",
        "site": "paris",
        "host": "compute1",
        "listen": ["10.99.1.31:8992", "[fd00::1]:8992"],
        "secret_file": str(tmp_path / "secret"),
        "ovsdb": "unix:/run/openvswitch/db.sock",
        "ovs_run": "/run/openvswitch",
        "state": str(tmp_path / "state"),
    }


def written(path: Path, document: object, mode: int = 0o600) -> Path:
    file = path / "agent.yaml"
    file.write_text(yaml.safe_dump(document))
    file.chmod(mode)
    return file


def test_a_whole_file_is_read(tmp_path: Path, document: dict[str, Any]) -> None:
    found = config.load(written(tmp_path, document))
    assert found.addresses == (("10.99.1.31", 8992), ("fd00::1", 8992))
    assert found.bridges.tunnel == "br-tun"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"site": None}, "site: "),
        ({"colour": "red"}, "colour: Extra inputs are not permitted"),
        ({"listen": ["8992"]}, "'8992' is not ADDRESS:PORT"),
        ({"bridges": {"tunel": "br-tun"}}, "bridges.tunel: "),
        ({"vtep": "host1"}, "vtep: "),
    ],
)
def test_what_is_wrong_is_named_with_its_path(
    tmp_path: Path, document: dict[str, Any], change: dict[str, Any], words: str
) -> None:
    with pytest.raises(errors.ConfigurationError) as refused:
        config.load(written(tmp_path, {**document, **change}))
    assert words in (refused.value.cause or "")


def test_a_file_that_others_can_read_is_refused(tmp_path: Path, document: dict[str, Any]) -> None:
    with pytest.raises(errors.ConfigurationError, match="others can read"):
        config.load(written(tmp_path, document, 0o644))


def test_a_wrong_secret_file_ends_the_program_with_a_sentence(
    tmp_path: Path, document: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    code = main.main(["--config", str(written(tmp_path, document))])
    assert code == errors.ConfigurationError.exit_code
    assert "the shared secret cannot be used" in capsys.readouterr().err


def test_another_kind_is_the_file_of_the_databases_agent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main.main(["--config", str(written(tmp_path, {"kind": "guest"}))])
    assert code == errors.ConfigurationError.exit_code
    assert "unknown: kind" in capsys.readouterr().err
