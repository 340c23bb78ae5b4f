"""`isthmus identity config render` and `check`: files, modes, exit codes, screens."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from declared import HERE, SECRETS, Commands, files

from isthmus.identity import rendering
from topologies_declared import ALL, STAR, Shape, public_key, rendered


@pytest.fixture
def commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Commands:
    return Commands(tmp_path, capsys)


def tree(folder: Path) -> dict[str, tuple[int, str]]:
    found = (each for each in folder.rglob("*") if each.is_file())
    return {
        str(each.relative_to(folder)): (each.stat().st_mode & 0o777, each.read_text())
        for each in found
    }


def test_everything_is_written_with_its_mode_and_checks_clean(commands: Commands) -> None:
    ended = commands.render()
    assert (ended.code, ended.err) == (0, "")
    assert tree(commands.out) == {each.path: (each.mode, each.text) for each in files()}
    checked = commands.check()
    assert (checked.code, checked.err) == (0, "")
    compared = len(files()) - 3  # the firewall notes
    assert (
        checked.out
        == f"identity config: OK   {compared} files, 0 differences, passwords compared\n"
    )


def test_rendering_again_changes_nothing(commands: Commands) -> None:
    commands.render()
    before = {path: path.stat().st_mtime_ns for path in commands.out.rglob("*")}
    ended = commands.render("-f", "json")
    assert {row["state"] for row in json.loads(ended.out)} == {"unchanged"}
    assert {path: path.stat().st_mtime_ns for path in commands.out.rglob("*")} == before


def test_a_file_that_differs_is_not_overwritten_and_then_nothing_is_written(
    commands: Commands,
) -> None:
    commands.render()
    changed = commands.out / "lyon/keystone/keystone.conf"
    changed.write_text("mine")
    missing = commands.out / "paris/firewall.txt"
    missing.unlink()
    ended = commands.render()
    assert ended.code == 1
    assert str(changed) in ended.err
    assert "nothing was written" in ended.err
    assert changed.read_text() == "mine"
    assert not missing.exists()
    assert commands.render("--replace").code == 0
    assert tree(commands.out) == {each.path: (each.mode, each.text) for each in files()}


def test_a_mode_that_is_too_open_is_tightened(commands: Commands) -> None:
    commands.render()
    path = commands.out / "paris/keystone/keystone.conf"
    path.chmod(0o644)
    rows = {row["file"]: row["state"] for row in json.loads(commands.render("-f", "json").out)}
    assert rows.pop("paris/keystone/keystone.conf") == "mode tightened"
    assert set(rows.values()) == {"unchanged"}
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_link_in_the_place_of_a_file_is_refused(commands: Commands) -> None:
    commands.render()
    path = commands.out / "paris/keystone/keystone.conf"
    path.unlink()
    elsewhere = commands.folder / "elsewhere"
    elsewhere.write_text("precious")
    path.symlink_to(elsewhere)
    ended = commands.render("--replace")
    assert (ended.code, elsewhere.read_text()) == (1, "precious")


def test_a_place_that_cannot_be_written_is_said(commands: Commands) -> None:
    commands.out.write_text("a file")
    assert commands.render().code == 71


def test_no_leftovers_and_no_secret_on_the_screen(commands: Commands) -> None:
    ended = commands.render()
    assert not list(commands.out.rglob(".*"))
    assert not any(value in ended.out + ended.err for value in SECRETS.values())


def test_open_or_missing_secrets_are_refused(commands: Commands) -> None:
    commands.secrets.chmod(0o640)
    ended = commands.render()
    assert ended.code == 78
    assert "chmod 0600" in ended.err
    assert not commands.out.exists()
    commands.secrets.unlink()
    assert commands.render().code == 78


def test_federation_is_refused_and_nothing_is_written(commands: Commands) -> None:
    ended = commands.render(topology="federated")
    assert ended.code == 64
    assert "rendered are: star, cluster, multi-cluster, centralized" in ended.err
    assert not commands.out.exists()


def test_another_topology_than_that_of_the_sites_file_is_refused(commands: Commands) -> None:
    ended = commands.render(topology="cluster")
    assert ended.code == 78
    assert "it says star, asked for is cluster" in ended.err
    assert not commands.out.exists()


@pytest.mark.parametrize("shape", ALL, ids=lambda shape: str(shape.topology))
def test_every_topology_is_written_and_checks_clean(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], shape: Shape
) -> None:
    commands = Commands(tmp_path, capsys, shape)
    ended = commands.render("--provider", str(shape.provider), topology=str(shape.topology))
    assert (ended.code, ended.err) == (0, "")
    assert tree(commands.out) == {each.path: (each.mode, each.text) for each in rendered(shape)}
    checked = commands.check("--provider", str(shape.provider), topology=str(shape.topology))
    assert (checked.code, checked.err) == (0, "")
    assert "0 differences, passwords compared" in checked.out


def test_a_public_key_that_is_missing_another_or_not_declared_is_unsafe(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commands = Commands(tmp_path, capsys, STAR)
    commands.render("--provider", "jws")
    keys = commands.out / "madrid" / rendering.PUBLIC_KEYS
    (lyon,) = keys.glob("lyon-*.pem")
    (paris,) = keys.glob("paris-*.pem")
    lyon.unlink()
    paris.write_text(public_key("somebody"))
    (keys / "extra.pem").write_text(public_key("stranger"))
    ended = commands.check("--provider", "jws", "--format", "json")
    assert ended.code == 2
    found = {row["file"].rpartition("/")[2]: row for row in json.loads(ended.out)["differences"]}
    assert set(found) == {lyon.name, paris.name, "extra.pem"}
    assert {row["outcome"] for row in found.values()} == {"ERROR"}
    assert "are refused at this site" in found[lyon.name]["consequence"]
    assert "are refused at this site" in found[paris.name]["consequence"]
    assert "nothing has to be restarted" in found[paris.name]["remedy"]
    assert "issues tokens for anybody" in found["extra.pem"]["consequence"]
    # The same key with other line ends and words around it is no difference.
    lyon.write_text("# of Lyon\n" + public_key("lyon").replace("\n", "\r\n"))
    again = commands.check("--provider", "jws", "--format", "json")
    assert lyon.name not in again.out


def test_a_private_key_among_the_public_ones_is_told_and_not_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commands = Commands(tmp_path, capsys, STAR)
    commands.render("--provider", "jws")
    (key,) = (commands.out / "lyon" / rendering.PUBLIC_KEYS).glob("lyon-*.pem")
    key.write_text("-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----\n")
    ended = commands.check("--provider", "jws")
    assert ended.code == 2
    assert "no public key" in ended.out
    assert "hunter2" not in ended.out


def damaged(commands: Commands) -> None:
    """Two unsafe differences, one that is not."""
    commands.render()
    for path, old, new in (
        (
            "madrid/keystone/keystone.conf",
            "s3cret%2Fdb%3Aone@10.99.3.1:3307",
            "hunter2@10.99.3.1:3307",
        ),
        ("madrid/authtoken/glance.conf", "token_cache_time = 10", "token_cache_time = 300"),
        ("lyon/keystone/keystone.conf", "max_pool_size = 4", "max_pool_size = 50"),
    ):
        file = commands.out / path
        assert old in file.read_text()
        file.write_text(file.read_text().replace(old, new))


def test_differences_look_like_this(commands: Commands) -> None:
    damaged(commands)
    ended = commands.check()
    assert ended.code == 2
    assert ended.out == (HERE / "golden_check.txt").read_text()


def test_warnings_alone_leave_with_1(commands: Commands) -> None:
    damaged(commands)
    assert commands.check("--site", "lyon").code == 1
    assert commands.check("--site", "paris").code == 0


def test_json_holds_everything_but_secrets(commands: Commands) -> None:
    damaged(commands)
    ended = commands.check("--format", "json")
    document = json.loads(ended.out)
    assert (document["outcome"], document["secrets_compared"]) == ("ERROR", True)
    assert [each["outcome"] for each in document["differences"]] == ["ERROR", "ERROR", "WARN"]
    password = next(each for each in document["differences"] if "password" in each["setting"])
    assert (password["expected"], password["actual"]) == ("(a secret)", "(a secret)")
    assert not any(value in ended.out for value in (*SECRETS.values(), "hunter2"))


@pytest.mark.parametrize("form", ["csv", "yaml", "value", "json", "table"])
def test_every_format_works(commands: Commands, form: str) -> None:
    damaged(commands)
    ended = commands.check("-f", form)
    assert (ended.code, ended.err) == (2, "")
    assert "token_cache_time" in ended.out
    assert "hunter2" not in ended.out


def test_passwords_are_compared_only_with_the_secrets(commands: Commands) -> None:
    damaged(commands)
    ended = commands.check("--site", "madrid", secrets=False)
    assert "password" not in ended.out.partition("\n")[2]
    assert "passwords not compared" in ended.out


def test_one_file_is_held_where_it_is_deployed(commands: Commands) -> None:
    damaged(commands)
    place = commands.folder / "etc-keystone.conf"
    os.link(commands.out / "lyon/keystone/keystone.conf", place)
    ended = commands.check("--file", f"lyon/keystone/keystone.conf={place}")
    assert ended.code == 1
    assert "1 file, 1 difference," in ended.out
    assert commands.check("--file", f"lyon/nothing={place}").code == 64
    assert commands.check("--site", "nantes").code == 64


def test_what_was_not_gathered_is_an_error(commands: Commands) -> None:
    commands.render()
    (commands.out / "madrid/mariadb/replica-lyon.cnf").unlink()
    ended = commands.check()
    assert ended.code == 2
    assert "what is deployed is not known" in ended.out
