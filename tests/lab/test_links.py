"""Links that are cut, half open or both: bounded, no outage, and all is as before after healing."""

import pytest
from running_lab import WRITES_DEADLINE, Lab
from users import LOGIN_URL, Users, lasting, names

from isthmus.lab import calling, waiting

pytestmark = pytest.mark.lab

# Silence for 5 s is the proof that the stream is gone; looking, switching and catching up take 2 s, stopping a stream over a
# dead link up to 10 s.
REPOINT_DEADLINE = 30.0

# A home master must have been usable for 30 s without a break; looks come every second.
HOME_DEADLINE = 50.0

READ = ("check", "read", "image")


@pytest.mark.parametrize(
    ("link", "orphan", "rescuer"),
    [
        ("paris-lyon", None, None),
        ("paris-madrid", "replica-paris", "lyon"),
        ("lyon-madrid", "replica-lyon", "paris"),
    ],
)
def test_a_cut_link_is_an_outage_for_nobody(
    lab: Lab, link: str, orphan: str | None, rescuer: str | None
) -> None:
    if orphan is not None:
        _at_home(lab, orphan)
    reading = [*names(lab.sites, *READ), f"{LOGIN_URL}/check"]
    writers = names(lab.environment.writers, "write")
    with Users(lab, [*reading, *writers, "madrid/login"]) as users:
        begun = users.now()
        lab.cut(link)
        if orphan is not None and rescuer is not None:
            _repointed(lab, orphan, rescuer)
        lasting(8, why="longer than group communication needs to exclude a member, 6 s")
        since = users.now()
        for writer in writers:
            if _reaches_the_writer(lab, link, writer):
                users.until_served(writer, since, deadline=WRITES_DEADLINE)
        users.assert_unbothered(begun, [*reading, "madrid/login"])
        assert {call.status for call in users.refused} <= {503}
        lab.heal(link)
        lab.healthy()
        healed = users.now()
        users.all_served(after=healed)
        users.assert_unbothered(begun, [*reading, "madrid/login"])
    lab.everywhere(users.written, deadline=15.0, why=f"{link} was cut and healed")
    if link == "paris-madrid" and orphan is not None:
        _at_home(lab, orphan)


def _reaches_the_writer(lab: Lab, link: str, user: str) -> bool:
    """Whether the user's site can reach the writer: with the link between the writer sites cut, only one can."""
    site, writers = user.split("/")[0], lab.writers()
    return link != "paris-lyon" or writers == [site]


def _repointed(lab: Lab, orphan: str, rescuer: str) -> None:
    unit = f"madrid/{orphan}"
    before = lab.database(unit)["last_event"]

    def elsewhere() -> str | None:
        seen = lab.database(unit)
        # While Galera still counts its members the agent tries in vain, and writes that down too.
        told = seen["last_event"] != before and "not re-pointed" not in seen["last_event"]
        proven = seen["master"] == rescuer and seen["serving"] and told
        return None if proven else f"{seen['master']}: {seen['reason']}"

    waiting.until(
        elsewhere, deadline=REPOINT_DEADLINE, what="the replica is not re-pointed", where=unit
    )
    event = lab.database(unit)["last_event"]
    # The proof of position: from, to, where it stood, what it reached, where the new master was.
    assert f"to {rescuer} at 100-100-" in event
    assert "it reached 100-100-" in event
    assert f"({rescuer} was at 100-100-" in event


def _at_home(lab: Lab, replica: str) -> None:
    home = replica.removeprefix("replica-")
    waiting.until(
        lambda: (
            None
            if (at := lab.database(f"madrid/{replica}")["master"]) == home
            else f"it follows {at}"
        ),
        deadline=HOME_DEADLINE,
        what="the replica does not come home",
        where=f"madrid/{replica}",
    )


@pytest.mark.parametrize(("link", "silenced"), [("paris-madrid", "paris"), ("paris-lyon", "paris")])
def test_a_half_open_link_is_an_outage_for_nobody(lab: Lab, link: str, silenced: str) -> None:
    reading = names(lab.sites, "check", "read")
    with Users(lab, [*reading, *names(lab.environment.writers, "write")]) as users:
        begun = users.now()
        lab.cut(link, silenced=silenced)
        lasting(
            10,
            why="group communication excludes a member after 6 s, the load balancer follows in 2 s",
        )
        since = users.now()
        waiting.until(
            lambda: None if len(found := lab.writers()) == 1 else f"writers: {found}",
            deadline=WRITES_DEADLINE,
            what="there is not one writer",
            where="lab",
        )
        users.until_served(f"{lab.writers()[0]}/write", since, deadline=WRITES_DEADLINE)
        users.assert_unbothered(begun, reading)
        lab.heal(link)
        lab.healthy()
        users.all_served(after=users.now())
        users.assert_unbothered(begun, reading)
    lab.everywhere(users.written, deadline=15.0, why=f"{link} was half open and healed")


def _cluster_status(lab: Lab) -> str:
    cluster = lab.database("lyon/identity-db")["cluster"]
    return str(cluster["status"]) if cluster else "unknown"


def test_a_writer_site_cut_off_from_both_others_serves_reads_and_refuses_writes(lab: Lab) -> None:
    lyon, user = calling.at(lab.lyon), lab.new_user()
    reading = names(lab.sites, "check", "read")
    with Users(lab, [*reading, "lyon/login", "paris/write"]) as users:
        begun = users.now()
        lab.cut("lyon")
        # Group communication suspects after 3 s, excludes after 6 s, and takes up to 6 s more to agree on a view.
        waiting.until(
            lambda: None if (said := _cluster_status(lab)) == "non-Primary" else f"it is {said}",
            deadline=20.0,
            what="Lyon does not notice that it is alone",
            where="lyon",
        )
        waiting.until(
            lambda: None if lab.writers() == ["paris"] else f"writers: {lab.writers()}",
            deadline=WRITES_DEADLINE,
            what="Paris does not take the writes",
            where="paris",
        )
        users.until_served("paris/write", users.now(), deadline=WRITES_DEADLINE)
        lasting(
            5.0, why="the load balancer leaves the tier of fresh readers and closes its connections"
        )
        first = lyon.login(user.account)
        assert first.status == 201, first.said
        refused = lab.new_project(lab.lyon)
        assert refused.status == 503, refused.said
        assert "Nothing was changed" in refused.body["error"]["message"]
        assert lyon.revoke(first.token, by=lab.admin).status == 204
        assert lyon.validate(first.token, by=lab.admin).status == 404
        assert lab.pending(lab.lyon) >= 2
        whole = [name for name in reading if not name.startswith("lyon/")]
        users.assert_unbothered(begun, whole)
        # The load balancer closes the connections of the tier that it leaves: one request may be at work on one.
        at_lyon = [*names([lab.lyon], "check", "read"), "lyon/login"]
        users.assert_unbothered(begun, at_lyon, errors=1)
        lab.heal("lyon")
        lab.healthy()
    lab.everywhere(users.written, deadline=15.0, why="Lyon was cut off and healed")
    today = "SELECT last_active_at IS NOT NULL AS stored FROM keystone.user WHERE id = %s"
    lab.caught_up()
    for unit in lab.identity_databases():
        assert lab.sql(unit, today, user.id)[0]["stored"] == 1, unit
    assert calling.at(lab.paris).validate(first.token, by=lab.admin).status == 404
