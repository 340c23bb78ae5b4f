"""`isthmus check` against little sites on the loopback: real HTTP, exit codes, formats, no secrets."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import loopback_cloud
import pytest
import yaml
from loopback_cloud import PASSWORD, TOKEN, Cloud, Ended

from isthmus.checks import gathering, registry
from isthmus.sites import inventory, probe

Isthmus = Callable[..., Ended]
DECLARED = Path(__file__).parents[1] / "identity_config" / "deployment.yaml"


def found(ended: Ended) -> list[tuple[str, str | None]]:
    document = json.loads(ended.out)
    return [(f["check"], f["site"]) for each in document["results"] for f in each["findings"]]


def test_healthy_sites_with_agents_of_an_earlier_release_leave_with_0(
    cloud: Cloud, isthmus: Isthmus
) -> None:
    ended = isthmus("check")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith("check: OK   3 sites, ")
    results = json.loads(isthmus("check", "-f", "json").out)["results"]
    states = {(each["check"], each["site"]): each["state"] for each in results}
    for check in ("token-accepted", "login", "identity-api"):
        assert {states[check, site] for site in cloud.servers} == {"OK"}
    assert states["group-roles", None] == states["catalog-equal", None] == "OK"
    assert states["lockout", "paris"] == "SKIPPED"


def test_a_warning_leaves_with_1(cloud: Cloud, isthmus: Isthmus, monkeypatch: Any) -> None:
    person = {
        "role": {"id": "r", "name": "member"},
        "user": {"id": "u", "name": "ann"},
        "scope": {"project": {"id": "p", "name": "demo"}},
    }
    monkeypatch.setattr(loopback_cloud, "ASSIGNMENTS", [person])
    ended = isthmus("check")
    assert ended.code == 1
    assert "ann (member, project demo)" in ended.out


def test_a_dead_site_is_one_finding_and_leaves_with_2(cloud: Cloud, isthmus: Isthmus) -> None:
    cloud.kill("madrid")
    ended = isthmus("check", "-f", "json")
    assert (ended.code, ended.err) == (2, "")
    assert found(ended) == [("site-reach", "madrid")]
    screen = isthmus("check").out
    assert "skipped  madrid  needs site-reach, which failed: identity-api, agent-answers" in screen


def test_a_hung_site_costs_its_timeout_and_no_more(cloud: Cloud, isthmus: Isthmus) -> None:
    cloud.hang.add("lyon")
    started = time.monotonic()
    ended = isthmus("check", "--timeout", "1")
    # Three rounds of a second and the rim's half second each; a busy machine.
    assert time.monotonic() - started < 15
    assert ended.code == 2
    assert "site-reach  lyon" in ended.out


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_token_that_another_site_refuses_is_found(
    cloud: Cloud, isthmus: Isthmus, status: int
) -> None:
    cloud.of_tokens["madrid"] = status
    ended = isthmus("check", "-f", "json")
    assert ended.code == 2
    assert found(ended) == [("token-accepted", "paris"), ("token-accepted", "lyon")]


@pytest.mark.parametrize("status", [301, 429, 503])
def test_an_answer_that_says_nothing_about_the_token_is_no_verdict(
    cloud: Cloud, isthmus: Isthmus, status: int
) -> None:
    cloud.of_tokens.update(dict.fromkeys(cloud.servers, status))
    ended = isthmus("check", "-f", "json")
    results = json.loads(ended.out)["results"]
    states = {each["state"] for each in results if each["check"] == "token-accepted"}
    assert (ended.code, states) == (0, {"SKIPPED"})


def test_a_login_that_is_refused_is_found_and_what_stands_on_it_skipped(
    cloud: Cloud, isthmus: Isthmus
) -> None:
    cloud.refuse_logins = True
    ended = isthmus("check", "-f", "json")
    assert {check for check, _ in found(ended)} == {"login"}
    results = {each["check"]: each for each in json.loads(ended.out)["results"]}
    assert results["group-roles"]["reason"] == "needs login, which failed"


def test_without_a_login_nobody_is_asked_for_a_token(cloud: Cloud, isthmus: Isthmus) -> None:
    cloud.refuse_logins = True
    ended = isthmus("check", "--no-login")
    assert ended.code == 0
    assert "nobody logged in (--no-login): login" in ended.out


def test_one_site_is_asked_alone(cloud: Cloud, isthmus: Isthmus) -> None:
    cloud.kill("lyon")
    ended = isthmus("check", "--site", "madrid", "-f", "json")
    document = json.loads(ended.out)
    assert (ended.code, document["sites"]) == (0, ["madrid"])
    assert {each["site"] for each in document["results"]} == {"madrid"}
    # The others are shown its token all the same.
    states = {each["check"]: each["state"] for each in document["results"]}
    assert states["token-accepted"] == "OK"


def test_a_choice_of_checks(cloud: Cloud, isthmus: Isthmus) -> None:
    ended = isthmus("check", "--only", "login", "--skip", "site-reach", "-f", "json")
    checks = {each["check"] for each in json.loads(ended.out)["results"]}
    assert checks == {"identity-api", "login"}


@pytest.mark.parametrize("form", ["table", "json", "yaml", "csv", "value"])
def test_every_format_works(cloud: Cloud, isthmus: Isthmus, form: str) -> None:
    cloud.kill("paris")
    ended = isthmus("check", "-f", form)
    assert (ended.code, ended.err) == (2, "")
    readers: dict[str, Callable[[str], Any]] = {"json": json.loads, "yaml": yaml.safe_load}
    assert readers.get(form, len)(ended.out)
    assert "site-reach" in ended.out


def test_rows_are_findings_and_what_became_of_other_checks(cloud: Cloud, isthmus: Isthmus) -> None:
    cloud.kill("paris")
    rows = list(csv.DictReader(io.StringIO(isthmus("check", "-f", "csv").out)))
    assert rows[0]["state"] == "ERROR"
    assert rows[0]["command"] == "isthmus site show paris"
    assert {row["state"] for row in rows} == {"OK", "ERROR", "SKIPPED"}


def test_neither_password_nor_token_is_shown(cloud: Cloud, isthmus: Isthmus) -> None:
    cloud.of_tokens["lyon"] = 404
    for words in (["-f", "json"], ["-vv", "--debug"]):
        ended = isthmus("check", *words)
        assert PASSWORD not in ended.out + ended.err
        assert TOKEN not in ended.out + ended.err


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--only", "nonsense"], 64, "there is no check 'nonsense'"),
        (["--site", "nowhere"], 64, "there is no site 'nowhere'"),
        (["--deployed", "here"], 64, "--deployment and --deployed belong together"),
        (["--site", "paris", "--deployment", "a", "--deployed", "b"], 64, "deployed files too"),
        (["--deployment", "absent.yaml", "--deployed", "here"], 255, "cannot read the file"),
        (["--no-login", "--only", "login", "--skip", "identity-api"], 255, ""),
    ],
)
def test_what_cannot_be_run_says_so(
    cloud: Cloud, isthmus: Isthmus, words: list[str], code: int, told: str
) -> None:
    ended = isthmus("check", *words)
    assert ended.code == code
    assert told in ended.err


def test_no_sites_file_could_not_be_run(tmp_path: Path, cloud: Cloud, isthmus: Isthmus) -> None:
    ended = isthmus("--sites", str(tmp_path / "absent.yaml"), "check")
    assert ended.code == 255
    assert "absent.yaml" in ended.err


def test_a_check_that_is_wrong_leaves_with_255(
    cloud: Cloud, isthmus: Isthmus, monkeypatch: Any
) -> None:
    checks = [
        dataclasses.replace(each, of_site=lambda place: 1 / 0)
        if each.id == "agent-answers"
        else each
        for each in registry.CHECKS
    ]
    monkeypatch.setattr(registry, "CHECKS", tuple(checks))
    ended = isthmus("check")
    assert ended.code == 255
    assert "BROKEN agent-answers  paris" in ended.out


def test_deployed_files_are_held_against_the_declaration(
    cloud: Cloud, isthmus: Isthmus, tmp_path: Path
) -> None:
    words = ["--deployment", str(DECLARED), "--deployed", str(tmp_path), "--only", "configuration"]
    ended = isthmus("check", *words, "-f", "json")
    assert ended.code == 2
    causes = [f["cause"] for each in json.loads(ended.out)["results"] for f in each["findings"]]
    assert "madrid/keystone/keystone.conf is nothing; rendered is a file" in causes
    # The login URL is at no site, and is looked at all the same.
    assert "login/haproxy/haproxy.cfg is nothing; rendered is a file" in causes


def test_the_list_is_the_registry_and_asks_nobody(cloud: Cloud, isthmus: Isthmus) -> None:
    for site in cloud.servers:
        cloud.kill(site)
    ended = isthmus("check", "list", "-f", "value", "-c", "ID")
    assert ended.code == 0
    assert ended.out.split() == [each.id for each in registry.CHECKS]


def test_the_round_of_questions_is_whole(cloud: Cloud) -> None:
    """Every site's token is shown to every other one, and one site lists the assignments."""
    known = inventory.load(str(cloud.sites_file))
    facts = gathering.gather(
        known,
        probe.Clouds(),
        sites=known.sites,
        timeout=5,
        login=True,
        cache=cloud.directory / "cache.json",
        differences=None,
    )
    names = list(cloud.servers)
    assert set(facts.refusals) == {(a, b) for a in names for b in names if a != b}
    assert all(each.ok and each.value is None for each in facts.refusals.values())
    assert facts.assignments is not None
    listed = facts.assignments.result.value
    assert listed is not None
    assert [(each.user, each.group, each.scope) for each in listed] == [
        (None, "operators", "project demo"),
        ("admin", None, "system"),
    ]
