"""Environment files: what they mean, and what is wrong with a wrong one, in words."""

import ipaddress

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from isthmus.lab import environment, errors, hosts, network
from isthmus.lab.environment import Role

GOOD = {
    "name": "trial",
    "description": "two sites",
    "network": {"wan": "10.99.0.0/16", "management": "10.98.0.0/24"},
    "sites": [
        {"name": "paris", "role": "writer", "components": ["memcached"]},
        {"name": "lyon", "role": "replica", "components": []},
    ],
}

names = st.from_regex(r"[a-z][a-z0-9]{1,10}", fullmatch=True).filter(
    lambda name: name not in environment.RESERVED
)


def parsed(document: object) -> environment.Environment:
    return environment.parse(yaml.safe_dump(document), source="trial.yaml")


def without(field: str) -> dict[str, object]:
    return {key: value for key, value in GOOD.items() if key != field}


def with_site(**changes: object) -> dict[str, object]:
    first, *rest = GOOD["sites"]
    return {**GOOD, "sites": [{**first, **changes}, *rest]}


def test_the_packaged_environment_is_three_sites_in_star_mode() -> None:
    _, found = environment.load("identity")
    assert [site.name for site in found.writers] == ["paris", "lyon"]
    assert [site.name for site in found.replicas] == ["madrid"]
    assert [link.name for link in found.links] == ["paris-lyon", "paris-madrid", "lyon-madrid"]
    assert "arbitrator" in found.site("madrid").components
    assert not any(site.hosts for site in found.sites)


def test_the_environment_with_networks_has_equal_host_names_in_both_clouds() -> None:
    _, found = environment.load("network")
    assert found.site("paris").hosts == found.site("lyon").hosts == ("compute1", "compute2")
    every = [host for site in found.sites for host in site.host_specs]
    assert len({host.namespace for host in every}) == len({host.address for host in every}) == 4
    assert found.site("lyon").host("compute2").address == "10.99.2.32"
    assert found.observer_address == "192.0.2.250"


@pytest.mark.parametrize(
    ("document", "cause"),
    [
        ("just text", "the document must be a mapping"),
        (without("sites"), "the document lacks sites"),
        ({**GOOD, "sits": 1}, "the document has unknown sits"),
        ({**GOOD, "sites": []}, "sites must be a list with at least one site"),
        ({**GOOD, "network": {"wan": "10.99.0.0/16"}}, "network lacks management"),
        (
            {**GOOD, "network": {"wan": "8.8.0.0/16", "management": "10.98.0.0/24"}},
            "must be a private /16",
        ),
        (
            {**GOOD, "network": {"wan": "10.99.0.0/20", "management": "10.98.0.0/24"}},
            "must be a private /16",
        ),
        (
            {**GOOD, "network": {"wan": "10.99.0.1/16", "management": "10.98.0.0/24"}},
            "has host bits set",
        ),
        ({**GOOD, "network": {"wan": "10.99.0.0/16", "management": "10.99.7.0/24"}}, "overlap"),
        (with_site(name="Paris"), "name 'Paris' must be 2 to 11 characters"),
        (with_site(name="averylongname"), "name 'averylongname' must be 2 to 11 characters"),
        (with_site(name="wan"), "the name is the lab's own"),
        (with_site(name="lyon"), "site 'lyon' is listed twice"),
        (with_site(role="master"), "role 'master' is not one of writer, replica"),
        (with_site(role="replica"), "no site has role writer"),
        (with_site(components="memcached"), "components must be a list of names"),
        (with_site(colour="red"), "site 1 has unknown colour"),
        (with_site(hosts="compute1"), "hosts must be a list of names"),
        (with_site(hosts=["Compute"]), "hosts must be a list of names"),
        (with_site(hosts=["c1", "c1"]), "a host is listed twice"),
        (with_site(hosts=[f"c{i}" for i in range(10)]), "10 hosts; a site has addresses for 9"),
        (
            {**GOOD, "network": {**GOOD["network"], "external": "10.98.0.0/24"}},
            "network.management 10.98.0.0/24 and network.external 10.98.0.0/24 overlap",
        ),
    ],
)
def test_a_wrong_file_is_refused_with_the_field_that_is_wrong(document: object, cause: str) -> None:
    with pytest.raises(errors.BadEnvironment) as caught:
        parsed(document)
    assert cause in str(caught.value)
    assert "trial.yaml" in str(caught.value)


def test_text_that_is_not_yaml_is_refused() -> None:
    with pytest.raises(errors.BadEnvironment, match="not YAML"):
        environment.parse("sites: [", source="trial.yaml")


def test_an_unknown_name_lists_the_packaged_ones() -> None:
    with pytest.raises(errors.BadEnvironment, match="packaged: full, identity"):
        environment.load("nosuch")


def test_an_unknown_site_or_link_lists_those_there_are() -> None:
    found = parsed(GOOD)
    with pytest.raises(errors.BadRequest, match="its sites are paris, lyon"):
        found.site("rome")
    with pytest.raises(errors.BadRequest, match="its links are paris-lyon"):
        found.link("paris-rome")
    with pytest.raises(errors.BadRequest, match="its hosts are none"):
        found.site("paris").host("compute1")
    with pytest.raises(errors.BadRequest, match="there is no provider network"):
        _ = found.observer_address


def test_a_link_is_found_from_both_ends() -> None:
    found = parsed(GOOD)
    assert found.link("lyon-paris") is not None
    assert found.link("lyon-paris").name == "paris-lyon"


@given(st.lists(names, min_size=1, max_size=85, unique=True))
def test_addresses_never_clash_whatever_the_sites_are_called(sites: list[str]) -> None:
    named = [f"c{i}" for i in range(environment.MOST_HOSTS)]
    document = {
        **GOOD,
        "sites": [
            {"name": name, "role": "writer", "components": [], "hosts": named} for name in sites
        ],
    }
    found = parsed(document)
    used = [site.address(host) for site in found.sites for host in network.HOSTS]
    used += [host.address for site in found.sites for host in site.host_specs]
    used += [site.management for site in found.sites]
    used += [found.host_address, found.login_address]
    assert len(set(used)) == len(used)
    links = found.wan.network_address + (environment.LINKS_SUBNET << 8)
    assert all(
        ipaddress.IPv4Address(each) < links or ipaddress.IPv4Address(each) not in found.wan
        for each in used
    )
    assert len(found.links) == len(sites) * (len(sites) - 1) // 2
    assert links + 4 * len(found.links) - 1 in found.wan


@given(st.lists(names, min_size=2, max_size=12, unique=True))
def test_interface_names_fit_the_kernel(sites: list[str]) -> None:
    entry = {"role": Role.WRITER.value, "components": [], "hosts": sites[: environment.MOST_HOSTS]}
    found = parsed({**GOOD, "sites": [{"name": name, **entry} for name in sites]})
    used = [network.wan_interface(site.name) for site in found.sites]
    used += [hosts.lan_port(host) for site in found.sites for host in site.host_specs]
    used += [name for link in found.links for name in network.link_ports(found, link)]
    assert all(len(name) <= 15 for name in used)
