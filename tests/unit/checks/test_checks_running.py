"""The run: what stands on a check that did not hold is skipped, and nothing else is; a broken check hides no other."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from checks_world import NOW, World, result
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus import errors
from isthmus.checks import clocks, keystones, registry, releases, running, services
from isthmus.checks.facts import Facts, NotKnownError, Place
from isthmus.checks.running import Report
from isthmus.checks.values import Category, Check, Flaw, State
from isthmus.cli import check_screens
from isthmus.identity import status
from isthmus.identity.findings import Outcome

GOLDEN = Path(__file__).with_name("golden_check.txt")
PAGE = Path(__file__).parents[3] / "docs" / "check-catalogue.rst"
SITES = ("paris", "lyon", "madrid")
HOLDS, WARNS, FAILS, UNKNOWN, BREAKS = "holds", "warns", "fails", "unknown", "breaks"
BEHAVIOURS = (HOLDS, WARNS, FAILS, UNKNOWN, BREAKS)
AFTER = {
    HOLDS: State.OK,
    WARNS: State.WARN,
    FAILS: State.ERROR,
    UNKNOWN: State.SKIPPED,
    BREAKS: State.BROKEN,
}


def behave(how: str, looked: list[Any], what: Any) -> Iterator[Flaw]:
    looked.append(what)
    if how == UNKNOWN:
        raise NotKnownError("nobody knows")
    if how == BREAKS:
        raise KeyError("a fault of the check")
    if how != HOLDS:
        yield Flaw(cause="seen", severity=Outcome.WARN if how == WARNS else Outcome.ERROR)


def of_site(name: str, needs: tuple[str, ...], how: Mapping[str, str], looked: list[Any]) -> Check:
    def look(place: Place) -> Iterator[Flaw]:
        return behave(how[place.name], looked, (name, place.name))

    return _check(name, needs, of_site=look)


def of_all(name: str, needs: tuple[str, ...], how: str, looked: list[Any]) -> Check:
    def look(read: Mapping[str, str], _facts: Facts) -> Iterator[Flaw]:
        return behave(how, looked, (name, *read))

    return _check(name, needs, of_all=look, reads=lambda place: place.name)


def _check(name: str, needs: tuple[str, ...], **look: Any) -> Check:
    return Check(
        id=name,
        title="All is well",
        category=Category.REACH,
        severity=Outcome.ERROR,
        consequence="so",
        remedy="do",
        command="isthmus status",
        needs=needs,
        **look,
    )


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[Check], dict[str, Any], list[Any]]:
    """Checks that need earlier ones, how each behaves, and a list of what was really looked at."""
    looked: list[Any] = []
    checks: list[Check] = []
    behaviours: dict[str, Any] = {}
    for number in range(draw(st.integers(1, 7))):
        name = f"check-{number}"
        needs = tuple(each.id for each in checks if draw(st.booleans()))
        if draw(st.booleans()):
            how: Any = {site: draw(st.sampled_from(BEHAVIOURS)) for site in SITES}
            checks.append(of_site(name, needs, how, looked))
        else:
            how = draw(st.sampled_from(BEHAVIOURS))
            checks.append(of_all(name, needs, how, looked))
        behaviours[name] = how
    return checks, behaviours, looked


@given(graphs(), st.data())
def test_a_check_looks_where_all_that_it_needs_held_and_nowhere_else(
    graph: tuple[list[Check], dict[str, Any], list[Any]], data: st.DataObject
) -> None:
    every, behaviours, looked = graph
    absent = {each.id for each in every if data.draw(st.booleans())}
    checks = [each for each in every if each.id not in absent]
    report = running.run(checks, World().facts())
    found = {(each.check, each.site): each for each in report.results}
    expected: list[Any] = []

    def held(need: str, site: str) -> bool:
        at = found.get((need, site)) or found.get((need, None))
        return need in absent or (at is not None and at.state is State.OK)

    for check in checks:
        free = [site for site in SITES if all(held(need, site) for need in check.needs)]
        if check.of_site:
            expected += [(check.id, site) for site in free]
            for site in SITES:
                state = AFTER[behaviours[check.id][site]] if site in free else State.SKIPPED
                assert found[check.id, site].state is state
        else:
            expected += [(check.id, *free)] if free else []
            state = AFTER[behaviours[check.id]] if free else State.SKIPPED
            mine = found[check.id, None]
            assert mine.state is state
            assert set(mine.left_out) == set(SITES) - set(free)
    assert looked == expected
    for each in report.results:
        assert (each.reason is not None) == (each.state in (State.SKIPPED, State.BROKEN))
        assert bool(each.findings) == (each.state in (State.WARN, State.ERROR))


@given(st.lists(st.sampled_from(BEHAVIOURS), min_size=1, max_size=5))
def test_the_exit_code_is_that_of_the_worst(behaviours: list[str]) -> None:
    looked: list[Any] = []
    checks = [of_all(f"check-{n}", (), how, looked) for n, how in enumerate(behaviours)]
    code = running.run(checks, World().facts()).exit_code
    if BREAKS in behaviours:
        assert code == 255
    elif FAILS in behaviours:
        assert code == 2
    elif WARNS in behaviours:
        assert code == 1
    else:
        assert code == (0 if HOLDS in behaviours else 255)


@given(
    st.lists(st.sampled_from([each.id for each in registry.CHECKS]), max_size=3),
    st.lists(st.sampled_from([each.id for each in registry.CHECKS]), max_size=3),
)
def test_a_choice_brings_what_it_stands_on_and_never_what_was_left_out(
    only: list[str], skip: list[str]
) -> None:
    chosen = running.select(registry.CHECKS, only=only, skip=skip)
    names = [each.id for each in chosen]
    assert names == [each.id for each in registry.CHECKS if each.id in set(names)]
    assert not set(names) & set(skip)
    assert set(only) - set(skip) <= set(names)
    for each in chosen:
        assert set(each.needs) - set(skip) <= set(names)
    if not only:
        assert len(names) == len(registry.CHECKS) - len(set(skip))


@pytest.mark.parametrize("option", ["only", "skip"])
def test_a_check_that_there_is_not_is_named(option: str) -> None:
    with pytest.raises(errors.UsageError) as caught:
        running.select(registry.CHECKS, **{"only": [], "skip": [], option: ["nonsense"]})  # type: ignore[arg-type]
    assert "'nonsense'" in str(caught.value)


def test_a_dead_site_is_one_finding_and_the_rest_says_what_it_waits_for() -> None:
    world = World()
    world.kill("madrid")
    report = world.report()
    assert [(each.check, each.site) for each in report.findings] == [("site-reach", "madrid")]
    at_madrid = [each for each in report.results if each.site == "madrid"]
    rest = [each for each in at_madrid if each.check != "site-reach"]
    assert {each.state for each in rest} == {State.SKIPPED}
    assert {each.reason for each in rest} == {
        "needs site-reach, which failed",
        "needs identity-api, which was skipped",
        "needs login, which was skipped",
        "needs agent-answers, which was skipped",
    }
    over_all = {each.check: each.left_out for each in report.results if each.site is None}
    assert over_all["token-keys"] == {"madrid": "needs agent-answers, which was skipped"}


def test_a_comparison_without_sites_says_each_reason_once() -> None:
    world = World()
    world.kill("madrid")
    for site in ("paris", "lyon"):
        world.documents[site]["keys"] = {}
    keys = next(each for each in world.report("token-keys").results if each.check == "token-keys")
    reasons = ("needs key-repository, which was skipped", "needs agent-answers, which was skipped")
    assert (keys.state, keys.reason) == (State.SKIPPED, "; ".join(reasons))


def test_all_sites_dead_still_says_so() -> None:
    world = World()
    for site in SITES:
        world.kill(site)
    report = world.report()
    assert [each.check for each in report.findings] == ["site-reach"] * 3
    assert report.exit_code == 2


def test_agents_of_an_earlier_release_are_no_fault() -> None:
    world = World()
    for each in world.documents.values():
        for name in ("key_rotation", "key_settings", "settings", "coherence", "time"):
            del each[name]
        del each["agent"]["packages"]
        for database in each["databases"]:
            del database["variables"]
    report = world.report()
    assert report.findings == ()
    assert report.exit_code == 0
    reasons = {each.check: each.reason for each in report.results if each.site == "paris"}
    assert reasons["durability"] == "the agent does not tell how its databases are set"
    assert reasons["cache-times"] == "the agent's release 0.1.0 does not tell settings"


def test_an_agent_that_was_told_of_no_files_says_so() -> None:
    world = World()
    world.documents["paris"]["settings"] = {}
    world.documents["lyon"]["settings"]["keystone"] = {"error": "/k.conf: Permission denied"}
    reasons = {(each.check, each.site): each.reason for each in world.report().results}
    assert reasons["lockout", "paris"] == "the agent was not told where keystone.conf is"
    assert (
        reasons["lockout", "lyon"]
        == "the agent cannot read keystone.conf: /k.conf: Permission denied"
    )


@pytest.mark.parametrize("text", ["soon", "nan", "inf", ""])
def test_what_is_no_number_is_not_judged(text: str) -> None:
    world = World()
    world.options("paris")["identity.cache_time"] = text
    world.options("paris", "glance")["keystone_authtoken.token_cache_time"] = text
    world.options("paris")["token.expiration"] = text
    report = world.report("cache-times", "token-cache-time", "key-formula")
    assert report.findings == ()
    at_paris = {each.check: each.reason for each in report.results if each.site == "paris"}
    assert at_paris["cache-times"] == f"identity.cache_time is no number: {text!r}"
    assert at_paris["token-cache-time"] == f"glance: token_cache_time is no number: {text!r}"
    assert at_paris["key-formula"] == f"token.expiration is no number: {text!r}"


def test_without_a_login_what_needs_one_is_skipped() -> None:
    world = World()
    world.logged_in = False
    world.refusals = {}
    report = world.report()
    assert report.findings == ()
    login = next(each for each in report.results if each.check == "login")
    assert (login.state, login.reason) == (State.SKIPPED, "nobody logged in (--no-login)")


def test_nothing_that_could_be_checked_is_not_all_well() -> None:
    world = World()
    world.logged_in = False
    # What the login stands on is left out, so that nothing at all is known.
    report = world.report("login", skip=("site-reach", "identity-api"))
    assert {each.state for each in report.results} == {State.SKIPPED}
    assert (report.state, report.exit_code) == (State.SKIPPED, 255)


def test_a_broken_check_is_told_and_hides_nothing() -> None:
    world = World()
    world.variables("paris")["innodb_flush_log_at_trx_commit"] = "0"
    broken = _check("broken", (), of_site=lambda place: {}["gone"])
    report = running.run((*registry.CHECKS, broken), world.facts())
    assert [each.check for each in report.findings] == ["durability"]
    assert report.exit_code == 255
    screen = check_screens.report(report)
    assert (
        "BROKEN broken  paris  could not be carried out\n       cause  KeyError: 'gone'" in screen
    )


@settings(max_examples=40)
@given(st.data())
def test_whatever_agents_tell_no_check_breaks(data: st.DataObject) -> None:
    """What comes from another site is input: wrong values are findings, or not known, and never a fault of ours."""
    world = World()
    texts = st.one_of(
        st.text(max_size=12), st.sampled_from(["", "0", "-1", "1e9", "10.11", "²", "ON"])
    )
    numbers = st.floats(min_value=1e-6, max_value=1e12)
    told: list[dict[str, Any]] = []
    for site in SITES:
        told += [each["variables"] for each in world.documents[site]["databases"]]
        told += [world.options(site), world.options(site, "glance")]
        told += [world.documents[site]["agent"]["packages"]]
        token = world.documents[site]["key_settings"]["token"]
        token.update(
            {name: data.draw(numbers) for name in ("expiration", "interval", "clock_skew")}
        )
    for fields in told:
        for name in data.draw(st.lists(st.sampled_from(sorted(fields)), max_size=3)):
            if data.draw(st.booleans()):
                fields[name] = data.draw(texts)
            else:
                fields.pop(name, None)
    report = world.report()
    assert [each.reason for each in report.results if each.state is State.BROKEN] == []
    assert check_screens.report(report)


def troubled() -> Report:
    """A dead site, a stock middleware, an unsafe database and a role for a person."""
    world = World()
    world.kill("madrid")
    world.variables("paris")["innodb_flush_log_at_trx_commit"] = "2"
    del world.options("lyon", "glance")["keystone_authtoken.token_cache_time"]
    world.options("lyon")["DEFAULT.debug"] = "true"
    return world.report()


def test_the_screen_is_as_it_was() -> None:
    """After a change that is meant: write what this test prints into golden_check.txt, and read it."""
    drawn = check_screens.report(troubled())
    assert drawn == GOLDEN.read_text(), drawn


def test_the_page_shows_what_is_printed_and_the_limits_that_count() -> None:
    """The list of checks in it is made from the registry when it is built; the rest is held here."""
    page = PAGE.read_text()
    example = page.split("$ isthmus check\n")[1].split("\n\n(An example")[0]
    printed = {line.strip() for line in GOLDEN.read_text().splitlines()}
    for line in example.splitlines():
        assert line.strip() in {*printed, "..."}, line
    floors = (*releases.MARIADB, *releases.KEYSTONE, *releases.MIDDLEWARE)
    for floor in floors:
        assert ".".join(map(str, floor)) in page
    for limit in (
        status.LAG_LIMIT_SECONDS,
        clocks.WARN_SECONDS,
        keystones.CACHE_LIMIT_SECONDS,
        services.REVOCATION_LIMIT_SECONDS,
    ):
        assert f"     - {limit:g} s\n" in page
    assert keystones.CACHE_LIMIT_SECONDS == services.TOKEN_CACHE_LIMIT_SECONDS
    assert keystones.CACHE_LIMIT_SECONDS == keystones.QUEUE_LIMIT_SECONDS


def test_colours_only_add() -> None:
    report = troubled()
    plain, coloured = (check_screens.report(report, colour=each) for each in (False, True))
    assert coloured != plain
    for sequence in ("\033[31m", "\033[33m", "\033[32m", "\033[0m"):
        coloured = coloured.replace(sequence, "")
    assert coloured == plain


def test_the_document_holds_every_result() -> None:
    report = troubled()
    document = report.document()
    assert (document["time"], document["outcome"]) == ("2026-11-22T18:40:07Z", "ERROR")
    assert document["exit_code"] == 2
    assert len(document["results"]) == len(report.results)
    first = document["results"][2]
    assert first["findings"][0]["cause"].startswith("neither the identity API nor an agent answers")


def test_times_are_told_in_utc() -> None:
    zone = datetime.timezone(datetime.timedelta(hours=2))
    report = Report(time=NOW.astimezone(zone), sites=(), results=())
    assert report.document()["time"] == "2026-11-22T18:40:07Z"


def test_a_check_looks_at_one_site_or_at_all() -> None:
    with pytest.raises(ValueError, match="not at both or none"):
        _check("neither", ())


def test_a_result_of_one_site_alone_compares_nothing_and_says_who_was_left_out() -> None:
    world = World()
    for site in ("lyon", "madrid"):
        world.agents[site] = "connection refused"
    world.refusals = dict.fromkeys(world.refusals, result())
    keys = next(each for each in world.report("token-keys").results if each.check == "token-keys")
    assert keys.state is State.OK
    assert set(keys.left_out) == {"lyon", "madrid"}
