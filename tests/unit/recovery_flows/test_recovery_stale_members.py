"""A site that comes back keeps what moved from running: real markers and leases, a small Nova."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
import requests
from flows_cloud import ROOT, answered
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recovery_values import T0, a_group

from isthmus import errors
from isthmus.operations import holding, trail
from isthmus.recovery.checkpoints import epoch_key
from isthmus.recovery.declarations import Group, Policy
from isthmus.recovery.epochs import Epochs, Marker
from isthmus.recovery.findings import Code
from isthmus.recovery.flows.declared import Declared
from isthmus.recovery.flows.stale_members import SUBJECT, StaleMembers
from isthmus.recovery.rest import Api
from isthmus.recovery.signatures import KeyRing, SigningKey
from isthmus.store import databases

PARIS, LYON, STRANGER = (SigningKey.generate() for _ in range(3))
RING = KeyRing(PARIS.public, LYON.public)
GROUP = a_group()


class Shelf:
    """Objects by key."""

    where = "a shelf"

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.dark = False

    def read(self, key: str) -> bytes | None:
        if self.dark:
            raise errors.UnavailableError("cannot read", where=self.where, cause="no route to host")
        return self.objects.get(key)

    def create(self, key: str, content: bytes) -> None:
        self.objects[key] = content

    write = create


class Nova:
    """Servers that can be locked and stopped; `asked`: what was asked for, in that order."""

    def __init__(self, group: Group) -> None:
        self.servers: dict[str, dict[str, Any]] = {
            each.server_id: {
                "id": each.server_id, "status": "ACTIVE", "locked": False, "locked_reason": None,
                "OS-EXT-STS:task_state": None, "OS-EXT-STS:power_state": 1,
            }
            for each in group.members
        }  # fmt: skip
        self.asked: list[tuple[str, str]] = []
        self.refusing: set[str] = set()

    def get_endpoint(self, **service: Any) -> str:
        return ROOT

    def request(self, url: str, method: str, **options: Any) -> requests.Response:
        server_id = url.removeprefix(f"{ROOT}/servers/").removesuffix("/action")
        server = self.servers.get(server_id)
        if server is None:
            return answered(404)
        if method == "GET":
            return answered(200, {"server": server})
        [(word, given)] = options["json"].items()
        self.asked.append((word, server_id))
        if server_id in self.refusing:
            return answered(409, {"conflictingRequest": {"message": "it is busy"}})
        match word:
            case "lock":
                server.update(locked=True, locked_reason=given["locked_reason"])
            case "unlock":
                server.update(locked=False, locked_reason=None)
            case "os-stop":
                server.update({"status": "SHUTOFF", "OS-EXT-STS:power_state": 4})
        return answered(202)


class Paris:
    """Its engine, by hand."""

    def __init__(self, database: databases.Database) -> None:
        self.database, self.shelf, self.nova = database, Shelf(), Nova(GROUP)
        declared = Declared(database)
        declared.create_policy(Policy(name=GROUP.policy))
        declared.create_group(GROUP)
        self.declared = declared
        self.keeper = self.another("paris-1")

    def epochs(self, key: SigningKey) -> Epochs:
        store: Any = self.shelf
        return Epochs(store, key=key, ring=RING, settle=lambda _: None)

    def another(self, owner: str) -> StaleMembers:
        compute = Api(self.nova, "paris", "compute")
        return StaleMembers(
            self.database, self.declared, self.epochs(PARIS), compute, owner=owner, interval=30.0
        )

    def claim(self, site: str, epoch: int, key: SigningKey = LYON) -> None:
        self.epochs(key).claim(a_marker(site, epoch))

    def codes(self) -> list[Code]:
        return [each.code for each in self.keeper.findings(GROUP.id)]

    @property
    def running(self) -> int:
        return sum(each["status"] == "ACTIVE" for each in self.nova.servers.values())


def a_marker(site: str, epoch: int) -> Marker:
    return Marker(
        group_id=GROUP.id,
        epoch=epoch,
        site=site,
        operation_id="o-1",
        at=T0,
        nonce=f"{site}-{epoch}",
    )


@pytest.fixture
def paris(database: databases.Database) -> Paris:
    return Paris(database)


def test_a_group_that_no_site_ever_claimed_is_left_alone_and_nova_is_not_asked(
    paris: Paris,
) -> None:
    paris.keeper.look()
    assert (paris.running, paris.nova.asked, paris.codes()) == (3, [], [])


def test_the_members_of_a_group_that_moved_are_locked_then_stopped_and_it_is_told(
    paris: Paris,
) -> None:
    paris.claim("lyon", 1)
    paris.keeper.look()
    assert [word for word, _ in paris.nova.asked] == ["lock"] * 3 + ["os-stop"] * 3
    assert paris.running == 0
    reasons = {each["locked_reason"] for each in paris.nova.servers.values()}
    assert reasons == {"isthmus: its group moved to site lyon in epoch 1"}
    assert paris.codes() == [Code.GROUP_MOVED]
    [entry] = trail.entries(paris.database, GROUP.id)
    assert entry.document["deeds"][0] == "lock client"
    assert entry.document["epoch"] == 1


def test_a_second_look_does_nothing_and_a_server_that_was_started_is_stopped_again(
    paris: Paris,
) -> None:
    paris.claim("lyon", 1)
    paris.keeper.look()
    paris.nova.asked.clear()
    paris.keeper.look()
    assert paris.nova.asked == []
    started = GROUP.members[0].server_id
    paris.nova.servers[started].update({"status": "ACTIVE", "OS-EXT-STS:power_state": 1})
    paris.another("paris-2").look()
    assert paris.nova.asked == [("os-stop", started)]


def test_a_group_that_is_given_back_is_unlocked_and_not_started(paris: Paris) -> None:
    paris.claim("lyon", 1)
    foreign = GROUP.members[2].server_id
    paris.nova.servers[foreign].update(locked=True, locked_reason="maintenance")
    paris.keeper.look()
    paris.claim("paris", 2)
    paris.keeper.look()
    assert (paris.running, paris.codes()) == (0, [Code.GROUP_RETURNED])
    locked = [key for key, each in paris.nova.servers.items() if each["locked"]]
    assert locked == [foreign], "what somebody else locked stays locked"


def test_an_old_marker_that_comes_up_again_stops_nothing(paris: Paris) -> None:
    paris.claim("lyon", 1)
    old = dict(paris.shelf.objects)
    paris.claim("paris", 2)
    paris.keeper.look()
    paris.shelf.objects = old
    paris.keeper.look()
    assert (paris.nova.asked, paris.codes()) == ([], [Code.OWNER_UNKNOWN])


def test_a_store_that_cannot_be_read_stops_nothing_and_that_is_told_once(
    paris: Paris, caplog: pytest.LogCaptureFixture
) -> None:
    paris.claim("lyon", 1)
    paris.shelf.dark = True
    with caplog.at_level(logging.WARNING):
        paris.keeper.look()
        paris.keeper.look()
    assert (paris.running, paris.nova.asked) == (3, [])
    assert paris.codes() == [Code.OWNER_UNKNOWN]
    assert "no route to host" in paris.keeper.findings(GROUP.id)[0].cause
    assert len(caplog.records) == 1
    paris.shelf.dark = False
    paris.keeper.look()
    assert (paris.running, paris.codes()) == (0, [Code.GROUP_MOVED])


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None
)
@given(st.data())
def test_no_marker_that_is_not_verified_touches_a_server(paris: Paris, data: st.DataObject) -> None:
    """Altered anywhere, cut off, signed by a stranger, or of another group: nothing is done."""
    paris.shelf.objects.clear()
    paris.claim("lyon", 1)
    key = data.draw(st.sampled_from(sorted(paris.shelf.objects)))
    content = paris.shelf.objects[key]
    match data.draw(st.sampled_from(["field", "cut", "stranger", "other"])):
        case "field":
            envelope = json.loads(content)
            part = data.draw(st.sampled_from(["marker", "signature"]))
            # The size is beside what is signed, and says only whether a document was cut off.
            field = data.draw(st.sampled_from(sorted(set(envelope[part]) - {"size"})))
            envelope[part][field] = data.draw(st.sampled_from(["paris", "x", 7, None, ""]))
            wrong = json.dumps(envelope).encode()
        case "cut":
            wrong = content[: data.draw(st.integers(0, len(content) - 1))]
        case "stranger":
            wrong = paris.epochs(STRANGER)._written(a_marker("lyon", 1))
        case _:
            marker = a_marker("lyon", 1)
            elsewhere = Marker(**{**vars(marker), "group_id": "another"})
            wrong = paris.epochs(LYON)._written(elsewhere)
    paris.shelf.objects = dict.fromkeys(paris.shelf.objects, wrong)
    paris.keeper.look()
    assert (paris.running, paris.nova.asked) == (3, [])
    assert paris.codes() == [Code.OWNER_UNKNOWN]


def test_of_two_engines_of_a_site_the_one_with_the_lease_acts(paris: Paris) -> None:
    paris.claim("lyon", 1)
    theirs = holding.take(paris.database, SUBJECT, owner="paris-2", operation_id=SUBJECT)
    assert theirs
    paris.keeper.look()
    assert (paris.running, paris.nova.asked) == (3, [])
    theirs.release()
    paris.keeper.look()
    assert paris.running == 0


def test_without_the_database_nothing_is_stopped_and_that_is_told(
    paris: Paris, monkeypatch: pytest.MonkeyPatch
) -> None:
    paris.claim("lyon", 1)

    def away(*_: Any, **__: Any) -> None:
        raise errors.UnavailableError("the database cannot be reached")

    with monkeypatch.context() as patched:
        patched.setattr(holding, "take", away)
        paris.keeper.look()
    assert (paris.running, paris.nova.asked) == (3, [])
    assert paris.codes() == [Code.GROUP_MOVED, Code.STALE_MEMBER]
    assert "database cannot be reached" in paris.keeper.findings(GROUP.id)[1].cause
    paris.keeper.look()
    assert (paris.running, paris.codes()) == (0, [Code.GROUP_MOVED])


def test_whoever_starts_a_member_again_and_again_is_in_the_trail_each_time(paris: Paris) -> None:
    paris.claim("lyon", 1)
    paris.keeper.look()
    for _ in range(2):
        paris.keeper.look()
        started = paris.nova.servers[GROUP.members[0].server_id]
        started.update({"status": "ACTIVE", "OS-EXT-STS:power_state": 1})
        paris.keeper.look()
    rows = [each.document["deeds"] for each in trail.entries(paris.database, GROUP.id)]
    assert rows[1:] == [["stop client"], ["stop client"]]


def test_an_engine_that_loses_its_lease_in_the_middle_touches_nothing_more(
    paris: Paris, monkeypatch: pytest.MonkeyPatch
) -> None:
    paris.claim("lyon", 1)
    ask = paris.nova.request

    def robbed(url: str, method: str, **options: Any) -> requests.Response:
        answer = ask(url, method, **options)
        if method == "POST":
            with paris.database.engine.begin() as connection:
                connection.exec_driver_sql(
                    "UPDATE leases SET epoch = epoch + 1, owner = 'thief', expires_at = 0"
                )
        return answer

    monkeypatch.setattr(paris.nova, "request", robbed)
    paris.keeper.look()
    assert [word for word, _ in paris.nova.asked] == ["lock"]


def test_a_group_that_is_given_back_while_its_servers_are_looked_at_is_not_stopped(
    paris: Paris, monkeypatch: pytest.MonkeyPatch
) -> None:
    paris.claim("lyon", 1)
    ask = paris.nova.request

    def late(url: str, method: str, **options: Any) -> requests.Response:
        if len(paris.shelf.objects) == 2:
            paris.claim("paris", 2)
        return ask(url, method, **options)

    monkeypatch.setattr(paris.nova, "request", late)
    paris.keeper.look()
    assert (paris.running, paris.nova.asked) == (3, [])


def test_a_member_that_nova_does_not_stop_is_named_and_tried_again(paris: Paris) -> None:
    paris.claim("lyon", 1)
    busy = GROUP.members[1].server_id
    paris.nova.refusing = {busy}
    paris.keeper.look()
    moved, trouble = paris.keeper.findings(GROUP.id)
    assert (moved.servers, trouble.servers) == (("client", "database"), ("middle",))
    assert trouble.code is Code.STALE_MEMBER
    assert "it is busy" in trouble.cause
    paris.nova.refusing.clear()
    paris.keeper.look()
    assert (paris.running, paris.codes()) == (0, [Code.GROUP_MOVED])


def test_a_member_that_is_gone_keeps_nobody_from_the_others(paris: Paris) -> None:
    paris.claim("lyon", 1)
    del paris.nova.servers[GROUP.members[0].server_id]
    paris.keeper.look()
    assert (paris.running, paris.codes()) == (0, [Code.GROUP_MOVED])
    assert paris.keeper.findings(GROUP.id)[0].servers == ("middle", "database")


def test_groups_of_other_sites_are_not_looked_at(paris: Paris) -> None:
    paris.claim("lyon", 1)
    moved = a_group(site="madrid", backup_site="lyon", revision=2)
    paris.declared.change_group(moved)
    paris.keeper.look()
    assert (paris.running, paris.codes()) == (3, [])
    assert epoch_key(GROUP.id) in paris.shelf.objects


def test_the_thread_looks_at_once_and_ends_when_it_is_told(paris: Paris) -> None:
    paris.claim("lyon", 1)
    paris.keeper.start()
    paris.keeper.stop()
    paris.keeper.join(timeout=10.0)
    assert not paris.keeper.is_alive()


def test_the_owner_before_is_read_from_the_epoch_before(paris: Paris) -> None:
    epochs = paris.epochs(LYON)
    assert epochs.owner_before(a_marker("lyon", 1)) is None
    paris.claim("madrid", 1)
    paris.claim("lyon", 2)
    latest = epochs.latest(GROUP.id)
    assert latest
    assert epochs.owner_before(latest) == "madrid"
