"""A replica that lags is not read while there is a better one, and comes back when it has caught up."""

import pytest
from running_lab import Lab
from users import Users, lasting, names

from isthmus.identity import config
from isthmus.lab import calling, waiting

pytestmark = pytest.mark.lab

# The lag limit is 5 s, the heartbeat comes every 0.5 s, the load balancer asks every second and believes the second answer.
OUT_DEADLINE = 15.0
BACK_DEADLINE = 15.0


def test_a_lagging_replica_is_not_read_and_returns_when_it_has_caught_up(lab: Lab) -> None:
    # The first replica is the one that is read when both are fresh.
    replica = "replica-paris"
    unit, madrid = f"madrid/{replica}", calling.at(lab.madrid)
    with Users(lab, names([lab.madrid], "check", "read", "login", "image")) as users:
        begun = users.now()
        lab.sql(unit, "STOP SLAVE SQL_THREAD")
        try:
            _until(lab, unit, replica, serving=False, deadline=OUT_DEADLINE)
            seen = lab.database(unit)
            assert seen["verdict"] == "lagging", seen["reason"]
            assert seen["lag_seconds"] >= 5.0
            made = lab.new_project(lab.paris)
            assert made.status == 201, made.said
            project = made.body["project"]["id"]
            # The other replica has it in milliseconds; two seconds are for a busy machine.
            waiting.until(
                lambda: (
                    None
                    if (c := madrid.identity("GET", f"/projects/{project}", token=lab.admin)).status
                    == 200
                    else c.said
                ),
                deadline=2.0,
                what="a project made at Paris is not seen",
                where="madrid",
            )
            found = lab.sql(
                unit, "SELECT COUNT(*) AS n FROM keystone.project WHERE id = %s", project
            )
            assert found[0]["n"] == 0, "the replica did not lag, so nothing is proven"
        finally:
            lab.sql(unit, "START SLAVE SQL_THREAD")
        _until(lab, unit, replica, serving=True, deadline=BACK_DEADLINE)
        # Connections to the lagging replica are closed once.
        users.assert_unbothered(begun, errors=1)
    lab.everywhere([project], deadline=5.0, why="the replica has caught up")


def test_when_both_replicas_were_stale_the_first_to_catch_up_is_read_by_every_worker(
    lab: Lab,
) -> None:
    madrid, units = calling.at(lab.madrid), ("madrid/replica-paris", "madrid/replica-lyon")
    with Users(lab, names([lab.madrid], "check", "read")) as users:
        begun = users.now()
        for unit in units:
            lab.sql(unit, "STOP SLAVE SQL_THREAD")
        try:
            for unit in units:
                _until(lab, unit, unit.split("/")[1], serving=False, deadline=OUT_DEADLINE)
            made = lab.new_project(lab.paris)
            assert made.status == 201, made.said
            path = f"/projects/{made.body['project']['id']}"
            assert madrid.identity("GET", path, token=lab.admin).status == 404
            lab.sql("madrid/replica-lyon", "START SLAVE SQL_THREAD")
            _until(lab, "madrid/replica-lyon", "replica-lyon", serving=True, deadline=BACK_DEADLINE)
            lasting(
                config.RECYCLE_SECONDS, why="pooled connections stay with the stale replica so long"
            )
            answers = [madrid.identity("GET", path, token=lab.admin).status for _ in range(30)]
            assert answers == [200] * 30
        finally:
            for unit in units:
                lab.sql(unit, "START SLAVE SQL_THREAD")
        # Connections to a lagging replica are closed once, as each of the two is taken out.
        users.assert_unbothered(begun, errors=2)


def _until(lab: Lab, unit: str, replica: str, *, serving: bool, deadline: float) -> None:
    """Agent and load balancer agree on whether the replica serves."""

    def differs() -> str | None:
        seen = lab.database(unit)
        balancer = lab.balancer("madrid")[f"reader_fresh/{replica}"]
        agreed = seen["serving"] is serving and balancer.startswith("UP") is serving
        return None if agreed else f"agent: {seen['reason']}; load balancer: {balancer}"

    waiting.until(differs, deadline=deadline, what=f"not serving={serving}", where=unit)
