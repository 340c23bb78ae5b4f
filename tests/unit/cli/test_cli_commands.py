"""The command line against little sites on the loopback: formats, exit codes, dead and hung sites."""

from __future__ import annotations

import csv
import importlib
import io
import json
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from loopback_cloud import PASSWORD, TOKEN, Cloud, Ended

from isthmus import errors
from isthmus.cli import main, reports

Isthmus = Callable[..., Ended]
FORMATS = ["table", "json", "yaml", "csv", "value"]


def test_healthy_sites_leave_with_0(cloud: Cloud, isthmus: Isthmus):
    ended = isthmus("status")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith("isthmus: OK   3 sites")


def test_a_dead_site_is_a_row_with_its_reason_and_age(cloud: Cloud, isthmus: Isthmus):
    isthmus("status")
    cloud.kill("madrid")
    ended = isthmus("status")
    assert ended.code == 2
    row = next(line for line in ended.out.splitlines() if line.startswith("madrid"))
    assert row.startswith("madrid  madrid  down !")
    assert "(replica 2/2, lag 0.2 s)  (a1b2c3d4)  (0)" in row
    assert row.endswith(" s old")
    assert "cause  connection refused; its agent last answered" in ended.out


@pytest.mark.parametrize("command", [["status"], ["identity", "status"], ["site", "list"],
                                     ["site", "show", "paris"]])  # fmt: skip
@pytest.mark.parametrize("form", FORMATS)
def test_every_format_works_with_a_dead_site(
    cloud: Cloud, isthmus: Isthmus, command: list[str], form: str
):
    if command[1:2] == ["show"] and form == "csv":
        form = "shell"
    cloud.kill("paris")
    ended = isthmus(*command, "-f", form)
    assert ended.code == (0 if command == ["site", "list"] else 2)
    assert "paris" in ended.out
    assert ended.err == ""
    readers: dict[str, Callable[[str], Any]] = {"json": json.loads, "yaml": yaml.safe_load}
    assert readers.get(form, len)(ended.out)


def test_rows_of_one_thing_need_no_csv(cloud: Cloud, isthmus: Isthmus):
    # cliff has no CSV of one thing, as with every other OpenStack client.
    assert isthmus("site", "show", "paris", "-f", "csv").code == 64


def test_json_holds_everything(cloud: Cloud, isthmus: Isthmus):
    cloud.documents["madrid"]["databases"][0].update(lag_seconds=9.4, serving=False)
    ended = isthmus("status", "-f", "json")
    document = json.loads(ended.out)
    assert (ended.code, document["outcome"]) == (1, "WARN")
    assert [site["site"] for site in document["sites"]] == ["paris", "lyon", "madrid"]
    assert document["databases"][2]["lag_seconds"] == 9.4
    assert document["findings"][0]["code"] == "replica-lags"
    assert yaml.safe_load(isthmus("status", "-f", "yaml").out).keys() == document.keys()


def test_csv_has_one_row_per_thing(cloud: Cloud, isthmus: Isthmus):
    rows = list(csv.DictReader(io.StringIO(isthmus("status", "-f", "csv").out)))
    assert [row["writer"] for row in rows] == ["True", "False", "False"]
    rows = list(csv.DictReader(io.StringIO(isthmus("identity", "status", "-f", "csv").out)))
    assert [row["database"] for row in rows] == [
        "identity-db",
        "identity-db",
        "replica-paris",
        "replica-lyon",
    ]


def test_columns_can_be_chosen(cloud: Cloud, isthmus: Isthmus):
    ended = isthmus("status", "-f", "value", "-c", "site", "-c", "api")
    assert ended.out == "paris up\nlyon up\nmadrid up\n"
    ended = isthmus("status", "-c", "nonsense")
    assert ended.code == 64
    assert "the columns are: site, region" in ended.err


def test_the_databases_have_their_own_screen(cloud: Cloud, isthmus: Isthmus):
    ended = isthmus("identity", "status")
    assert ended.code == 0
    assert [line.split()[:4] for line in ended.out.splitlines()[2:7]] == [
        ["SITE", "DATABASE", "VERDICT", "LAG"],
        ["paris", "identity-db", "serving,", "writer"],
        ["lyon", "identity-db", "serving", "-"],
        ["madrid", "replica-paris", "serving", "0.2"],
        ["madrid", "replica-lyon", "serving", "0.2"],
    ]


def test_a_site_of_which_nothing_is_known_has_a_row_with_its_reason(cloud: Cloud, isthmus: Isthmus):
    cloud.kill("madrid")
    ended = isthmus("identity", "status")
    assert "not known (API and agent: connection refused)" in ended.out


def test_a_hung_site_costs_its_timeout_and_no_more(cloud: Cloud, isthmus: Isthmus):
    isthmus("status")
    cloud.hang.add("lyon")
    started = time.monotonic()
    ended = isthmus("status", "--timeout", "0.5")
    # 0.5 s and half a second of grace; the rest is what a busy machine may take.
    assert time.monotonic() - started < 5
    assert ended.code == 2
    assert "no answer within 0.5 s" in ended.out


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"<html>", "the answer is not JSON"),
        (b'{"site": NaN}', "the answer is not JSON"),
        ([], "the agent's answer is wrong: the document should be an object"),
        ({"site": "lyon"}, "the agent answers for site 'lyon', not for 'madrid'"),
        (b"x" * (2 << 20), "the answer is longer than 1048576 bytes"),
    ],
)
def test_a_wrong_answer_of_an_agent_becomes_a_sentence(
    cloud: Cloud, isthmus: Isthmus, answer: Any, words: str
):
    cloud.documents["madrid"] = answer
    ended = isthmus("status")
    assert ended.code == 1
    assert words in ended.out


def test_an_http_error_becomes_its_words(cloud: Cloud, isthmus: Isthmus):
    cloud.status["madrid"] = 503
    ended = isthmus("status")
    assert ended.code == 2
    assert "503 Service Unavailable" in ended.out


def test_a_site_is_shown_with_its_login_and_catalog_and_without_secrets(
    cloud: Cloud, isthmus: Isthmus
):
    ended = isthmus("site", "show", "madrid", "-f", "json", "--debug")
    shown = json.loads(ended.out)
    assert ended.code == 0
    assert (shown["login"], shown["user"], shown["project"]) == ("ok", "admin", "admin")
    assert shown["catalog_regions"] == ["lyon", "madrid", "paris"]
    assert shown["endpoints"][0]["url"] == f"{cloud.url('madrid')}/v3"
    assert PASSWORD not in ended.out + ended.err
    assert TOKEN not in ended.out + ended.err


def test_refused_credentials_are_told(cloud: Cloud, isthmus: Isthmus):
    cloud.refuse_logins = True
    ended = isthmus("site", "show", "paris")
    assert ended.code == 2
    assert "401: credentials refused" in ended.out
    assert isthmus("site", "show", "paris", "--no-login").code == 0
    assert isthmus("status").code == 0
    assert isthmus("status", "--login").code == 2


def test_a_region_that_the_catalog_lacks_is_told_with_those_it_has(cloud: Cloud, isthmus: Isthmus):
    cloud.regions = ["paris", "lyon"]
    ended = isthmus("site", "show", "madrid")
    assert ended.code == 2
    assert "cause  it has: lyon, paris" in ended.out


def test_a_cloud_that_clouds_yaml_lacks_is_a_row_not_an_exception(cloud: Cloud, isthmus: Isthmus):
    clouds = yaml.safe_load(Path("clouds.yaml").read_text())
    del clouds["clouds"]["madrid"]
    Path("clouds.yaml").write_text(yaml.safe_dump(clouds))
    ended = isthmus("status")
    assert ended.code == 2
    assert "has no cloud 'madrid'" in ended.out


def test_a_broken_clouds_yaml_is_told(cloud: Cloud, isthmus: Isthmus):
    Path("clouds.yaml").write_text("clouds: [")
    ended = isthmus("status")
    assert ended.code == 2
    assert "Skipping config file" in ended.err
    Path("clouds.yaml").write_text("[1]")
    ended = isthmus("status")
    assert ended.code == 78
    assert "clouds.yaml cannot be read" in ended.err


def test_without_sites_the_next_command_is_shown(cloud: Cloud, isthmus: Isthmus):
    cloud.sites_file.unlink()
    ended = isthmus("status")
    assert (ended.code, ended.out) == (78, "")
    assert (
        ended.err
        == """\
error: no site is configured
  where      sites.yaml, {config}/isthmus/sites.yaml, /etc/isthmus/sites.yaml
  cause      none of these files exists
  unchanged  nothing was asked of any site
  try        isthmus lab up      (real sites on this machine; see isthmus lab env)
             or write a sites file beside your clouds.yaml:
               topology: star
               sites:
                 - {{name: paris, role: writer}}
                 - {{name: madrid, role: replica, cloud: madrid, agent: "http://198.51.100.3:8990"}}
""".format(config=cloud.directory / "xdg_config_home")
    )


@pytest.mark.parametrize(
    ("words", "words_of_error"),
    [
        (["site", "show", "rome"], "the sites file has: paris, lyon, madrid"),
        (["status", "--timeout", "never"], "is not between 0 and 600 seconds"),
        (["status", "--nonsense"], "--nonsense"),
        (["sites", "show"], "there is no command 'sites show'"),
        (["statsu"], "isthmus status"),
    ],
)
def test_what_does_not_exist_leaves_with_64(
    cloud: Cloud, isthmus: Isthmus, words: list[str], words_of_error: str
):
    ended = isthmus(*words)
    assert (ended.code, ended.out) == (64, "")
    assert words_of_error in ended.err


def test_the_sites_file_can_be_named_before_or_after_the_command(cloud: Cloud, isthmus: Isthmus):
    cloud.sites_file.rename("other.yaml")
    assert isthmus("--sites", "other.yaml", "site", "list").code == 0
    assert isthmus("site", "list", "--sites", "other.yaml").code == 0


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colours_are_for_terminals_and_never_against_no_color():
    assert reports.colourful(Terminal(), {})
    assert not reports.colourful(Terminal(), {"NO_COLOR": "1"})
    assert not reports.colourful(Terminal(), {"TERM": "dumb"})
    assert not reports.colourful(io.StringIO(), {})


class Failing(main.Application):
    """An application whose command ends in a given way."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def run_subcommand(self, argv: list[str]) -> int:
        raise self.error


def error_classes() -> list[type[errors.IsthmusError]]:
    found, waiting = [], [errors.IsthmusError]
    while waiting:
        found.append(waiting.pop())
        waiting += found[-1].__subclasses__()
    return [kind for kind in found if kind.__module__ == errors.__name__]


def test_every_error_has_an_exit_code_of_its_own_that_is_no_verdict():
    codes = [kind.exit_code for kind in error_classes() if kind is not errors.IsthmusError]
    assert len(set(codes)) == len(codes)
    assert not {0, 1, 2, errors.UNEXPECTED, errors.INTERRUPTED, errors.BROKEN_PIPE} & set(codes)


@pytest.mark.parametrize("kind", error_classes())
def test_every_error_is_worded_and_leaves_with_its_code(
    kind: type[errors.IsthmusError], capsys: pytest.CaptureFixture[str]
):
    error = kind("it failed", where="paris", cause="rain", unchanged="all", next_command="a\nb")
    assert main.main(["status"], Failing(error)) == kind.exit_code
    assert capsys.readouterr().err == (
        "error: it failed\n  where      paris\n  cause      rain\n"
        "  unchanged  all\n  try        a\n             b\n"
    )


def test_the_unforeseen_is_one_line_unless_debug_asks_for_the_trace(
    capsys: pytest.CaptureFixture[str],
):
    assert main.main(["status"], Failing(RuntimeError("a\nb"))) == 70
    assert capsys.readouterr().err == (
        "error: unexpected RuntimeError: a b (--debug shows the trace)\n"
    )
    assert main.main(["--debug", "status"], Failing(RuntimeError("a"))) == 70
    assert "Traceback" in capsys.readouterr().err


def test_an_interrupt_leaves_with_130(capsys: pytest.CaptureFixture[str]):
    assert main.main(["status"], Failing(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_a_reader_that_goes_away_is_no_drama(cloud: Cloud):
    script = (
        "import sys; from isthmus.cli import main, site; application = main.Application();"
        "application.command_manager.add_command('site list', site.List);"
        "sys.exit(main.main(['site', 'list'], application))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        complaint = process.stderr.read()
    assert (process.returncode, complaint) == (errors.BROKEN_PIPE, b"")


def test_commands_are_imported_without_openstacksdk():
    script = (
        "import sys; from isthmus.cli import main, site, status, identity; main.Application();"
        "sys.exit(any(name in sys.modules for name in ('openstack', 'requests', 'yaml')))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert done.returncode == 0


def test_commands_that_are_declared_exist():
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())
    declared = project["project"]["entry-points"]["isthmus.cli"]
    for target in declared.values():
        module, name = target.split(":")
        if module.startswith("isthmus.cli."):
            assert callable(getattr(importlib.import_module(module), name))
