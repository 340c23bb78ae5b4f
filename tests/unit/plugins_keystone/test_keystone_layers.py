"""The two layers around Keystone: what tells requests apart, and what is never answered from memory."""

from __future__ import annotations

import dataclasses
import io
import types
from collections.abc import Callable, Iterable
from typing import Any

import keystone.conf
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from isthmus.plugins.keystone import answers, coherence, generation_file, journal, moments, scope

DATABASE = b"d" * 16
CONTEXT = coherence.authorization.AUTH_CONTEXT_ENV


def environ(**changes: Any) -> dict[str, Any]:
    base = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/v3/auth/tokens",
        "QUERY_STRING": "",
        "HTTP_HOST": "identity.example",
        "HTTP_X_AUTH_TOKEN": "caller",
        "HTTP_X_SUBJECT_TOKEN": "subject",
        "REMOTE_ADDR": "192.0.2.1",
        "wsgi.input": io.BytesIO(),
    }
    return {name: value for name, value in {**base, **changes}.items() if value is not None}


@pytest.mark.parametrize(
    "changes",
    [
        {"REQUEST_METHOD": "POST"},
        {"REQUEST_METHOD": "DELETE"},
        {"PATH_INFO": "/v3/auth/tokens/"},
        {"PATH_INFO": "/v3/users"},
        {"CONTENT_LENGTH": "3"},
        {"HTTP_TRANSFER_ENCODING": "chunked"},
        {"HTTP_X_SUBJECT_TOKEN": None},
    ],
)
def test_other_requests_have_no_key(changes: dict[str, Any]) -> None:
    assert coherence.key(environ(**changes)) is None


NAMES = st.sampled_from(
    [
        "HTTP_X_AUTH_TOKEN",
        "HTTP_X_SUBJECT_TOKEN",
        "QUERY_STRING",
        "HTTP_ACCEPT_LANGUAGE",
        "HTTP_HOST",
        "HTTP_OPENSTACK_IDENTITY_ACCESS_RULES",
        "HTTP_X_SERVICE_TOKEN",
        "REMOTE_USER",
        "SSL_CLIENT_I_DN",
    ]
)
TEXTS = st.text(max_size=3)
SAID = st.dictionaries(NAMES, TEXTS, max_size=6)


@given(SAID, SAID)
def test_requests_that_say_something_else_have_another_key(
    one: dict[str, str], other: dict[str, str]
) -> None:
    first, second = environ(**one), environ(**other)
    assert (coherence.key(first) == coherence.key(second)) is (
        {k: v for k, v in first.items() if k != "wsgi.input"}
        == {k: v for k, v in second.items() if k != "wsgi.input"}
    )


def test_who_connects_from_where_makes_no_difference() -> None:
    changes = {"REMOTE_PORT": "4711", "REMOTE_ADDR": "192.0.2.2", "HTTP_USER_AGENT": "curl"}
    assert coherence.key(environ(**changes)) == coherence.key(environ())


@dataclasses.dataclass
class Token:
    """What the witness asks a token."""

    id: str
    expires_at: str = "2100-01-01T00:00:00.000000Z"


class World:
    """A Keystone that answers with what its database shows, and everything else that a moment is made of."""

    def __init__(self) -> None:
        self.shown = 0
        self.generation = 2
        self.followed = True
        self.writes, self.revocations, self.files = 0, 0, 0
        self.broken_journal = False
        self.asked = 0
        self.during: Callable[[], None] = lambda: None
        self.databases: set[bytes | None] = {DATABASE}
        self.wrote = False
        self.status = "200 OK"
        self.caller = "caller"
        self.kept = answers.Answers(10**6)
        clock = moments.Clock(
            view=self._view,
            writes=lambda: self.writes,
            revocations=self._revocations,
            files=lambda: self.files,
        )
        limits = coherence.Limits(answer_max_age=300, external_max_age=0)
        witness = coherence.Witness(self._keystone, limits=limits, count_write=self._count)

        def scoped(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
            with scope.request():
                return witness(environ, start)

        self.front = coherence.Front(scoped, clock=lambda: clock, kept=lambda: self.kept)

    def _view(self) -> generation_file.View | None:
        return (
            generation_file.View(generations={DATABASE: self.generation}) if self.followed else None
        )

    def _revocations(self) -> int:
        if self.broken_journal:
            raise journal.JournalUnavailableError
        return self.revocations

    def _count(self) -> None:
        self.writes += 1

    def _keystone(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        self.asked += 1
        request = scope.current()
        assert request is not None
        request.databases |= self.databases
        request.wrote = self.wrote
        body = str(self.shown).encode()
        self.during()
        environ[CONTEXT] = {"token": Token(self.caller)}
        start(self.status, [("x-openstack-request-id", f"req-{self.asked}")])
        return [body]

    def ask(self, **changes: Any) -> tuple[str, dict[str, str], bytes]:
        head: list[Any] = []
        body = b"".join(self.front(environ(**changes), lambda *said: head.extend(said)))
        return head[0], dict(head[1]), body

    def hits(self, **changes: Any) -> bool:
        before = self.asked
        self.ask(**changes)
        return self.asked == before


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return make_world(monkeypatch)


def make_world(monkeypatch: pytest.MonkeyPatch) -> World:
    class Provider:
        @staticmethod
        def validate_token(token: str, **_: Any) -> Token:
            return Token(token)

    keystone.conf.configure()
    monkeypatch.setattr(coherence, "PROVIDERS", types.SimpleNamespace(token_provider_api=Provider))
    monkeypatch.setattr(coherence, "_is_external", lambda token: token.id == "ldap")
    return World()


def test_a_repeated_validation_is_answered_from_memory_with_its_own_request_id(
    world: World,
) -> None:
    first, second, third = world.ask(), world.ask(), world.ask()
    assert world.asked == 1
    assert first[0] == second[0] == "200 OK"
    assert first[2] == second[2] == b"0"
    assert len({answer[1]["x-openstack-request-id"] for answer in (first, second, third)}) == 3


@pytest.mark.parametrize("what", ["generation", "writes", "revocations", "files"])
def test_whatever_changes_makes_it_ask_again(world: World, what: str) -> None:
    assert not world.hits()
    assert world.hits()
    setattr(world, what, getattr(world, what) + 2)
    assert not world.hits()
    assert world.hits()


def test_while_a_change_is_on_its_way_nothing_is_given_or_kept(world: World) -> None:
    world.ask()
    world.generation = 3
    assert not world.hits()
    assert not world.hits()
    world.generation = 4
    assert not world.hits()
    assert world.hits()


def test_an_answer_during_which_something_changed_is_not_kept(world: World) -> None:
    def change() -> None:
        world.generation += 2
        world.during = lambda: None

    world.during = change
    assert not world.hits()
    assert not world.hits()
    assert world.hits()


def test_without_a_followed_database_it_steps_aside(world: World) -> None:
    world.ask()
    world.followed = False
    assert not world.hits()
    assert not world.hits()
    world.followed = True
    # The stream was followed without a break, so that what was kept is as good as before.
    assert world.hits()


def test_a_queue_that_cannot_be_read_makes_it_step_aside(world: World) -> None:
    world.ask()
    world.broken_journal = True
    assert not world.hits()


@pytest.mark.parametrize(
    ("what", "value"),
    [
        ("status", "404 Not Found"),
        ("status", "401 Unauthorized"),
        ("wrote", True),
        ("databases", {DATABASE, None}),
        ("databases", {b"o" * 16}),
        # Keystone's middleware has mixed up the callers of two threads.
        ("caller", "another"),
        ("caller", "ldap"),
    ],
)
def test_what_is_not_certain_is_not_kept(world: World, what: str, value: Any) -> None:
    setattr(world, what, value)
    caller = {"HTTP_X_AUTH_TOKEN": "ldap"} if value == "ldap" else {}
    assert not world.hits(**caller)
    assert not world.hits(**caller)


def test_an_answer_about_an_external_user_is_not_kept(world: World) -> None:
    assert not world.hits(HTTP_X_SUBJECT_TOKEN="ldap")
    assert not world.hits(HTTP_X_SUBJECT_TOKEN="ldap")


def test_an_answer_ends_with_the_first_of_both_tokens(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_000_000.0
    monkeypatch.setattr(coherence.time, "time", lambda: now)
    monkeypatch.setattr(Token.__init__, "__defaults__", ("1970-01-12T13:46:50Z",))  # 10 s later
    assert not world.hits()
    now += 9.9
    assert world.hits()
    now += 0.1
    assert not world.hits()
    assert not world.hits()


def test_a_write_is_counted_before_it_is_answered(world: World) -> None:
    world.ask()
    world.wrote = True
    world.ask(REQUEST_METHOD="POST")
    assert world.writes == 1
    world.wrote = False
    assert not world.hits()


def test_a_write_that_fails_is_counted(world: World) -> None:
    def fail() -> None:
        raise OSError

    world.wrote, world.during = True, fail
    with pytest.raises(OSError):  # noqa: PT011
        world.ask(REQUEST_METHOD="POST")
    assert world.writes == 1


class Requests(RuleBasedStateMachine):
    """Whatever changes and however it is seen: nobody gets what was true before the last counted change."""

    def __init__(self) -> None:
        super().__init__()
        self._patch = pytest.MonkeyPatch()
        self.world = make_world(self._patch)
        self.counted = 0  # what the database showed when the generation last was even and new

    def teardown(self) -> None:
        self._patch.undo()

    @rule()
    def begin_change(self) -> None:
        if self.world.generation % 2 == 0:
            self.world.generation += 1

    @rule()
    def show_change(self) -> None:
        """A change can be read before it is counted, never the other way round."""
        self.world.shown += 1

    @rule()
    def count_change(self) -> None:
        self.world.generation += 2 - self.world.generation % 2
        self.counted = self.world.shown

    @rule(followed=st.booleans())
    def follow(self, followed: bool) -> None:
        self.world.followed = followed

    @rule(subject=st.sampled_from(["a", "b"]), late=st.booleans())
    def ask(self, subject: str, late: bool) -> None:
        before, counted = self.world.asked, self.counted
        if late:
            self.world.during = self._change_while_it_is_asked
        answer = self.world.ask(HTTP_X_SUBJECT_TOKEN=subject)
        self.world.during = lambda: None
        assert int(answer[2]) >= counted
        if self.world.asked == before:
            assert self.world.followed
            assert self.world.generation % 2 == 0

    def _change_while_it_is_asked(self) -> None:
        """The body was made; then the world moves on."""
        self.show_change()
        self.count_change()


TestRequests = Requests.TestCase


def test_files_show_replacement_change_and_absence(tmp_path: Any) -> None:
    from isthmus.plugins.keystone import signatures

    keys, rules = tmp_path / "keys", tmp_path / "policy.yaml"
    keys.mkdir()
    seen = []

    def look() -> None:
        seen.append(signatures.of([str(keys), str(rules)]))

    look()
    (keys / "0").write_text("a" * 44)
    look()
    (keys / "0.tmp").write_text("b" * 44)
    (keys / "0.tmp").rename(keys / "0")
    look()
    rules.write_text("{}")
    look()
    rules.unlink()
    keys.rename(tmp_path / "old")
    keys.mkdir()
    look()
    assert len(set(seen)) == len(seen)
    assert signatures.of([str(keys), str(rules)]) == seen[-1]


def test_the_count_of_writes_is_shared_and_survives(tmp_path: Any) -> None:
    from isthmus.plugins.keystone import writes

    one, other = writes.Counter(tmp_path / "w"), writes.Counter(tmp_path / "w")
    before = other.value()
    one.grow()
    assert other.value() == before + 1
    other.grow()
    assert writes.Counter(tmp_path / "w").value() == one.value() == before + 2
    assert (tmp_path / "w").stat().st_mode & 0o777 == 0o600
