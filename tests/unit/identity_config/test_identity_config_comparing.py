"""What is a difference, what is none, how bad each is, and that no secret is in any of them."""

from __future__ import annotations

import dataclasses
import re

import pytest
from declared import SECRETS, file, files, star
from hypothesis import given
from hypothesis import strategies as st

from isthmus.identity import comparing, consequences, rendering
from isthmus.identity.comparing import Deployed, Difference
from isthmus.identity.consequences import Rule, Unsafe
from isthmus.identity.findings import Outcome
from isthmus.identity.rendering import File, Kind
from topologies_declared import ALL
from topologies_declared import rendered as rendered_of

KEYSTONE = "madrid/keystone/keystone.conf"
NODE = "paris/mariadb/identity-db.cnf"
REPLICA = "madrid/mariadb/replica-lyon.cnf"
AUTHTOKEN = "madrid/authtoken/nova.conf"
HAPROXY = "madrid/haproxy/haproxy.cfg"


def compared(
    one: File, text: str, *, mode: int | None = None, with_secrets: bool = True
) -> list[Difference]:
    deployed = Deployed(text=text, mode=one.mode if mode is None else mode)
    return comparing.compare(one, deployed, with_secrets=with_secrets)


@pytest.mark.parametrize("path", [each.path for each in files()])
def test_a_file_does_not_differ_from_itself(path: str) -> None:
    assert compared(file(path), file(path).text) == []


# --- Every rule, broken alone -------------------------------------------------------------------------------

# Rules for settings that are not rendered: what to add to which section.
ADDED = {
    (Kind.KEYSTONE, "DEFAULT.insecure_debug"): "[DEFAULT]\ninsecure_debug = true\n",
    (Kind.AUTHTOKEN, "keystone_authtoken.insecure"): "[keystone_authtoken]\ninsecure = True\n",
    (Kind.NODE, "mariadbd.binlog_ignore_db"): "[mysqld]\nbinlog-ignore-db = keystone\n",
    (Kind.NODE, "mariadbd.innodb_flush_log_at_trx_commit"): "[mysqld]\ninnodb_flush_log_at_trx_commit=2\n",
    (Kind.REPLICA, "mariadbd.slave_skip_errors"): "[mariadb]\nslave_skip_errors = all\n",
    (Kind.FOLLOWER, "mariadbd.slave_skip_errors"): "[mariadb]\nslave_skip_errors = all\n",
    (Kind.FOLLOWER, "mariadbd.innodb_flush_log_at_trx_commit"): "[mysqld]\ninnodb_flush_log_at_trx_commit=2\n",
}  # fmt: skip

RULES = [
    (kind, rule)
    for kind in consequences.RULES
    for rule in (
        *consequences.RULES[kind],
        *(consequences._DATABASE if kind in consequences.DATABASES else ()),
    )
]


# Of all topologies and kinds of tokens.
EVERY = (*files(), *(one for shape in ALL for one in rendered_of(shape)))


def rendered(kind: Kind, rule: Rule) -> tuple[File, str] | None:
    """A rendered setting that this rule judges."""
    for one in EVERY:
        if one.kind is kind:
            for name in comparing.settings(kind, one.text):
                if consequences.rule(kind, name) is rule:
                    return one, name
    return None


def other_value(old: str, *, up: bool = True) -> str:
    number = consequences.number(old)
    if number is not None:
        return str(int(number * 100 + 7)) if up else "1" if number > 1 else "0.1"
    return {"true": "false", "false": "true", "ON": "OFF", "PT3S": "PT9S"}.get(old, "another")


PARTS = "slave_connection|connection|wsrep_provider_options|options"


def broken(one: File, name: str, *, up: bool = True) -> str:
    """The text with exactly this setting changed."""
    if one.kind is Kind.HAPROXY:
        section = name.split(".", 1)[0]
        line = comparing.settings(one.kind, one.text)[name].text
        head, found, tail = one.text.partition(f"{section}\n")
        assert found
        assert f"  {line}\n" in tail
        return head + found + tail.replace(f"  {line}\n", f"  {line} changed\n", 1)
    part = re.fullmatch(rf"(?:(\w+)\.)?({PARTS})\.(.+)", name)
    plain = re.fullmatch(r"(?:(\w+)\.)?(\w+)", name)
    if one.kind is Kind.PUBLIC_KEY:
        return one.text.replace("M", "N", 1)
    named = part or plain
    assert named, name
    section, key = named[1], named[2]
    head, found, tail = one.text.partition(f"[{section}]\n") if section else ("", "", one.text)
    line = re.search(rf"^{key} = (.*)$", tail, re.MULTILINE)
    assert line, name
    new = changed_part(line[1], part[3], up=up) if part else other_value(line[1], up=up)
    return head + found + tail[: line.start(1)] + new + tail[line.end(1) :]


def changed_part(value: str, part: str, *, up: bool) -> str:
    """A compound value with one of its parts changed."""
    places = {
        "scheme": (r"mysql\+", "other+"),
        "user": (r"keystone:", "other:"),
        "password": (r":[^:@/]+@", ":changed@"),
        "address": (r"@10\.99", "@10.77"),
        "schema": (r"/keystone\?", "/other?"),
    }
    if part in places:
        return re.sub(*places[part], value, count=1)
    option = re.compile(rf"({re.escape(part)}=)([^;&\"]+)")
    return option.sub(lambda match: match[1] + other_value(match[2], up=up), value)


@pytest.mark.parametrize(("kind", "rule"), RULES, ids=[f"{k}-{r.name}"[:60] for k, r in RULES])
def test_each_rule_speaks_when_its_setting_alone_is_broken(kind: Kind, rule: Rule) -> None:
    target = rendered(kind, rule)
    if target is not None:
        one, name = target
        text = broken(one, name, up=rule.unsafe is not Unsafe.LOWER)
    else:
        name = next(n for k, n in ADDED if k is kind and consequences.rule(kind, n) is rule)
        one = next(each for each in EVERY if each.kind is kind)
        text = f"{one.text}\n{ADDED[kind, name]}"
    assert text != one.text
    found = compared(one, text)
    assert [each.setting for each in found] == [name]
    assert found[0].consequence == rule.consequence
    unsafe = rule.unsafe is not Unsafe.NONE
    assert found[0].outcome is (Outcome.ERROR if unsafe else Outcome.WARN)
    assert one.path in found[0].remedy


def test_every_rendered_setting_has_a_rule() -> None:
    sizing = {f"mariadbd.{name}" for name in star().sizing}
    for one in EVERY:
        if one.kind is Kind.FIREWALL:
            continue
        for name in comparing.settings(one.kind, one.text):
            assert name in sizing or consequences.rule(one.kind, name), (one.path, name)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (KEYSTONE, "token.expiration"),
        (KEYSTONE, "cache.expiration_time"),
        (KEYSTONE, "database.connection.read_timeout"),
        (KEYSTONE, "security_compliance.lockout_failure_attempts"),
        (AUTHTOKEN, "keystone_authtoken.token_cache_time"),
        (REPLICA, "mariadbd.slave_net_timeout"),
    ],
)
def test_the_safe_direction_is_a_warning(path: str, name: str) -> None:
    found = compared(file(path), broken(file(path), name, up=False))
    assert [(each.setting, each.outcome) for each in found] == [(name, Outcome.WARN)]


@pytest.mark.parametrize("value", ["0", "-1", "300", "soon"])
def test_a_cache_time_that_is_zero_negative_longer_or_no_number_is_unsafe(value: str) -> None:
    text = file(AUTHTOKEN).text.replace("token_cache_time = 10", f"token_cache_time = {value}")
    (found,) = compared(file(AUTHTOKEN), text)
    assert (found.outcome, found.expected, found.actual) == (Outcome.ERROR, "10", value)


def test_keys_that_are_kept_for_too_short_are_unsafe_and_too_long_are_not() -> None:
    text = file(KEYSTONE).text
    section = "[fernet_tokens]\nkey_repository = /etc/keystone/fernet-keys\nmax_active_keys = "
    for value, outcome in (("3", Outcome.ERROR), ("9", Outcome.WARN)):
        (found,) = compared(file(KEYSTONE), text.replace(f"{section}4", f"{section}{value}"))
        assert (found.setting, found.outcome) == ("fernet_tokens.max_active_keys", outcome)


# --- What is none -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "old", "new"),
    [
        (KEYSTONE, "[token]\nprovider = fernet\n", "# a comment\n[token]\n\nprovider=fernet\n; more\n"),
        (KEYSTONE, "enabled = true", "enabled = True"),
        (KEYSTONE, "memcache_socket_timeout = 0.5", "memcache_socket_timeout = 0.50"),
        (KEYSTONE, "[token]", "[oslo_policy]\nenforce_scope = true\n[token]"),
        (KEYSTONE, "[token]\n", "[token]\ncache_time = 5\n"),
        (KEYSTONE, "[token]\nprovider = fernet", "[token]\nprovider = jws\nprovider = fernet"),
        (NODE, "[mariadbd]", "[mysqld]"),
        (NODE, "wsrep_on = ON", "[mariadb-10.11]\nwsrep_on = ON"),
        (NODE, "wsrep_on = ON", "wsrep-on=1   # joined"),
        (NODE, "innodb_buffer_pool_size = 256M", "innodb_buffer_pool_size = 268435456"),
        (NODE, "[mariadbd]", "[client]\nport = 1\n[mariadbd]\ninnodb_flush_log_at_trx_commit = 1"),
        (REPLICA, "skip_name_resolve = ON", "skip-name-resolve"),
        (HAPROXY, "  timeout connect 2s", "    # patience\n    timeout   connect 2s"),
        (HAPROXY, "frontend identity", "listen own\n  bind 127.0.0.1:9000\nfrontend identity"),
    ],
)  # fmt: skip
def test_another_spelling_is_no_difference(path: str, old: str, new: str) -> None:
    assert old in file(path).text
    assert compared(file(path), file(path).text.replace(old, new, 1)) == []


def test_tables_that_are_replicated_may_stand_in_any_order_but_none_may_be_missing() -> None:
    lines = [line for line in file(REPLICA).text.splitlines() if line.startswith("replicate_wild")]
    assert len(lines) == 3
    body = "\n".join(line for line in file(REPLICA).text.splitlines() if line not in lines)
    assert compared(file(REPLICA), "\n".join([body, *reversed(lines)])) == []
    (found,) = compared(file(REPLICA), "\n".join([body, *lines[:2]]))
    assert (found.setting, found.outcome) == ("mariadbd.replicate_wild_do_table", Outcome.ERROR)


def test_a_setting_that_is_missing_is_a_difference() -> None:
    text = file(KEYSTONE).text.replace("lockout_duration = 60\n", "")
    (found,) = compared(file(KEYSTONE), text)
    assert (found.expected, found.actual, found.outcome) == ("60", None, Outcome.ERROR)


def test_a_cache_time_of_another_section_counts_if_it_is_longer() -> None:
    (found,) = compared(file(KEYSTONE), file(KEYSTONE).text + "\n[role]\ncache_time = 600\n")
    assert (found.setting, found.outcome) == ("role.cache_time", Outcome.ERROR)
    assert found.remedy.startswith("take role.cache_time out")


def test_a_line_more_in_a_rendered_section_of_the_balancer_is_a_difference() -> None:
    added = file(HAPROXY).text.replace(
        "backend writer\n", "backend writer\n  server x 10.9.9.9:3306\n", 1
    )
    (found,) = compared(file(HAPROXY), added)
    assert (found.setting, found.expected, found.outcome) == (
        "backend writer.server x",
        None,
        Outcome.ERROR,
    )


def test_includes_are_not_followed_and_said_so() -> None:
    (found,) = compared(file(NODE), "!includedir /etc/mysql/conf.d\n" + file(NODE).text)
    assert (found.setting, found.outcome) == ("!include", Outcome.WARN)


def test_a_file_that_is_not_there_is_an_error() -> None:
    (found,) = comparing.compare(
        file(NODE), Deployed(text=None, reason="there is no x"), with_secrets=True
    )
    assert found.outcome is Outcome.ERROR
    assert "there is no x" in found.consequence


@pytest.mark.parametrize(
    ("mode", "wrong"), [(0o600, 0), (0o640, 0), (0o660, 1), (0o644, 1), (0o604, 1)]
)
def test_a_file_with_a_password_that_others_may_read_is_an_error(mode: int, wrong: int) -> None:
    found = compared(file(KEYSTONE), file(KEYSTONE).text, mode=mode)
    assert [each.setting for each in found] == ["mode"] * wrong
    assert compared(file(HAPROXY), file(HAPROXY).text, mode=0o644) == []


# --- Secrets ------------------------------------------------------------------------------------------------

PLACES = [
    (KEYSTONE, "s3cret%2Fdb%3Aone", "database.connection.password"),
    (NODE, "sst:s3cret-two", "mariadbd.wsrep_sst_auth"),
    (AUTHTOKEN, "s3cret-four", "keystone_authtoken.password"),
]


@pytest.mark.parametrize(("path", "old", "setting"), PLACES)
def test_a_secret_that_differs_is_told_and_not_shown(path: str, old: str, setting: str) -> None:
    new = "sst:hunter2" if old.startswith("sst") else "hunter2"
    found = compared(file(path), file(path).text.replace(old, new, 1))
    assert [each.setting for each in found] == [setting]
    assert found[0].outcome is Outcome.ERROR
    shown = repr(found)
    assert "hunter2" not in shown
    assert not any(value in shown for value in (*SECRETS.values(), "s3cret"))


@pytest.mark.parametrize(("path", "old", "setting"), PLACES)
def test_without_the_secrets_at_hand_they_are_not_compared(
    path: str, old: str, setting: str
) -> None:
    new = "sst:hunter2" if old.startswith("sst") else "hunter2"
    text = file(path).text.replace(old, new)
    assert compared(file(path), text, with_secrets=False) == []


around = st.text(st.sampled_from("abz019:/@?=&%;#[] \t$\\\"'.-"), max_size=12)


# Where a password stands: the file, the line, and what the line becomes.
LINES = [
    (KEYSTONE, r"^connection = .*$", "connection = {}"),
    (
        KEYSTONE,
        r"^slave_connection = .*$",
        "slave_connection = mysql+pymysql://keystone:{}@10.99.3.1/keystone",
    ),
    (AUTHTOKEN, r"^password = .*$", "password = {}"),
    (AUTHTOKEN, r"^auth_url = .*$", "auth_url = http://me:{}@10.99.3.1:5000/v3"),
    (NODE, r"^wsrep_sst_auth = .*$", "wsrep_sst_auth = {}"),
    (HAPROXY, r"^global$", "global\n  stats auth {}"),
]


@given(around, around, st.sampled_from(LINES))
def test_no_password_is_shown_whatever_stands_around_it(
    before: str, after: str, place: tuple[str, str, str]
) -> None:
    path, pattern, line = place
    if "auth_url" in line:
        # A password may not hold these in clear in a URL; then it would be no URL that a service could use.
        before, after = (re.sub(r"[/@\s]", "", each) for each in (before, after))
    new = line.format(f"{before}hunter2{after}")
    text = re.sub(pattern, lambda _: new, file(path).text, count=1, flags=re.MULTILINE)
    assert "hunter2" in text
    found = compared(file(path), text)
    assert found
    assert "hunter2" not in repr(found)


def test_rules_and_values_show_no_digest() -> None:
    found = compared(file(AUTHTOKEN), file(AUTHTOKEN).text.replace("s3cret-four", "x"))
    assert not re.search(r"[0-9a-f]{64}", repr(dataclasses.asdict(found[0])))


def test_files_of_the_firewall_are_notes_and_not_compared() -> None:
    notes = next(each for each in files() if each.kind is rendering.Kind.FIREWALL)
    assert compared(notes, "anything") == []
