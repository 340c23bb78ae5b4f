"""Keys of three sites over real replication: rotated under logins, held, fenced, replaced, attacked."""

from __future__ import annotations

import contextlib
import functools
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import agent_databases as db
import agent_star
import fastapi
import pytest
from key_star import ENGINE, KeyStar, Logins, decrypted, encrypted, issue, validates
from starlette.testclient import TestClient

from conditions import wait_for
from isthmus.agent import databases
from isthmus.engine import core, rights
from isthmus.engine.api import faults, keys
from isthmus.identity import schema
from isthmus.identity.keys import credentials, records, repository, rotating, sealing
from isthmus.identity.keys.generations import Ack, Kind, Phase, State
from isthmus.network import databases as network_databases

# Several real daemons for minutes: `make test-long`.
pytestmark = [pytest.mark.functional, pytest.mark.long]

# Three agents with two round trips each take half a second; the machine may be busy.
ROTATED = 20


@pytest.fixture(scope="module")
def star() -> Iterator[KeyStar]:
    with agent_star.running(KeyStar) as found:
        assert isinstance(found, KeyStar)
        wait_for("the keys are taken over", found.idle, 30)
        yield found


@pytest.fixture(autouse=True)
def settled(star: KeyStar) -> None:
    for node, fence in star.state().fences.items():
        if fence.keep:  # a test that failed left it
            star.say(functools.partial(_lifted, node))
    wait_for("the keys are settled", star.idle, 30)


def _lifted(node: str, seen: records.Seen) -> rotating.Change:
    return rotating.unfence(seen.state, node, "ada")


def rotation(seen: records.Seen) -> rotating.Change:
    return rotating.ask_rotation(seen.state, "ada", time.time())


def done(star: KeyStar) -> bool:
    return star.state().wanted is None


def fencing(node: str, *, keep: bool = False) -> object:
    def word(seen: records.Seen) -> rotating.Change:
        return rotating.fence(seen.state, node, "ada", time.time(), "it is silent", keep=keep)

    return word


def primary(star: KeyStar) -> int:
    found = star.state().primary
    assert found is not None
    return found.number


@contextlib.contextmanager
def halted(star: KeyStar, site: str) -> Iterator[None]:
    """The agent of a site is killed, and started again afterwards."""
    star.agents[site].end(signal.SIGKILL)
    try:
        yield
    finally:
        star.agents[site].start()


def test_the_keys_that_the_sites_had_are_taken_over_and_validate_what_they_had_issued(
    star: KeyStar,
) -> None:
    state = star.state(star.madrid)
    assert [(each.number, each.phase) for each in state.live][-1][1] in (
        Phase.STAGED,
        Phase.PRIMARY,
    )
    assert state.nodes == ("lyon", "madrid", "paris")
    token = issue(star.paths["paris"])
    assert all(validates(path, token) for path in star.paths.values())


def test_a_rotation_under_logins_refuses_no_token(star: KeyStar) -> None:
    before = primary(star)
    with Logins(star) as logins:
        for _ in range(2):
            star.say(rotation)
            wait_for("the rotation is complete", lambda: done(star), ROTATED)
    assert primary(star) == before + 2
    assert logins.wrong == []
    assert logins.validated > 50
    for path in star.paths.values():
        assert path.stat().st_mode & 0o777 == 0o700
        assert {p.stat().st_mode & 0o777 for p in path.iterdir()} == {0o600}


def test_keys_retire_after_the_lifetime_and_their_boxes_go(star: KeyStar) -> None:
    star.say(rotation)
    wait_for("the rotation is complete", lambda: done(star), ROTATED)
    # Lifetime: 3 + 1 + 2 x 0.5 s.
    wait_for("one key is left", lambda: len(star.state().live) == 1 and star.equal(), 20)
    count = "SELECT count(*) FROM isthmus_identity.key_box WHERE kind = 'token'"
    wait_for("its boxes are left", lambda: star.paris.value(count) == 3, 5)
    assert set(repository.load(star.paths["madrid"])) == {0, primary(star)}


def test_a_silent_site_holds_the_rotation_until_it_is_heard(star: KeyStar) -> None:
    before = primary(star)
    with halted(star, "madrid"):
        state = star.say(rotation)
        wait_for("the others have the staged key", lambda: _have(star, "lyon", "paris"), ROTATED)
        assert primary(star) == before
        assert star.state().missing(_acks(star)) == ("madrid",)
        assert state.wanted is not None
        token = issue(star.paths["madrid"])
        assert validates(star.paths["paris"], token), "it goes on as before"
    wait_for("the rotation is complete", lambda: done(star), ROTATED)
    assert primary(star) > before


def test_a_replica_that_is_cut_off_holds_it_too(star: KeyStar) -> None:
    before = primary(star)
    star.madrid.rows("STOP SLAVE")
    try:
        with Logins(star) as logins:
            star.say(rotation)
            wait_for("the others have it", lambda: _have(star, "lyon", "paris"), ROTATED)
            assert primary(star) == before
    finally:
        star.madrid.rows("START SLAVE")
    wait_for("the rotation is complete", lambda: done(star), ROTATED)
    assert logins.wrong == []


def test_a_fenced_site_does_not_hold_it_and_comes_back_without_help(star: KeyStar) -> None:
    before = primary(star)
    with halted(star, "madrid"):
        star.say(rotation)
        star.say(fencing("madrid"))
        wait_for("the rotation is complete without it", lambda: done(star), ROTATED)
        assert primary(star) > before
        with Logins(star, ("lyon", "paris")) as logins:
            star.say(rotation)
            wait_for("another one", lambda: done(star), ROTATED)
        assert logins.wrong == []
    wait_for("it is not fenced any more", star.idle, ROTATED)
    assert repository.mark(star.paths["madrid"]).fenced is None
    token = issue(star.paths["madrid"])
    assert all(validates(path, token) for path in star.paths.values())


def test_a_fence_that_is_kept_marks_the_repository_and_seals_nothing_more(star: KeyStar) -> None:
    star.say(fencing("madrid", keep=True))
    path = star.paths["madrid"]
    wait_for("it is marked", lambda: repository.mark(path).fenced == "it is silent", ROTATED)
    token = issue(star.paths["paris"])
    assert validates(path, token), "it still validates"
    boxes = "SELECT count(*) FROM isthmus_identity.key_box WHERE kind = 'token' AND node = 'madrid'"
    wait_for("its boxes go", lambda: star.lyon.value(boxes) == 0, ROTATED)
    star.say(rotation)
    wait_for("the others rotate", lambda: done(star), ROTATED)
    assert star.lyon.value(boxes) == 0
    star.say(functools.partial(_lifted, "madrid"))
    wait_for("it is back", star.idle, ROTATED)
    assert repository.mark(path).fenced is None


def test_agents_that_are_killed_at_any_moment_lose_nothing(star: KeyStar) -> None:
    with Logins(star) as logins:
        for site in ("paris", "madrid"):
            star.say(rotation)
            with halted(star, site):
                pass
            # A conductor that was killed is the writer again after its renewals are seen.
            wait_for(f"complete though {site} was killed", lambda: done(star), 30)
    assert logins.wrong == []


def test_files_that_somebody_changed_are_put_right(star: KeyStar) -> None:
    path = star.paths["lyon"]
    (path / str(primary(star))).unlink()
    # Everything is compared every 5 s though the document is the same.
    wait_for("the key is back", star.equal, 15)


def test_a_replacement_kills_all_old_tokens_and_says_how_long_it_took(star: KeyStar) -> None:
    old = [issue(path) for path in star.paths.values()]
    star.say(lambda seen: rotating.ask_replacement(seen.state, "ada", time.time(), "leaked"))
    wait_for("the replacement is complete", lambda: done(star), ROTATED)
    for token in old:
        assert not any(validates(path, token) for path in star.paths.values())
    with Logins(star) as logins:
        wait_for("new tokens validate", lambda: logins.validated > 18, 10)
    assert logins.wrong == []
    with contextlib.closing(star.session(star.lyon)) as session:
        lines = [each.event for each in records.events(session, Kind.TOKEN, 5)]
    assert any(
        "replacement by generation" in line and " s after it was asked for" in line
        for line in lines
    )


def test_a_key_that_somebody_plants_is_refused_and_the_own_ones_stay(star: KeyStar) -> None:
    number, path = primary(star), star.paths["madrid"]
    before = repository.inspect(path).digest
    thief = sealing.Private.generate()
    box = sealing.seal(
        KeyStar.new_key(), thief, star.privates["madrid"].public_key(),
        about=f"token key of generation {number} for madrid",
    )  # fmt: skip
    planted = records.Box(generation=number, node="madrid", sealer="paris", box=box)
    with contextlib.closing(star.session(star.lyon)) as session:
        records.add_boxes(session, Kind.TOKEN, [planted])
    star.say(rotation)
    status = star.agents["madrid"]
    wait_for(
        "it is refused", lambda: "a sealed key cannot be opened" in status.get("status")[1], ROTATED
    )
    assert repository.inspect(path).digest == before
    star.lyon.rows("DELETE FROM isthmus_identity.key_box WHERE node = 'madrid'")
    wait_for("it is sealed again", lambda: done(star), ROTATED)


def test_no_key_is_in_clear_in_tables_logs_arguments_or_answers(star: KeyStar) -> None:
    star.say(rotation)
    wait_for("the rotation is complete", lambda: done(star), ROTATED)
    secrets = star.clear_keys()
    secrets |= {private.private_bytes_raw() for private in star.privates.values()}
    for server in star.databases().values():
        dump = subprocess.run(
            ["mariadb-dump", f"--socket={server.folder}/s", "--user=root", "--hex-blob", "isthmus_identity"],
            check=True, capture_output=True, timeout=30,
        ).stdout  # fmt: skip
        assert b"key_box" in dump
        nowhere(secrets, dump, f"tables of {server.name}")
        for log in [*server.data.glob("binlog.0*"), *server.data.glob("*relay-bin.0*")]:
            nowhere(secrets, log.read_bytes(), str(log))
    for name, agent in star.agents.items():
        assert agent.process is not None
        nowhere(secrets, agent.log.read_bytes(), f"log of {name}")
        for file in ("cmdline", "environ"):
            content = Path(f"/proc/{agent.process.pid}/{file}").read_bytes()
            nowhere(secrets, content, f"{file} of {name}")
        nowhere(secrets, agent.get("status")[1].encode(), f"status of {name}")


def nowhere(secrets: set[bytes], content: bytes, where: str) -> None:
    assert len(content) > 0
    assert not [len(secret) for secret in secrets if secret in content], where


CREDENTIALS = """
CREATE TABLE IF NOT EXISTS keystone.credential (
  id VARCHAR(64) PRIMARY KEY, encrypted_blob TEXT NOT NULL, key_hash VARCHAR(64) NOT NULL, type VARCHAR(255) NOT NULL
)"""


def test_a_credential_key_goes_only_when_nothing_is_encrypted_with_it(star: KeyStar) -> None:
    """Keystone itself encrypts at one site with the old key and decrypts at another after it is gone."""
    kind = Kind.CREDENTIAL
    wait_for("they are taken over", lambda: star.state(kind=kind).generations, 20)
    star.lyon.rows(CREDENTIALS, *schema.credential_grants("agent"))
    session = star.session(star.lyon)
    with contextlib.closing(session), pytest.raises(databases.DatabaseError, match="denied"):
        session.rows("SELECT type FROM keystone.credential")
    stored = {}
    for number in range(3):
        stored[f"c{number}"] = encrypted(star.credential_paths["paris"], f"secret {number}")
    rows = [f"('{name}', '{blob}', '{key}', 'ec2')" for name, (blob, key) in stored.items()]
    rows.append("('damaged', 'gAAAAA', 'of nobody', 'ec2')")
    star.lyon.rows(f"INSERT INTO keystone.credential VALUES {', '.join(rows)}")  # noqa: S608
    old = star.state(kind=kind).primary
    assert old is not None
    star.say(rotation, kind)
    wait_for("the old key is gone", lambda: old.number not in _live(star, kind), 40)
    primary_key = repository.load(star.credential_paths["madrid"])[max(_live(star, kind))]
    found = {
        str(row[0]): (str(row[1]), row[2])
        for row in star.madrid.rows("SELECT * FROM keystone.credential")
    }
    assert found.pop("damaged") == ("gAAAAA", "of nobody")
    assert {key for _, key in found.values()} == {credentials.key_hash(primary_key)}
    for number in range(3):
        assert (
            decrypted(star.credential_paths["madrid"], found[f"c{number}"][0]) == f"secret {number}"
        )
    assert not any("secret" in agent.log.read_text() for agent in star.agents.values())


def _live(star: KeyStar, kind: Kind) -> list[int]:
    return [each.number for each in star.state(star.madrid, kind).live]


def test_the_store_has_one_winner_and_words_that_arrive_late_change_nothing(star: KeyStar) -> None:
    with contextlib.closing(star.session(star.lyon)) as one:
        seen = records.look(one, Kind.RECEIPT)
        first = State(kind=Kind.RECEIPT, revision=1, digest="d", nodes=("paris",))
        change = rotating.Change(state=first, event="made", by="ada")
        assert seen.state.revision == 0
        assert records.store(one, change, first=True)
        assert not records.store(one, change, first=True), "it is there"
        assert not records.store(one, change), "it is no successor"
        assert records.state(one, Kind.RECEIPT) == first
        for revision, digest, stays in ((5, "new", "new"), (4, "late", "new"), (5, "same", "same")):
            records.acknowledge(
                one, Kind.RECEIPT, Ack(node="paris", revision=revision, digest=digest, at=0.0)
            )
            assert records.acks(one, Kind.RECEIPT)["paris"].digest == stays
        assert [each.event for each in records.events(one, Kind.RECEIPT, 9)] == ["made"]


def test_a_document_that_was_lost_is_made_anew_from_what_the_sites_have(star: KeyStar) -> None:
    before, token = star.state(), issue(star.paths["madrid"])
    star.lyon.rows("DELETE FROM isthmus_identity.key_state WHERE kind = 'token'")
    wait_for("it is made anew", star.idle, ROTATED)
    assert star.state().revision > before.revision
    assert all(validates(path, token) for path in star.paths.values())
    star.say(rotation)
    wait_for("and goes on", lambda: done(star) and star.equal(), ROTATED)


@pytest.fixture
def engine(star: KeyStar) -> TestClient:
    """The engine's routes at Madrid, over the databases: it reads the replica, and writes at Lyon."""
    making = f"CREATE OR REPLACE USER {ENGINE}@'%' IDENTIFIED BY '{db.PASSWORD}'"
    star.lyon.rows(making, *schema.key_grants(ENGINE))
    # Accounts are not replicated, and a replica must not write events of its own.
    star.madrid.rows("SET sql_log_bin = 0", making, *schema.key_grants(ENGINE))
    caller = rights.Caller(user_id="u", user="ada", project_id=None, roles=frozenset({"admin"}))
    listeners = {
        name: network_databases.Listener(
            host=server.host, port=server.port, user=ENGINE, password=db.PASSWORD
        )
        for name, server in (("reader", star.madrid), ("writer", star.lyon))
    }
    asked = SimpleNamespace(
        site="madrid", require_admin=lambda: caller, require_reader=lambda: caller, **listeners
    )
    app = fastapi.FastAPI()
    faults.install(app)
    app.include_router(keys.router(cast("core.Engine", asked)))
    return TestClient(app)


def test_an_engine_says_an_operators_word_and_cannot_read_a_box(
    star: KeyStar, engine: TestClient
) -> None:
    before, named = primary(star), {"Idempotency-Key": str(uuid.uuid4())}
    for _ in range(2):  # as a client does whose first answer was lost
        asked = engine.post("/v1/identity/keys/token/rotate", headers=named)
        assert asked.status_code == 202, asked.text
    assert asked.json()["keys"]["in_flight"]["by"] == "ada"
    wait_for("it is done", lambda: done(star), ROTATED)

    def shown() -> dict[str, Any]:
        kinds = engine.get("/v1/identity/keys").json()["kinds"]
        return next(each for each in kinds if each["kind"] == "token")

    wait_for("the replica shows it", lambda: shown()["outcome"] == "OK", 10)
    assert primary(star) == before + 1
    assert [each["acknowledged"] for each in shown()["nodes"]] == [True, True, True]
    history = engine.get("/v1/identity/keys/token/history?limit=20").json()["events"]
    assert any("3 of 3 nodes acknowledged" in each["event"] for each in history)
    answers = asked.content + engine.get("/v1/identity/keys").content + str(history).encode()
    nowhere(star.clear_keys(), answers, "answers")
    refused = engine.post("/v1/identity/keys/token/fence", json={"node": "nice"})
    assert refused.status_code == 404
    session = star.session(star.lyon, ENGINE)
    with contextlib.closing(session), pytest.raises(databases.DatabaseError, match="denied"):
        records.boxes(session, Kind.TOKEN)


def test_the_other_writer_conducts_when_the_first_is_lost_in_the_middle(star: KeyStar) -> None:
    before = primary(star)
    with halted(star, "paris"):
        star.say(rotation)
        star.paris.end(signal.SIGKILL)
        wait_for("lyon takes the writes", lambda: star.agents["lyon"].writer() == 200, 30)
        wait_for(
            "lyon waits for paris", lambda: star.state().missing(_acks(star)) == ("paris",), 20
        )
        star.say(fencing("paris"))
        wait_for("lyon completes it", lambda: done(star) and primary(star) > before, 30)
        token = issue(star.paths["lyon"])
        assert validates(star.paths["madrid"], token)
        star.paris.start()
    wait_for("paris comes back", star.idle, 60)
    assert all(validates(path, token) for path in star.paths.values())


def _acks(star: KeyStar) -> dict[str, Ack]:
    with contextlib.closing(star.session(star.lyon)) as session:
        return records.acks(session, Kind.TOKEN)


def _have(star: KeyStar, *sites: str) -> bool:
    """Whether a key is staged and these sites have it."""
    state = star.state()
    found = {repository.inspect(star.paths[site]).digest for site in sites}
    return state.wanted is not None and state.staged is not None and found == {state.digest}
