"""The loss of each site: its processes die at once and it falls silent, as a machine room without power does."""

import pytest
from running_lab import WRITES_DEADLINE, Lab
from users import LOGIN_URL, Users, names

from isthmus.lab import calling

pytestmark = pytest.mark.lab

# A session that the lost site was serving ends when the load balancer has missed two checks (3 s) and a new one is tried.
STAND_IN = 10.0


@pytest.mark.parametrize("lost", ["paris", "lyon", "madrid"])
def test_the_loss_of_a_site_is_not_noticed_by_the_users_of_the_others(lab: Lab, lost: str) -> None:
    others = [site for site in lab.sites if site.name != lost]
    writer = next(site for site in lab.environment.writers if site in others)
    reading = names(others, "check", "read", "image")
    writing, everywhere = f"{writer.name}/write", f"{LOGIN_URL}/check"
    login = f"{others[-1].name}/login"
    with Users(lab, [*reading, writing, everywhere, login]) as users:
        begun = users.now()
        lab.kill(lost)
        users.until_served(writing, begun + 1.0, deadline=WRITES_DEADLINE)
        users.all_served(after=users.now())
        users.assert_unbothered(begun, reading)
        # A login owes a write (the failed count, the day), but waits for none.
        users.assert_unbothered(begun, [login], gap=STAND_IN)
        # One request may be on its way to the site that dies.
        users.assert_unbothered(begun, [everywhere], gap=STAND_IN, errors=1)
        # A write that is refused is refused clearly, or died with the site.
        assert {call.status for call in users.refused} <= {503, 502, 0}
        if lost == "madrid":
            # While the cluster agrees on its new members (a second or two), a commit that is under way is refused.
            users.assert_unbothered(begun, [writing], gap=STAND_IN, errors=2)
        written = list(users.written)
        lab.resume(lost)
        lab.healthy()
        users.assert_unbothered(begun, reading)
        written = list(users.written)
    lab.everywhere(written, deadline=15.0, why=f"{lost} was lost and came back")
    _answers_again(lab, lost)


def _answers_again(lab: Lab, lost: str) -> None:
    """The returned site serves its own users, itself."""
    client = calling.at(lab.environment.site(lost))
    call = client.login(lab.account("demo"))
    assert call.status == 201, call.said
    assert client.images(call.token).status == 200
    made = lab.new_project(lab.environment.site(lost))
    assert made.status == 201, made.said
