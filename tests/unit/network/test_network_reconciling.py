"""What a plan does in single situations."""

from __future__ import annotations

import dataclasses

import network_model as model
import pytest
from network_model import Site, declaration

from isthmus.network import actions, partition, views
from isthmus.network.findings import Code
from isthmus.network.reconciling import Plan, finished, orphans, plan
from isthmus.network.views import Origin, Port, SiteView

NOW = 2000.0
BACKUP = declaration()


def standing(*names: str, wanted=BACKUP) -> list[Site]:
    """Sites whose network stands already."""
    sites = [Site(name) for name in names]
    for site in sites:
        site.apply(wanted, plan(wanted, site.view(wanted), {}, frozenset(), NOW).actions)
    return sites


def boot(site: Site, port_id: str, number: int, **values: object) -> Port:
    plain: dict[str, object] = {
        "mac": f"fa:16:3e:{len(site.name):02x}:00:{number:02x}",
        "ips": (f"10.50.0.{number}",),
        "vtep_ip": f"10.99.{len(site.name)}.31",
        "host": "compute1",
        "name": port_id,
        "security_groups": frozenset({f"{site.name}-default"}),
    }
    return site.boot(site.network_of(BACKUP), port_id, **{**plain, **values})


def planned(own: Site, *peers: Site, wanted=BACKUP, lost=(), **given: object) -> Plan:
    seen = {each.name: each.view(wanted) for each in peers}
    return plan(wanted, own.view(wanted), seen, frozenset(lost), NOW, **given)  # type: ignore[arg-type]


def settle(own: Site, *peers: Site, wanted=BACKUP, **given: object) -> Plan:
    """Plan and carry out until nothing is left to do; the last plan, which is empty."""
    for _ in range(3):
        now = planned(own, *peers, wanted=wanted, **given)
        own.apply(wanted, now.actions)
        if now.empty:
            return now
    raise AssertionError(f"still something to do: {now.actions}")


def remotes(site: Site) -> dict[str, Port]:
    return {str(each.origin): each for each in site.ports.values() if each.ours}


def codes(now: Plan) -> set[Code]:
    return {each.code for each in now.findings}


def silent(site: str, *, since: float = NOW - 10) -> SiteView:
    return views.silent(site, since, "connect timeout after 2 s")


def test_a_site_without_the_network_first_makes_it_and_asks_to_plan_again() -> None:
    paris = Site("paris")
    first = planned(paris)
    assert [type(each) for each in first.actions] == [actions.CreateNetwork, actions.CreateSubnet]
    assert first.again
    paris.apply(BACKUP, first.actions)
    subnet = next(iter(paris.subnets.values()))
    assert subnet.pools == BACKUP.pools["paris"]
    assert (subnet.dhcp, subnet.gateway) == (False, None)
    assert planned(paris).empty


def test_a_network_that_a_crash_left_without_tags_is_taken_up_again() -> None:
    (paris,) = standing("paris")
    for table in (paris.networks, paris.subnets):
        for key in table:
            table[key] = dataclasses.replace(table[key], tags=frozenset())
    now = planned(paris)
    assert {type(each) for each in now.actions} == {actions.ChangeTags, actions.TagSubnet}
    settle(paris)


def test_a_network_of_somebody_else_with_our_vni_is_left_alone_and_named() -> None:
    paris = Site("paris")
    make = actions.CreateNetwork(
        name="theirs", project_id="other", vni=4000, mtu=1450, description="", tags=()
    )
    paris.apply(BACKUP, [make])
    now = planned(paris)
    clash = next(each for each in now.findings if each.code is Code.VNI_CLASH)
    assert "theirs" in clash.owners[1]
    assert "backup" in clash.owners[0]


def test_a_bound_port_of_another_site_gets_one_remote_port() -> None:
    paris, lyon = standing("paris", "lyon")
    boot(lyon, "web", 70)
    settle(paris, lyon)
    (remote,) = remotes(paris).values()
    assert remote.device_id == "lyon/web"
    assert (remote.mac, remote.ips, remote.remote_vtep) == (
        "fa:16:3e:04:00:46",
        ("10.50.0.70",),
        "10.99.4.31",
    )
    assert remote.security_groups == {"paris-default"}


@pytest.mark.parametrize(
    "values",
    [
        {"vtep_ip": None},
        {"device_owner": "network:router_interface_distributed"},
        {"remote_vtep": "10.99.9.1"},
        {"device_owner": views.REMOTE_OWNER, "device_id": "paris/x"},
    ],
)
def test_ports_that_no_single_host_holds_are_not_mirrored(values: dict[str, object]) -> None:
    paris, lyon = standing("paris", "lyon")
    boot(lyon, "web", 70, **values)
    assert planned(paris, lyon).empty


def test_a_move_to_another_host_is_one_update() -> None:
    paris, lyon = standing("paris", "lyon")
    boot(lyon, "web", 70)
    settle(paris, lyon)
    lyon.change("web", vtep_ip="10.99.2.32", host="compute2")
    (update,) = planned(paris, lyon).actions
    assert isinstance(update, actions.UpdatePort)
    assert (update.vtep, update.ips, update.name) == ("10.99.2.32", None, None)
    settle(paris, lyon)


def test_another_mac_deletes_and_creates_because_neutron_refuses_the_change() -> None:
    paris, lyon = standing("paris", "lyon")
    boot(lyon, "web", 70)
    settle(paris, lyon)
    lyon.change("web", mac="fa:16:3e:02:ff:ff")
    now = planned(paris, lyon)
    assert [type(each) for each in now.actions] == [actions.DeletePort, actions.CreatePort]
    settle(paris, lyon)


def test_addresses_that_change_hands_in_a_circle_are_deleted_and_created() -> None:
    paris, lyon = standing("paris", "lyon")
    boot(lyon, "a", 70)
    boot(lyon, "b", 71)
    settle(paris, lyon)
    lyon.change("b", ips=())
    lyon.change("a", ips=("10.50.0.71",))
    lyon.change("b", ips=("10.50.0.70",))
    settle(paris, lyon)
    assert remotes(paris)["lyon/a"].ips == ("10.50.0.71",)


def test_a_free_address_is_an_update() -> None:
    paris, lyon = standing("paris", "lyon")
    boot(lyon, "a", 70)
    settle(paris, lyon)
    lyon.change("a", ips=("10.50.0.72",))
    (update,) = planned(paris, lyon).actions
    assert isinstance(update, actions.UpdatePort)
    assert update.ips == ("10.50.0.72",)


def test_a_port_that_is_gone_or_unbound_loses_its_remote_port() -> None:
    paris, lyon = standing("paris", "lyon")
    boot(lyon, "gone", 70)
    boot(lyon, "shelved", 71)
    settle(paris, lyon)
    del lyon.ports["gone"]
    lyon.change("shelved", vtep_ip=None)
    assert {type(each) for each in planned(paris, lyon).actions} == {actions.DeletePort}
    settle(paris, lyon)
    assert not remotes(paris)


def test_a_silent_site_loses_nothing() -> None:
    paris, lyon = standing("paris", "lyon")
    boot(lyon, "web", 70)
    settle(paris, lyon)
    now = plan(BACKUP, paris.view(BACKUP), {"lyon": silent("lyon")}, frozenset(), NOW)
    assert now.empty
    assert codes(now) == {Code.SITE_SILENT}
    assert plan(BACKUP, paris.view(BACKUP), {}, frozenset(), NOW).empty


def test_a_lost_site_loses_all_at_once_and_gets_all_back_when_it_returns() -> None:
    paris, lyon = standing("paris", "lyon")
    for number in range(70, 90):
        boot(lyon, f"p{number}", number)
    settle(paris, lyon)
    now = planned(paris, lyon, lost=["lyon"])
    assert len(now.actions) == 20
    assert Code.SITE_LOST in codes(now)
    settle(paris, lyon, lost=["lyon"])
    assert not remotes(paris)
    settle(paris, lyon)
    assert len(remotes(paris)) == 20


def test_a_site_that_is_itself_declared_lost_goes_on_and_says_so() -> None:
    paris, lyon = standing("paris", "lyon")
    boot(lyon, "web", 70)
    now = planned(paris, lyon, lost=["paris"])
    assert len(now.actions) == 1
    assert "itself" in next(each.summary for each in now.findings if each.code is Code.SITE_LOST)


def hearing(*heard: str) -> partition.Hearing:
    engines = frozenset({"paris", "lyon", "madrid"})
    return partition.Hearing(own="paris", engines=engines, heard=frozenset(heard))


def test_a_purge_needs_the_witness_and_marks_the_network() -> None:
    wanted = declaration(partition=partition.Policy.PURGE, partition_after_seconds=60.0)
    paris, lyon = standing("paris", "lyon", wanted=wanted)
    boot(lyon, "web", 70)
    settle(paris, lyon, wanted=wanted)
    gone = {"lyon": silent("lyon", since=NOW - 61)}

    alone = plan(wanted, paris.view(wanted), gone, frozenset(), NOW, hearing=hearing())
    assert [type(each) for each in alone.actions] == [actions.ChangeTags]
    assert Code.PURGE_HELD in codes(alone)

    backed = plan(wanted, paris.view(wanted), gone, frozenset(), NOW, hearing=hearing("madrid"))
    assert [type(each) for each in backed.actions] == [actions.ChangeTags, actions.DeletePort]
    assert Code.SITE_PURGED in codes(backed)
    assert backed.stale == {"lyon"}

    paris.apply(wanted, backed.actions)
    settle(paris, lyon, wanted=wanted)
    assert list(remotes(paris)) == ["lyon/web"]
    assert not any(
        tag.startswith("isthmus-stale") for n in paris.networks.values() for tag in n.tags
    )


def test_only_the_ports_that_were_asked_for_are_touched() -> None:
    paris, lyon = standing("paris", "lyon")
    boot(lyon, "a", 70)
    boot(lyon, "b", 71)
    settle(paris, lyon)
    before = paris.view(BACKUP), lyon.view(BACKUP)
    del lyon.ports["a"], lyon.ports["b"]
    boot(lyon, "c", 72)
    peer = views.overlaid(before[1], {"a", "c"}, [lyon.ports["c"]])
    own = views.overlaid(before[0], {"a", "c"}, [remotes(paris)["lyon/a"]])
    now = plan(BACKUP, own, {"lyon": peer}, frozenset(), NOW)
    paris.apply(BACKUP, now.actions)
    assert set(remotes(paris)) == {"lyon/b", "lyon/c"}
    whole = plan(BACKUP, paris.view(BACKUP), {"lyon": peer}, frozenset(), NOW)
    assert whole.empty  # a look at some ports says nothing of the others


def test_an_address_with_two_origins_stays_with_who_has_it() -> None:
    wanted = declaration(sites=("paris", "lyon", "nice"))
    paris, lyon, nice = standing("paris", "lyon", "nice", wanted=wanted)
    boot(nice, "late", 70, vtep_ip="10.99.3.31")
    settle(paris, lyon, nice, wanted=wanted)
    boot(lyon, "early", 70, mac="fa:16:3e:02:00:01")
    boot(lyon, "other", 71, mac="fa:16:3e:02:00:02")
    now = settle(paris, lyon, nice, wanted=wanted)
    assert set(remotes(paris)) == {"nice/late", "lyon/other"}
    clash = next(each for each in now.findings if each.code is Code.IP_CLASH)
    assert clash.owners == ("lyon: port early", "nice: port late") or all(
        name in " ".join(clash.owners) for name in ("lyon", "early", "nice", "late")
    )


def test_a_local_port_keeps_its_address_and_both_owners_are_named() -> None:
    paris, lyon = standing("paris", "lyon")
    boot(paris, "mine", 70)
    boot(lyon, "theirs", 70)
    boot(lyon, "fine", 71)
    now = settle(paris, lyon)
    assert set(remotes(paris)) == {"lyon/fine"}
    clash = next(each for each in now.findings if each.code is Code.IP_CLASH)
    assert any("paris" in each and "mine" in each for each in clash.owners)
    assert any("lyon" in each and "theirs" in each for each in clash.owners)


def test_a_missing_security_group_is_told_and_the_port_is_made_without_it() -> None:
    paris, lyon = standing("paris", "lyon")
    lyon.groups["lyon-web"] = "web"
    boot(lyon, "web", 70, security_groups=frozenset({"lyon-web", "lyon-default"}))
    now = settle(paris, lyon)
    assert Code.GROUP_MISSING in codes(now)
    assert remotes(paris)["lyon/web"].security_groups == {"paris-default"}
    paris.groups["paris-web"] = "web"
    (update,) = planned(paris, lyon).actions
    assert isinstance(update, actions.UpdatePort)
    assert update.security_groups == {"paris-default", "paris-web"}


def test_of_two_groups_with_one_name_none_is_taken() -> None:
    paris, lyon = standing("paris", "lyon")
    paris.groups |= {"paris-1": "web", "paris-2": "web"}
    lyon.groups["lyon-web"] = "web"
    boot(lyon, "web", 70, security_groups=frozenset({"lyon-web"}))
    now = settle(paris, lyon)
    assert Code.GROUP_AMBIGUOUS in codes(now)
    assert not remotes(paris)["lyon/web"].security_groups


def test_a_remote_port_made_twice_is_kept_once() -> None:
    paris, lyon = standing("paris", "lyon")
    boot(lyon, "web", 70)
    settle(paris, lyon)
    paris.boot(
        paris.network_of(BACKUP), "second", mac="fa:16:3e:ff:00:01", ips=("10.50.0.99",),
        device_owner=views.REMOTE_OWNER, device_id="lyon/web", remote_vtep="10.99.2.31",
    )  # fmt: skip
    (delete,) = planned(paris, lyon).actions
    assert isinstance(delete, actions.DeletePort)
    assert (delete.port_id, delete.origin) == ("second", Origin(site="lyon", port_id="web"))


def test_a_remote_port_that_a_dying_server_left_unbound_is_bound() -> None:
    paris, lyon = standing("paris", "lyon")
    boot(lyon, "web", 70)
    settle(paris, lyon)
    (made,) = remotes(paris).values()
    paris.change(made.id, status="DOWN")
    now = planned(paris, lyon)
    assert now.actions == (
        actions.UpdatePort(
            port_id=made.id, origin=Origin(site="lyon", port_id="web"), vtep="10.99.4.31"
        ),
    )
    assert Code.NOT_BOUND in codes(now)
    settle(paris, lyon)


def test_of_two_remote_ports_for_one_origin_the_right_one_stays() -> None:
    paris, lyon = standing("paris", "lyon")
    real = boot(lyon, "web", 70)
    plain = {
        "device_owner": views.REMOTE_OWNER,
        "device_id": "lyon/web",
        "remote_vtep": "10.99.4.31",
    }
    network = paris.network_of(BACKUP)
    paris.boot(network, "a-wrong", mac="fa:16:3e:ff:00:01", ips=("10.50.0.99",), **plain)
    paris.boot(network, "b-right", mac=real.mac, ips=real.ips, **plain)
    settle(paris, lyon)
    assert {each.id for each in paris.ports.values()} == {"b-right"}


def test_a_detached_site_is_withdrawn_here_and_takes_its_own_part_away() -> None:
    paris, lyon = standing("paris", "lyon")
    boot(lyon, "web", 70)
    boot(paris, "db", 10)
    settle(paris, lyon)
    settle(lyon, paris)
    left = declaration(sites=("paris",), revision=2)
    settle(paris, lyon, wanted=left)
    assert not remotes(paris)
    now = settle(lyon, paris, wanted=left)
    assert not remotes(lyon)
    assert set(lyon.ports) == {"web"}
    kept = next(each for each in now.findings if each.code is Code.FOREIGN_PORTS)
    assert "web" in kept.cause
    del lyon.ports["web"]
    settle(lyon, paris, wanted=left)
    assert not lyon.networks
    assert not lyon.subnets


def test_a_deleted_network_goes_everywhere_and_is_then_forgotten() -> None:
    paris, lyon = standing("paris", "lyon")
    boot(lyon, "web", 70)
    settle(paris, lyon)
    del lyon.ports["web"]
    lyon.boot(lyon.network_of(BACKUP), "dhcp", mac="fa:16:3e:02:00:99", device_owner="network:dhcp")
    end = declaration(deleting=True)
    assert not finished(end, {"paris": paris.view(end), "lyon": lyon.view(end)})
    settle(paris, lyon, wanted=end)
    settle(lyon, paris, wanted=end)
    assert not paris.networks
    assert not lyon.networks
    assert finished(end, {"paris": paris.view(end), "lyon": lyon.view(end)})
    assert not finished(end, {"paris": paris.view(end), "lyon": silent("lyon")})


def test_pools_that_somebody_changed_are_set_back() -> None:
    (paris,) = standing("paris")
    key = next(iter(paris.subnets))
    paris.subnets[key] = dataclasses.replace(
        paris.subnets[key], pools=(("10.50.0.1", "10.50.0.254"),), dhcp=True
    )
    (update,) = planned(paris).actions
    assert isinstance(update, actions.UpdateSubnet)
    assert dict(update.changes) == {
        "enable_dhcp": False,
        "allocation_pools": (("10.50.0.1", "10.50.0.63"),),
    }


def test_a_foreign_subnet_in_the_way_is_told_and_ports_go_on() -> None:
    paris, lyon = standing("paris", "lyon")
    key, held = next(iter(paris.subnets.items()))
    paris.subnets[key] = dataclasses.replace(held, tags=frozenset(), description="")
    boot(lyon, "web", 70)
    now = settle(paris, lyon)
    assert Code.FOREIGN_OBJECT in codes(now)
    assert list(remotes(paris)) == ["lyon/web"]


def test_a_tunnel_address_of_both_sites_is_told_and_left_out() -> None:
    paris, lyon = standing("paris", "lyon")
    boot(paris, "db", 10, vtep_ip="10.0.0.1")
    boot(lyon, "web", 70, vtep_ip="10.0.0.1")
    now = settle(paris, lyon)
    assert Code.VTEP_CLASH in codes(now)
    assert not remotes(paris)


def test_equal_host_names_are_harmless_and_only_told() -> None:
    paris, lyon = standing("paris", "lyon")
    boot(paris, "db", 10)
    boot(lyon, "web", 70)
    now = settle(paris, lyon)
    (finding,) = [each for each in now.findings if each.code is Code.SAME_HOST_NAME]
    assert finding.outcome.exit_code == 0
    assert list(remotes(paris)) == ["lyon/web"]


def test_a_quota_that_is_too_small_is_told_before_neutron_refuses() -> None:
    paris, lyon = standing("paris", "lyon")
    boot(lyon, "web", 70)
    full = dataclasses.replace(paris.view(BACKUP), quota=views.Quota(limit=10, used=10))
    now = plan(BACKUP, full, {"lyon": lyon.view(BACKUP)}, frozenset(), NOW)
    assert Code.QUOTA in codes(now)
    assert len(now.actions) == 1


def test_a_network_with_our_tag_and_no_declaration_is_an_orphan() -> None:
    (paris,) = standing("paris")
    (network,) = paris.networks.values()
    assert not list(orphans("paris", [network], [BACKUP]))
    (finding,) = orphans("paris", [network], [])
    assert finding.code is Code.ORPHAN
    (finding,) = orphans("paris", [network], [declaration(vni=4001)])
    assert "4001" in finding.cause


def test_without_its_own_neutron_a_site_does_nothing() -> None:
    _, lyon = standing("paris", "lyon")
    now = plan(BACKUP, silent("paris"), {"lyon": lyon.view(BACKUP)}, frozenset(), NOW)
    assert now.empty
    assert now.findings[0].site == "paris"


def test_the_model_refuses_as_neutron_does() -> None:
    (paris,) = standing("paris")
    boot(paris, "a", 1)
    with pytest.raises(model.Refused):
        boot(paris, "b", 1)
