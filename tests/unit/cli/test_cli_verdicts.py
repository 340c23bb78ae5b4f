"""Verdicts on what the sites answer: values in, findings and rows out."""

from __future__ import annotations

import copy
import datetime
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loopback_cloud import healthy_documents

from isthmus.identity import status, views
from isthmus.identity.findings import Code, Outcome
from isthmus.sites import agent_documents, fanout, inventory, last_good, probe
from isthmus.sites.looking import Answers

NOW = datetime.datetime(2026, 11, 22, 18, 40, 7, tzinfo=datetime.UTC)
SITES = inventory.parse(
    """
sites:
  - {name: paris, role: writer, agent: "http://a:1"}
  - {name: lyon, role: writer, agent: "http://b:1"}
  - {name: madrid, role: replica, agent: "http://c:1"}
""",
    source="sites.yaml",
)
UP = fanout.Result(
    value=probe.IdentityAnswer(url="http://x/v3", version="v3.14", latency_ms=12.0),
    seconds=0.1,
    observed_at=NOW,
)
DOWN: Any = fanout.Result(error="connection refused", seconds=0.1, observed_at=NOW)


def answered(name: str, document: Any) -> Answers:
    parsed = agent_documents.parse(document, site=name)
    answer = probe.AgentAnswer(status=parsed, document=document)
    return Answers(identity=UP, agent=fanout.Result(value=answer, seconds=0.1, observed_at=NOW))


def dead(name: str, kept: Any = None, age: float = 180) -> Answers:
    last = None
    if kept:
        parsed = agent_documents.parse(kept, site=name)
        then = NOW - datetime.timedelta(seconds=age)
        last = last_good.Kept(status=parsed, document=kept, observed_at=then)
    return Answers(identity=DOWN, agent=DOWN, kept=last)


def judged(
    change: Callable[[dict[str, Any]], object] = lambda _: None, **instead: Answers
) -> status.Report:
    documents = copy.deepcopy(healthy_documents())
    change(documents)
    answers = {name: answered(name, document) for name, document in documents.items()}
    return status.report(SITES, {**answers, **instead}, now=NOW)


def codes(report: status.Report) -> list[tuple[str, str | None]]:
    return [(str(finding.code), finding.site) for finding in report.findings]


def test_healthy_sites_have_no_findings():
    report = judged()
    assert (report.outcome, report.findings) == (Outcome.OK, ())
    paris, lyon, madrid = report.sites
    assert (paris.writer, lyon.writer, madrid.writer) == (True, False, False)
    assert paris.quorum == "Primary 3/3"
    assert (madrid.database, madrid.lag_seconds) == ("2/2", 0.2)
    assert madrid.keys == {"token": "a1b2c3d4", "credential": "a1b2c3d4"}
    assert all(site.keys_agree for site in report.sites)


def test_outcomes_are_exit_codes():
    assert [outcome.exit_code for outcome in Outcome] == [0, 1, 2]


def set_in(site: str, path: list[Any], value: Any) -> Callable[[dict[str, Any]], object]:
    def change(documents: dict[str, Any]) -> None:
        inner = documents[site]
        for step in path[:-1]:
            inner = inner[step]
        inner[path[-1]] = value

    return change


def lagging(site: str, seconds: float) -> Callable[[dict[str, Any]], object]:
    def change(documents: dict[str, Any]) -> None:
        documents[site]["databases"][0].update(serving=False, lag_seconds=seconds)

    return change


OTHER_KEYS = {"digest": "ff" * 32, "keys": 3, "primary": 2}


@pytest.mark.parametrize(
    ("change", "code", "site", "outcome"),
    [
        (set_in("lyon", ["databases", 0, "writer"], True), "two-writers", None, "ERROR"),
        (set_in("paris", ["databases", 0, "writer"], False), "no-writer", None, "ERROR"),
        (
            set_in("lyon", ["databases", 0, "cluster", "status"], "non-Primary"),
            "not-primary",
            "lyon",
            "ERROR",
        ),
        (lagging("madrid", 9.4), "replica-lags", "madrid", "WARN"),
        (set_in("madrid", ["databases", 0, "serving"], False), "database-out", "madrid", "WARN"),
        (set_in("lyon", ["databases", 0, "serving"], False), "database-out", "lyon", "ERROR"),
        (
            set_in("madrid", ["databases", 0, "master"], "lyon"),
            "away-from-home",
            "madrid",
            "WARN",
        ),
        (set_in("madrid", ["keys", "token"], OTHER_KEYS), "keys-differ", "madrid", "ERROR"),
        (set_in("lyon", ["keys", "credential"], OTHER_KEYS), "keys-differ", "lyon", "ERROR"),
        (set_in("lyon", ["keys", "token"], {"error": "x"}), "keys-unreadable", "lyon", "WARN"),
        (set_in("madrid", ["queue", "pending"], 3), "queue-waiting", "madrid", "WARN"),
        (set_in("madrid", ["queue"], {"error": "locked"}), "queue-unreadable", "madrid", "WARN"),
    ],
)
def test_each_fault_alone_makes_its_finding_alone(
    change: Any, code: str, site: str | None, outcome: str
):
    report = judged(change)
    assert codes(report) == [(code, site)]
    assert report.outcome == outcome
    finding = report.findings[0]
    assert finding.summary
    assert finding.cause
    assert finding.remedy


def test_clocks_that_differ_are_no_lag_while_the_agent_says_that_the_replica_serves():
    assert codes(judged(set_in("madrid", ["databases", 0, "lag_seconds"], 60.0))) == []


def test_a_dead_site_is_one_error_and_its_row_shows_what_was_last_known():
    report = judged(madrid=dead("madrid", healthy_documents()["madrid"]))
    assert codes(report) == [("site-down", "madrid")]
    row = report.sites[2]
    assert (row.api, row.stale, row.age_seconds) == ("down", True, 180.1)
    assert row.reason == "API and agent: connection refused"
    assert (row.database, row.lag_seconds) == ("2/2", 0.2)
    assert "last answered 3 min ago" in report.findings[0].cause


def test_a_dead_site_that_never_answered_has_no_values():
    row = judged(madrid=dead("madrid")).sites[2]
    assert (row.database, row.writer, row.keys, row.keys_agree, row.age_seconds) == (
        None,
        None,
        {},
        None,
        None,
    )


def test_values_of_a_dead_site_are_not_compared_with_live_ones():
    kept = healthy_documents()["madrid"]
    kept["keys"]["token"] = OTHER_KEYS
    kept["queue"]["pending"] = 3
    assert codes(judged(madrid=dead("madrid", kept))) == [("site-down", "madrid")]


def lyon_alone(documents: dict[str, Any]) -> None:
    documents["lyon"]["databases"][0]["cluster"].update(size=2, members=["lyon", "arbitrator"])


def test_a_dead_writer_leaves_the_writer_unknown_and_the_quorum_thin():
    paris = dead("paris", healthy_documents()["paris"])
    report = judged(lyon_alone, paris=paris)
    assert codes(report) == [
        ("site-down", "paris"),
        ("writer-unknown", None),
        ("quorum-thin", None),
    ]
    assert report.findings[1].cause == "not known about paris; last seen: paris"
    assert report.findings[2].cause == "missing: paris"
    assert report.sites[1].quorum == "Primary 2/3"


def test_after_a_failover_the_writer_is_known_again():
    def failed_over(documents: dict[str, Any]) -> None:
        lyon_alone(documents)
        documents["lyon"]["databases"][0]["writer"] = True

    report = judged(failed_over, paris=dead("paris"))
    assert codes(report) == [("site-down", "paris"), ("quorum-thin", None)]


def test_a_silent_agent_is_a_warning_while_the_api_answers():
    report = judged(madrid=Answers(identity=UP, agent=DOWN))
    assert codes(report) == [("agent-silent", "madrid")]
    assert report.outcome is Outcome.WARN


def test_an_api_that_fails_while_the_agent_answers_is_told_apart():
    live = answered("madrid", healthy_documents()["madrid"])
    report = judged(madrid=Answers(identity=DOWN, agent=live.agent))
    assert codes(report) == [("api-down", "madrid")]


def test_sites_without_agents_are_judged_by_their_api_alone():
    bare = {site.name: Answers(identity=UP) for site in SITES.sites}
    report = status.report(SITES, bare, now=NOW)
    assert (report.outcome, report.databases) == (Outcome.OK, ())


def test_a_refused_login_and_a_missing_region_are_errors():
    live = answered("madrid", healthy_documents()["madrid"])
    refused: Any = fanout.Result(error="401: credentials refused", seconds=0.1, observed_at=NOW)
    report = judged(madrid=Answers(identity=UP, agent=live.agent, login=refused))
    assert codes(report) == [("login-failed", "madrid")]
    login = probe.Login(user="a", project=None, expires_at="", seconds=0.1, endpoints=())
    fine = fanout.Result(value=login, seconds=0.1, observed_at=NOW)
    report = judged(madrid=Answers(identity=UP, agent=live.agent, login=fine))
    assert codes(report) == [("region-missing", "madrid")]


def test_when_no_keys_have_a_majority_no_site_is_blamed():
    report = judged(set_in("madrid", ["keys", "token"], OTHER_KEYS), paris=dead("paris"))
    finding = next(each for each in report.findings if each.code is Code.KEYS_DIFFER)
    assert finding.site is None
    assert [row.keys_agree for row in report.sites] == [None, False, False]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.4, "9.4 s"), (70, "70 s"), (180, "3 min"), (7500, "2 h 5 min"),
     (400000, "4 d")],
)  # fmt: skip
def test_durations_are_short(seconds: float, text: str):
    assert views.duration(seconds) == text


CHANGES = st.lists(
    st.sampled_from(
        [
            set_in(site, path, value)
            for site in ("paris", "lyon", "madrid")
            for path, value in [
                (["databases", 0, "writer"], True),
                (["databases", 0, "writer"], False),
                (["databases", 0, "serving"], False),
                (["databases", 0, "lag_seconds"], 60.0),
                (["databases", 0, "cluster"], None),
                (["databases"], []),
                (["keys"], {}),
                (["keys", "token"], OTHER_KEYS),
                (["queue"], {"pending": 1, "oldest_age_seconds": None}),
            ]
        ]
    ),
    max_size=4,
)


@given(CHANGES, st.sets(st.sampled_from(["paris", "lyon", "madrid"])))
def test_the_outcome_is_that_of_the_worst_finding_and_every_dead_site_has_exactly_one(
    changes: list[Any], down: set[str]
):
    def change(documents: dict[str, Any]) -> None:
        for each in changes:
            try:
                each(documents)
            except (KeyError, IndexError):
                continue

    report = judged(change, **{name: dead(name) for name in down})
    outcomes = [finding.outcome.exit_code for finding in report.findings]
    assert outcomes == sorted(outcomes, reverse=True)
    assert report.outcome.exit_code == max(outcomes, default=0)
    assert [row.site for row in report.sites] == ["paris", "lyon", "madrid"]
    for name in down:
        assert [code for code, site in codes(report) if site == name] == ["site-down"]
    assert report.document()["outcome"] == report.outcome


def test_keys_that_agents_rotate_may_differ_for_a_moment():
    def rotating(documents: dict[str, Any]) -> None:
        documents["madrid"]["keys"]["token"] = OTHER_KEYS
        for document in documents.values():
            document["key_rotation"] = {"token": {"revision": 3}}

    report = judged(rotating)
    assert codes(report) == [("keys-differ", "madrid")]
    assert report.outcome == "WARN"
    assert report.findings[0].remedy == "isthmus identity key list"

    def one_without(documents: dict[str, Any]) -> None:
        rotating(documents)
        documents["madrid"].pop("key_rotation")

    assert judged(one_without).outcome == "ERROR"
