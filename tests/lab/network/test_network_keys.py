"""Token keys of three real sites, rotated, held, fenced and replaced by commands while users work."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from network_lab import NetworkLab
from users import Users, names

from isthmus.lab import calling, waiting
from isthmus.lab.calling import Call

pytestmark = pytest.mark.lab

# Two steps, each with a round trip, two looks of an agent and the exchange of directories; all sites share this machine.
ROTATED = 30.0
# What Keystone's own cache may say of a token longer than its keys do (`[cache] expiration_time` is 5 s), and as much again.
CACHED = 10.0


@pytest.fixture
def keys(network_lab: NetworkLab) -> Iterator[NetworkLab]:
    """The lab with keys that are looked after, and nothing in flight."""
    settled(network_lab)
    yield network_lab
    network_lab.heal()
    settled(network_lab)


def key(lab: NetworkLab, *words: str) -> Any:
    done = lab.command("identity", "key", *words, timeout=150)
    assert done.returncode in (0, 1), done.stderr
    return done


def token_keys(lab: NetworkLab) -> dict[str, Any]:
    found = json.loads(key(lab, "list", "-f", "json").stdout)["kinds"]
    return next(
        (each for each in found if each["kind"] == "token"),
        {"summary": "nobody", "outcome": "WARN"},
    )


def settled(lab: NetworkLab) -> None:
    def left() -> str | None:
        found = token_keys(lab)
        return None if found["outcome"] == "OK" and not found["in_flight"] else found["summary"]

    waiting.until(left, deadline=60, what="the keys are not settled", where="lab", interval=1.0)


def primary(lab: NetworkLab) -> int:
    phases = {each["phase"]: each["generation"] for each in token_keys(lab)["generations"]}
    return int(phases["primary"])


def login(lab: NetworkLab, name: str) -> Call:
    return calling.at(lab.environment.site(name)).login(lab.account("demo"))


def validated_everywhere(lab: NetworkLab, token: str) -> list[int]:
    return [calling.at(site).validate(token).status for site in lab.sites]


def test_rotations_under_load_refuse_nobody(keys: NetworkLab) -> None:
    before, old = primary(keys), login(keys, "madrid").token
    with Users(keys, names(keys.sites, "check", "login", "image")) as users:
        began = users.now()
        for _ in range(2):
            done = key(keys, "rotate", "--wait", "--timeout", "60")
            assert done.returncode == 0, done.stderr
            assert "complete: 3 of 3 nodes acknowledged" in done.stderr
            users.all_served(after=users.now())
        users.assert_unbothered(began)
    assert primary(keys) == before + 2
    assert validated_everywhere(keys, old) == [200, 200, 200]


def test_a_site_that_is_cut_off_holds_a_rotation_and_everybody_goes_on(keys: NetworkLab) -> None:
    before = primary(keys)
    keys.cut("madrid")
    with Users(keys, names(keys.sites, "check", "login")) as users:
        began = users.now()
        done = key(keys, "rotate", "--wait", "--timeout", "5")
        assert done.returncode == 1
        assert "it waits for madrid" in done.stderr
        assert primary(keys) == before
        keys.heal()
        waiting.until(
            lambda: None if primary(keys) > before else "held", deadline=ROTATED + 30,
            what="the rotation does not go on", where="lab", interval=1.0,
        )  # fmt: skip
        users.assert_unbothered(began)


def test_a_site_that_was_fenced_while_it_was_away_comes_back_without_help(keys: NetworkLab) -> None:
    before = primary(keys)
    keys.cut("madrid")
    key(keys, "fence", "madrid", "--why", "its links are cut")
    for _ in range(2):
        done = key(keys, "rotate", "--wait", "--timeout", "60")
        assert "complete: 2 of 3 nodes acknowledged" in done.stderr
    assert primary(keys) == before + 2
    keys.heal()
    settled(keys)
    tokens = [login(keys, site.name).token for site in keys.sites]
    for token in tokens:
        assert validated_everywhere(keys, token) == [200, 200, 200]


def test_a_site_that_is_kept_out_issues_nothing_says_so_and_validates(keys: NetworkLab) -> None:
    token = login(keys, "paris").token
    key(keys, "fence", "madrid", "--keep", "--why", "it is being looked into")
    waiting.until(
        lambda: None if login(keys, "madrid").status == 503 else "it issues", deadline=ROTATED,
        what="the site is not fenced", where="madrid", interval=0.5,
    )  # fmt: skip
    refused = login(keys, "madrid")
    assert "This site is fenced (it is being looked into)" in refused.said
    assert calling.at(keys.madrid).validate(token).status == 200
    key(keys, "unfence", "madrid", "--wait")
    settled(keys)
    assert login(keys, "madrid").status == 201


def test_a_conductor_that_is_killed_is_followed_by_itself_or_another(keys: NetworkLab) -> None:
    before = primary(keys)
    (writer,) = keys.writers()
    with Users(keys, names(keys.sites, "check", "login")) as users:
        began = users.now()
        key(keys, "rotate")
        keys.kill(f"{writer}/agent")
        keys.resume(f"{writer}/agent")
        waiting.until(
            lambda: None if primary(keys) > before else "not yet", deadline=60,
            what="nobody goes on with the rotation", where="lab", interval=1.0,
        )  # fmt: skip
        users.assert_unbothered(began)


def test_a_replacement_ends_every_token_everywhere(keys: NetworkLab) -> None:
    old = [login(keys, site.name).token for site in keys.sites]
    done = key(keys, "replace", "--why", "rehearsal", "--yes-all-tokens-die", "--wait")
    assert "replacement by generation" in done.stderr
    keys.forget()

    def accepted() -> str | None:
        by = keys.admin
        left = [
            s.name
            for s in keys.sites
            for t in old
            if calling.at(s).validate(t, by=by).status == 200
        ]
        return f"accepted at {', '.join(left)}" if left else None

    waiting.until(accepted, deadline=CACHED, what="old tokens live", where="lab", interval=0.5)
    assert validated_everywhere(keys, login(keys, "lyon").token) == [200, 200, 200]
