"""What the reconciler makes of two real Neutrons: ports that move, clash, join groups, or are tampered with.

Every test ends with the invariant: what every host's switch holds is what the Neutrons say.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from network_lab import NetworkLab
from running_lab import Lab
from test_network_engine import HEALED_DEADLINE, REMOTE_DEADLINE, Stretched, network

from isthmus.lab import guests, waiting
from isthmus.network import views

__all__ = ["network"]

pytestmark = pytest.mark.lab

# A finding stands after the next round: 30 s and a fifth, and what the round takes on busy cores.
FINDING_DEADLINE = 60.0


@pytest.fixture
def stretched(network: Stretched) -> Iterator[Stretched]:
    """The network with its two guests; everything that a test makes is taken away, and then the invariant must hold."""
    Lab.mend(network.lab)
    yield network
    for name in network.made:
        guests.remove(network.lab.home, name)
    network.made.clear()
    for site, path in network.lab.made:
        network.lab.neutron(site).delete(path)
    network.lab.made.clear()
    network.stands_for("paris", network.lyon, deadline=HEALED_DEADLINE)
    network.stands_for("lyon", network.paris, deadline=HEALED_DEADLINE)
    network.joined()


def make(stretched: Stretched, site: str, kind: str, **fields: Any) -> dict[str, Any]:
    """An object in one site, taken away after the test."""
    plural = f"/{kind.replace('_', '-')}s"
    body = {kind: fields}
    made: dict[str, Any] = stretched.lab.neutron(site).post(plural, body)[kind]
    stretched.lab.made.insert(0, (site, f"{plural}/{made['id']}"))
    return made


def port(stretched: Stretched, site: str, **fields: Any) -> dict[str, Any]:
    """A bound port without a guest."""
    lab, owner = stretched.lab, stretched.lab.neutron(site).find("network", stretched.name)
    return make(
        stretched, site, "port", network_id=owner["id"], project_id=owner["project_id"],
        name=f"port-{uuid.uuid4().hex[:6]}", device_owner="compute:nova",
        **{"binding:host_id": lab.environment.site(site).hosts[0], **fields},
    )  # fmt: skip


def remote(stretched: Stretched, site: str, origin: str) -> dict[str, Any] | None:
    """The remote port of a site that stands for `<site>/<port id>`."""
    found = stretched.lab.neutron(site).get(
        "/ports", device_id=origin, device_owner=views.REMOTE_OWNER
    )["ports"]
    assert len(found) < 2, f"{origin} stands twice in {site}"
    return found[0] if found else None


def until(
    stretched: Stretched, site: str, origin: str, right: Callable[[dict[str, Any]], bool]
) -> dict[str, Any]:
    """Wait for a remote port, and until it is right and bound."""

    def different() -> str | None:
        now = remote(stretched, site, origin)
        bound = now is not None and now["status"] == "ACTIVE"
        return None if now is not None and bound and right(now) else f"it is {now}"

    waiting.until(
        different, deadline=REMOTE_DEADLINE, what=f"the remote port for {origin} is not right", where=site
    )  # fmt: skip
    found = remote(stretched, site, origin)
    assert found is not None
    return found


def finding(stretched: Stretched, ask: str, code: str, *words: str) -> dict[str, Any]:
    return said(stretched.lab, stretched.name, ask, code, *words)


def said(lab: NetworkLab, name: str, ask: str, code: str, *words: str) -> dict[str, Any]:
    """Wait for a finding of that kind on a network in which all these words stand."""
    seen: list[dict[str, Any]] = []

    def missing() -> str | None:
        done = lab.command("network", "show", name, "-f", "json", "--ask", ask)
        findings = json.loads(done.stdout)["findings"]
        of_kind = [each for each in findings if each["code"] == code]
        seen[:] = [each for each in of_kind if all(word in str(each) for word in words)]
        return None if seen else f"there are {[each['code'] for each in findings]}"

    lab.command("network", "sync", name, "--timeout", "20")
    waiting.until(missing, deadline=FINDING_DEADLINE, what=f"no finding {code} {words}", where=ask)
    return seen[0]


def address(made: dict[str, Any]) -> str:
    return str(made["fixed_ips"][0]["ip_address"])


def test_a_port_that_moves_to_another_host_is_one_remote_port_that_moves(
    stretched: Stretched,
) -> None:
    first, second = (each.address for each in stretched.lab.lyon.host_specs[:2])
    made = port(stretched, "lyon")
    origin = f"lyon/{made['id']}"
    before = until(stretched, "paris", origin, lambda now: now["remote_vtep"] == first)
    body = {"port": {"binding:host_id": stretched.lab.lyon.hosts[1], "name": "moved"}}
    stretched.lab.neutron("lyon").put(f"/ports/{made['id']}", body)
    after = until(stretched, "paris", origin, lambda now: now["remote_vtep"] == second)
    assert after["id"] == before["id"]
    assert after["name"] == "moved"
    stretched.true()


def test_another_address_arrives_and_the_old_one_is_answered_no_more(stretched: Stretched) -> None:
    made = port(stretched, "lyon")
    origin = f"lyon/{made['id']}"
    until(stretched, "paris", origin, lambda now: address(now) == address(made))
    body = {"port": {"fixed_ips": [{"ip_address": "10.71.0.250"}]}}
    stretched.lab.neutron("lyon").put(f"/ports/{made['id']}", body)
    until(stretched, "paris", origin, lambda now: address(now) == "10.71.0.250")
    stretched.true()


def test_an_unbound_port_is_withdrawn_and_returns_when_it_is_bound_again(
    stretched: Stretched,
) -> None:
    made, lyon = port(stretched, "lyon"), stretched.lab.neutron("lyon")
    until(stretched, "paris", f"lyon/{made['id']}", lambda _: True)
    lyon.put(f"/ports/{made['id']}", {"port": {"binding:host_id": ""}})
    stretched.stands_for("paris", stretched.lyon)
    lyon.put(f"/ports/{made['id']}", {"port": {"binding:host_id": stretched.lab.lyon.hosts[0]}})
    until(stretched, "paris", f"lyon/{made['id']}", lambda _: True)


def test_an_address_of_two_owners_is_a_finding_that_names_both_and_stops_nobody_else(
    stretched: Stretched,
) -> None:
    mine = port(stretched, "paris", fixed_ips=[{"ip_address": "10.71.0.240"}])
    theirs = port(stretched, "lyon", fixed_ips=[{"ip_address": "10.71.0.240"}])
    innocent = port(stretched, "lyon")
    until(stretched, "paris", f"lyon/{innocent['id']}", lambda _: True)
    found = finding(stretched, "paris", "ip-clash", mine["id"], theirs["id"], "10.71.0.240")
    assert {each.split(":")[0] for each in found["owners"]} == {"paris", "lyon"}
    assert remote(stretched, "paris", f"lyon/{theirs['id']}") is None
    assert remote(stretched, "lyon", f"paris/{mine['id']}") is None
    stretched.true()
    stretched.lab.neutron("paris").delete(f"/ports/{mine['id']}")
    until(stretched, "paris", f"lyon/{theirs['id']}", lambda now: address(now) == "10.71.0.240")


def test_a_mac_of_two_owners_is_a_finding_that_names_both(stretched: Stretched) -> None:
    mac = "fa:16:3e:0f:0f:01"
    mine = port(stretched, "paris", mac_address=mac)
    theirs = port(stretched, "lyon", mac_address=mac)
    found = finding(stretched, "lyon", "mac-clash", mine["id"], theirs["id"], mac)
    assert found["remedy"]
    assert remote(stretched, "lyon", f"paris/{mine['id']}") is None


def test_a_vni_that_another_network_has_is_a_finding_that_names_both(
    stretched: Stretched,
) -> None:
    lab, name = stretched.lab, f"clash-{uuid.uuid4().hex[:6]}"
    fields = {"provider:network_type": "vxlan", "provider:segmentation_id": 4321}
    squatter = lab.new_network("lyon", cidr="10.90.0.0/24", name="squatter", **fields)
    words = ["--cidr", "10.73.0.0/24", "--site", "paris", "--site", "lyon", "--vni", "4321"]
    made = lab.command("network", "create", name, *words)
    assert made.returncode in (0, 1, 2), made.stderr
    try:
        found = said(lab, name, "lyon", "vni-clash", squatter["id"])
        assert "squatter" in str(found["owners"])
        assert name in str(found["owners"])
        # The other site is not held up.
        assert lab.neutron("paris").find("network", name)["provider:segmentation_id"] == 4321
        lab.neutron("lyon").delete(f"/networks/{squatter['id']}")
        waiting.until(
            lambda: None if lab.neutron("lyon").get("/networks", name=name)["networks"] else "none",
            deadline=FINDING_DEADLINE,
            what=f"network {name} is not made though its VNI is free",
            where="lyon",
        )
    finally:
        gone = lab.command("network", "delete", name, "--wait", timeout=150)
    assert gone.returncode == 0, gone.stdout + gone.stderr


def test_guests_join_groups_of_the_same_name_in_the_other_site(stretched: Stretched) -> None:
    lab, name = stretched.lab, f"web-{uuid.uuid4().hex[:6]}"
    groups = {site: _group(stretched, site, name) for site in ("lyon",)}
    guest = guests.add(
        lab.home, site="lyon", host="compute2", network=stretched.name,
        name=f"web-{uuid.uuid4().hex[:6]}", security_groups=[groups["lyon"]],
    )  # fmt: skip
    stretched.made.append(guest.name)
    origin = f"lyon/{guest.port}"
    assert until(stretched, "paris", origin, lambda _: True)["security_groups"] == []
    told = finding(stretched, "paris", "security-group-missing", name)
    assert f"security group create {name}" in told["remedy"]

    groups["paris"] = _group(stretched, "paris", name)
    joined = [groups["paris"]]
    until(stretched, "paris", origin, lambda now: now["security_groups"] == joined)
    inside = guests.add(
        lab.home, site="paris", host="compute2", network=stretched.name,
        name=f"web-{uuid.uuid4().hex[:6]}", security_groups=joined,
    )  # fmt: skip
    stretched.made.append(inside.name)
    # Only members are let in: the guest of the same group in the other site, and nobody else.
    lab.reaches(guest, inside.ip, deadline=HEALED_DEADLINE)
    lab.never_reaches(stretched.lyon, inside.ip)


def _group(stretched: Stretched, site: str, name: str) -> str:
    """A group whose members may ping each other."""
    owner = stretched.lab.neutron(site).find("network", stretched.name)["project_id"]
    group = str(make(stretched, site, "security_group", name=name, project_id=owner)["id"])
    rule = {
        "security_group_id": group,
        "direction": "ingress",
        "ethertype": "IPv4",
        "protocol": "icmp",
        "remote_group_id": group,
    }
    stretched.lab.neutron(site).post("/security-group-rules", {"security_group_rule": rule})
    return group


def test_what_somebody_does_to_our_objects_is_undone_and_others_are_left_alone(
    stretched: Stretched,
) -> None:
    paris = stretched.lab.neutron("paris")
    owner = paris.find("network", stretched.name)
    subnet = paris.get("/subnets", network_id=owner["id"])["subnets"][0]
    theirs = make(stretched, "paris", "network", name=stretched.name)
    standing = remote(stretched, "paris", f"lyon/{stretched.lyon.port}")
    assert standing is not None

    paris.delete(f"/ports/{standing['id']}")
    wide = [{"start": "10.71.0.1", "end": "10.71.0.254"}]
    paris.put(f"/subnets/{subnet['id']}", {"subnet": {"allocation_pools": wide}})

    until(
        stretched, "paris", f"lyon/{stretched.lyon.port}", lambda now: now["id"] != standing["id"]
    )
    waiting.until(
        lambda: _differs(paris.get(f"/subnets/{subnet['id']}")["subnet"], subnet),
        deadline=FINDING_DEADLINE,
        what="the pools are not set back",
        where="paris",
    )
    again = paris.get(f"/networks/{theirs['id']}")["network"]
    assert (again["tags"], again["revision_number"]) == (theirs["tags"], theirs["revision_number"])


def _differs(now: dict[str, Any], before: dict[str, Any]) -> str | None:
    pools = now["allocation_pools"]
    return None if pools == before["allocation_pools"] else f"they are {pools}"


def test_a_site_that_is_detached_is_withdrawn_and_may_come_back(stretched: Stretched) -> None:
    lab, name = stretched.lab, stretched.name
    detached = lab.command("network", "detach", "site", name, "lyon", "--wait", timeout=120)
    try:
        assert detached.returncode in (0, 1, 2), detached.stderr
        stretched.stands_for("paris")
        stretched.stands_for("lyon")
        # Lyon's guest is still there, so that its network stays, and says why.
        assert lab.neutron("lyon").find("network", name)
    finally:
        attached = lab.command("network", "attach", "site", name, "lyon", "--wait", timeout=120)
    assert attached.returncode in (0, 1), attached.stderr
    stretched.stands_for("paris", stretched.lyon, deadline=HEALED_DEADLINE)
