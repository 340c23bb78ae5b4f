"""What is missing in the backup site is found beforehand, in words, and 1,000 servers take seconds."""

import dataclasses
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recovery_values import T0, a_group, a_server, an_id, definitions_of

from isthmus.outcomes import Outcome
from isthmus.recovery.declarations import Member
from isthmus.recovery.findings import Code
from isthmus.recovery.mapping import AddressPolicy, Kind, Mapping
from isthmus.recovery.metadata.definitions import (
    Definitions,
    FlavorDefinition,
    FloatingAddress,
    KeypairDefinition,
    NetworkDefinition,
    RuleDefinition,
    SealedText,
    SecurityGroupDefinition,
    ServerGroupDefinition,
    SubnetDefinition,
)
from isthmus.recovery.plans.creations import CreateNetwork, CreateSecurityGroup
from isthmus.recovery.plans.inventory import Floating, Inventory, Owner, Room
from isthmus.recovery.plans.validating import Validation, validate

KEY = KeypairDefinition(name="ops", public_key="ssh-ed25519 AAAA", fingerprint="aa:bb")
GROUP = SecurityGroupDefinition(
    id=an_id("sg"),
    name="vnf",
    rules=(RuleDefinition(direction="ingress", ethertype="IPv4", remote_group=an_id("sg")),),
)
AFFINITY = ServerGroupDefinition(id=an_id("aff"), name="apart", policy="anti-affinity")

SAME = Mapping(name="west", source="paris", target="lyon", same_name=tuple(Kind))


def whole(definitions: Definitions) -> Definitions:
    """With all that a server can have."""
    servers = tuple(
        dataclasses.replace(
            server,
            keypair=KEY,
            server_group=AFFINITY.id,
            ports=tuple(
                dataclasses.replace(port, security_groups=(GROUP.id,)) for port in server.ports
            ),
        )
        for server in definitions.servers
    )
    return dataclasses.replace(
        definitions, servers=servers, security_groups=(GROUP,), server_groups=(AFFINITY,)
    )


SOURCE = whole(definitions_of(a_group()))


def twin(definitions: Definitions, **changes: object) -> Inventory:
    """A target that has everything by the same names, with IDs of its own."""

    def there(value: object) -> str:
        return an_id("lyon", value)

    networks = tuple(
        dataclasses.replace(
            network,
            id=there(network.id),
            subnets=tuple(dataclasses.replace(s, id=there(s.id)) for s in network.subnets),
        )
        for network in definitions.networks
    )
    flavors = {each.flavor.id: each.flavor for each in definitions.servers}
    keypairs = {each.keypair.name: each.keypair for each in definitions.servers if each.keypair}
    inventory = Inventory(
        site="lyon",
        project_id="project",
        read_at=T0,
        flavors=tuple(dataclasses.replace(each, id=there(each.id)) for each in flavors.values()),
        keypairs=tuple(keypairs.values()),
        networks=networks,
        security_groups=tuple(
            dataclasses.replace(each, id=there(each.id)) for each in definitions.security_groups
        ),
        server_groups=tuple(
            dataclasses.replace(each, id=there(each.id)) for each in definitions.server_groups
        ),
        volume_types=("rbd",),
        zones=("nova",),
    )
    return dataclasses.replace(inventory, **changes)  # type: ignore[arg-type]


def codes(validation: Validation, outcome: Outcome = Outcome.ERROR) -> set[Code]:
    return {each.code for each in validation.findings if each.outcome is outcome}


def test_a_target_that_has_everything_has_no_findings_and_a_target_for_each_server() -> None:
    found = validate(SOURCE, SAME, twin(SOURCE))
    assert found.findings == ()
    assert found.creations == ()
    assert set(found.targets) == {each.id for each in SOURCE.servers}
    target = found.targets[SOURCE.servers[0].id]
    assert target.ports[0].addresses == ("10.0.0.10",)
    assert target.ports[0].mac == "fa:16:3e:00:00:0a"
    assert target.ports[0].network_id == an_id("lyon", an_id("network"))
    assert target.keypair == "ops"
    assert target.server_group_id == an_id("lyon", AFFINITY.id)


def test_without_a_mapping_nothing_is_guessed() -> None:
    found = validate(SOURCE, dataclasses.replace(SAME, same_name=()), twin(SOURCE))
    assert codes(found) == {Code.NOT_MAPPED}
    assert found.targets == {}
    subjects = {each.subject.split()[0] for each in found.findings}
    assert subjects == {
        "flavor",
        "network",
        "keypair",
        "security-group",
        "server-group",
        "zone",
        "volume-type",
    }
    assert all(len(each.servers) == 3 for each in found.findings)


def test_what_is_safe_to_make_is_offered_and_the_rest_is_the_operators() -> None:
    empty = Inventory(site="lyon", project_id="project", read_at=T0)
    found = validate(SOURCE, SAME, empty)
    made = [type(each).__name__ for each in found.creations]
    assert sorted(made) == [
        "CreateFlavor",
        "CreateKeypair",
        "CreateNetwork",
        "CreateSecurityGroup",
        "CreateServerGroup",
    ]
    assert made[-1] == "CreateSecurityGroup"
    group = found.creations[-1]
    assert isinstance(group, CreateSecurityGroup)
    assert group.remote_names == ((GROUP.id, "vnf"),)
    by_hand = {each.subject for each in found.findings if "make the" in each.remedy}
    assert by_hand == {"zone nova", "volume-type rbd"}


def test_a_shared_network_is_not_made() -> None:
    shared = dataclasses.replace(
        SOURCE, networks=tuple(dataclasses.replace(n, shared=True) for n in SOURCE.networks)
    )
    found = validate(shared, SAME, twin(SOURCE, networks=()))
    assert not [each for each in found.creations if isinstance(each, CreateNetwork)]


def test_an_address_that_somebody_has_is_found_and_our_own_remote_port_is_not() -> None:
    network, port = an_id("lyon", an_id("network")), SOURCE.servers[0].ports[0]
    taken = {(network, "10.0.0.10"): Owner(port_id="p", device_owner="compute:nova")}
    found = validate(SOURCE, SAME, twin(SOURCE, addresses=taken))
    assert codes(found) == {Code.ADDRESS_TAKEN}
    assert len(found.targets) == 2
    ours = {(network, "10.0.0.10"): Owner(port_id="p", origin=port.id)}
    found = validate(SOURCE, SAME, twin(SOURCE, addresses=ours))
    assert codes(found) == set()
    assert codes(found, Outcome.INFO) == {Code.ADDRESS_TAKEN}
    assert len(found.targets) == 3


def test_another_cidr_needs_addresses_or_a_policy() -> None:
    inventory = twin(SOURCE)
    (network,) = inventory.networks
    subnets = (dataclasses.replace(network.subnets[0], cidr="10.77.0.0/16"),)
    other = dataclasses.replace(
        inventory, networks=(dataclasses.replace(network, subnets=subnets),)
    )
    assert codes(validate(SOURCE, SAME, other)) == {Code.ADDRESS_OUTSIDE}
    moved = dataclasses.replace(SAME, address_policy=AddressPolicy.TRANSLATE)
    found = validate(SOURCE, moved, other)
    assert found.findings == ()
    addresses = {target.ports[0].addresses for target in found.targets.values()}
    assert addresses == {("10.77.0.10",), ("10.77.0.11",), ("10.77.0.12",)}
    free = dataclasses.replace(SAME, address_policy=AddressPolicy.ANY, keep_macs=False)
    found = validate(SOURCE, free, other)
    assert {target.ports[0].addresses for target in found.targets.values()} == {(None,)}


def test_two_servers_never_get_one_address() -> None:
    clash = dataclasses.replace(SAME, addresses={"10.0.0.10": "10.0.0.11"})
    found = validate(SOURCE, clash, twin(SOURCE))
    assert codes(found) == {Code.ADDRESS_TWICE}
    (finding,) = found.findings
    assert set(finding.servers) == {"client", "middle"}
    assert len(found.targets) == 1


@pytest.mark.parametrize(
    ("changes", "code", "outcome"),
    [
        ({"zones": ()}, Code.MISSING, Outcome.ERROR),
        ({"volume_types": ()}, Code.MISSING, Outcome.ERROR),
        ({"quotas": {"gigabytes": Room(limit=10, used=5)}}, Code.QUOTA, Outcome.ERROR),
        (
            {"flavors": (FlavorDefinition(id="x", name="m1.vnf", vcpus=1, ram_mib=128),)},
            Code.TOO_SMALL,
            Outcome.WARN,
        ),
        (
            {"keypairs": (dataclasses.replace(KEY, fingerprint="cc"),)},
            Code.DIFFERS,
            Outcome.WARN,
        ),
        (
            {"security_groups": (dataclasses.replace(GROUP, id="y", rules=()),)},
            Code.DIFFERS,
            Outcome.WARN,
        ),
        (
            {
                "flavors": tuple(
                    FlavorDefinition(id=i, name="m1.vnf", vcpus=1, ram_mib=256) for i in "ab"
                )
            },
            Code.AMBIGUOUS,
            Outcome.ERROR,
        ),
    ],
)
def test_what_differs_is_said(changes: dict[str, object], code: Code, outcome: Outcome) -> None:
    found = validate(SOURCE, SAME, twin(SOURCE, **changes))
    assert code in codes(found, outcome)
    assert (found.outcome is Outcome.ERROR) == (outcome is Outcome.ERROR)


def test_an_id_in_the_mapping_settles_what_a_name_does_not() -> None:
    inventory = twin(SOURCE, security_groups=(GROUP, dataclasses.replace(GROUP, id="z")))
    assert codes(validate(SOURCE, SAME, inventory)) == {Code.AMBIGUOUS}
    settled = dataclasses.replace(SAME, security_groups={"vnf": "z"})
    found = validate(SOURCE, settled, inventory)
    assert found.findings == ()
    assert found.targets[SOURCE.servers[0].id].ports[0].security_groups == ("z",)


def test_an_unknown_mapping_is_said_for_floating_addresses_and_user_data() -> None:
    server = SOURCE.servers[0]
    port = dataclasses.replace(
        server.ports[0],
        floating=(FloatingAddress(address="203.0.113.9", fixed="10.0.0.10", network_id="ext"),),
    )
    sealed = SealedText(boxes={"key-of-madrid": ""}, length=3)
    changed = dataclasses.replace(server, ports=(port,), had_user_data=True, user_data=sealed)
    source = dataclasses.replace(SOURCE, servers=(changed, *SOURCE.servers[1:]))
    found = validate(source, SAME, twin(SOURCE))
    assert codes(found, Outcome.WARN) == {Code.NOT_MAPPED, Code.UNREADABLE}
    assert len(found.targets) == 3
    fine = validate(
        source,
        dataclasses.replace(SAME, floating={"ext": "outside"}),
        twin(SOURCE, unsealing_keys=("key-of-madrid",), **OUTSIDE),
    )
    assert fine.findings == ()


SUBNET = an_id("lyon", an_id("subnet"))
EXTERNAL = NetworkDefinition(
    id="x1",
    name="outside",
    subnets=(SubnetDefinition(id="xs1", name="", cidr="198.51.100.0/24"),),
)
OUTSIDE: dict[str, object] = {"external": (EXTERNAL,), "routes": frozenset({(SUBNET, "x1")})}
FREE = Floating(id="f1", address="198.51.100.7", network_id="x1", project_id="project")


def public(*addresses: str) -> Definitions:
    """With a floating address for each of the first servers."""
    servers = list(SOURCE.servers)
    for n, address in enumerate(addresses):
        port = servers[n].ports[0]
        floating = FloatingAddress(
            address=address, fixed=port.fixed[0].address, network_id="ext", description="door"
        )
        servers[n] = dataclasses.replace(
            servers[n], ports=(dataclasses.replace(port, floating=(floating,)),)
        )
    return dataclasses.replace(SOURCE, servers=tuple(servers))


def led(definitions: Definitions, leads: dict[str, str], **changes: object) -> Validation:
    mapping = dataclasses.replace(SAME, floating=leads)
    return validate(definitions, mapping, twin(SOURCE, **{**OUTSIDE, **changes}))


def test_a_floating_address_is_resolved_by_its_own_entry_before_that_of_its_network() -> None:
    floating = {"203.0.113.9": "198.51.100.7", "ext": "outside"}
    found = led(public("203.0.113.9", "203.0.113.10"), floating, floating=(FREE,))
    assert found.findings == ()
    wanted = [found.targets[each.id].ports[0].floating for each in SOURCE.servers]
    assert [[each.address for each in one] for one in wanted] == [["198.51.100.7"], [None], []]
    first = wanted[0][0]
    assert (first.network_id, first.subnet_id, first.fixed) == ("x1", SUBNET, "10.0.0.10")
    assert first.port_id == SOURCE.servers[0].ports[0].id
    assert first.description == "door"


@pytest.mark.parametrize(
    ("floating", "changes", "code"),
    [
        ({"ext": "nowhere"}, {}, Code.MISSING),
        (
            {"ext": "outside"},
            {"external": (EXTERNAL, dataclasses.replace(EXTERNAL, id="x2"))},
            Code.AMBIGUOUS,
        ),
        ({"203.0.113.9": "192.0.2.1"}, {}, Code.ADDRESS_OUTSIDE),
        ({"ext": "outside"}, {"routes": frozenset()}, Code.NO_ROUTE),
        ({"ext": "outside"}, {"routes": frozenset({(SUBNET, "x2")})}, Code.NO_ROUTE),
        (
            {"ext": "198.51.100.7"},
            {"floating": (dataclasses.replace(FREE, port_id="p"),)},
            Code.ADDRESS_TAKEN,
        ),
        (
            {"ext": "198.51.100.7"},
            {"floating": (dataclasses.replace(FREE, project_id="other"),)},
            Code.ADDRESS_TAKEN,
        ),
        (
            {"ext": "198.51.100.7"},
            {"addresses": {("x1", "198.51.100.7"): Owner(port_id="p")}},
            Code.ADDRESS_TAKEN,
        ),
    ],
)
def test_a_floating_address_that_cannot_be_had_is_an_error_of_its_server(
    floating: dict[str, str], changes: dict[str, object], code: Code
) -> None:
    found = led(public("203.0.113.9"), floating, **changes)
    assert codes(found) == {code}
    (finding,) = found.findings
    assert (finding.subject, finding.servers) == ("floating address 203.0.113.9", ("client",))
    assert SOURCE.servers[0].id not in found.targets


def test_a_drill_judges_no_floating_address() -> None:
    mapping = dataclasses.replace(SAME, floating={"ext": "nowhere"})
    found = validate(public("203.0.113.9"), mapping, twin(SOURCE), isolated=True)
    assert codes(found, Outcome.INFO) == {Code.NOT_TESTED}
    assert found.targets[SOURCE.servers[0].id].ports[0].floating == ()


@given(
    st.dictionaries(
        st.sampled_from(["203.0.113.1", "203.0.113.2", "203.0.113.3", "ext"]),
        st.sampled_from(["198.51.100.7", "198.51.100.8", "192.0.2.1", "outside", "nowhere"]),
    ),
    st.sets(st.sampled_from(["198.51.100.7", "198.51.100.8"])),
    st.booleans(),
    st.booleans(),
)
def test_no_two_servers_get_one_floating_address_and_none_gets_somebody_elses(
    floating: dict[str, str], taken: set[str], routed: bool, isolated: bool
) -> None:
    there = tuple(dataclasses.replace(FREE, id=each, address=each, port_id="p") for each in taken)
    changes: dict[str, object] = {} if routed else {"routes": frozenset()}
    definitions = public("203.0.113.1", "203.0.113.2", "203.0.113.3")
    mapping = dataclasses.replace(SAME, floating=floating)
    inventory = twin(SOURCE, **{**OUTSIDE, "floating": there, **changes})
    found = validate(definitions, mapping, inventory, isolated=isolated)
    given = [f for each in found.targets.values() for port in each.ports for f in port.floating]
    addresses = [each.address for each in given if each.address]
    assert len(addresses) == len(set(addresses))
    assert not set(addresses) & taken
    assert not given or (routed and not isolated)
    named = {name for each in found.findings for name in each.servers}
    for server in definitions.servers:
        brought = any(each.port_id == server.ports[0].id for each in given)
        assert brought or server.name in named, "nothing is left out without a word"


FIELDS = [
    "flavors",
    "keypairs",
    "networks",
    "security_groups",
    "server_groups",
    "volume_types",
    "zones",
]


@given(st.sets(st.sampled_from(FIELDS)), st.sets(st.sampled_from(list(Kind))), st.booleans())
@settings(max_examples=60)
def test_a_server_has_a_target_or_an_error_that_names_it(
    missing: set[str], unmapped: set[Kind], taken: bool
) -> None:
    empty: dict[str, object] = dict.fromkeys(missing, ())
    if taken:
        empty["macs"] = {(an_id("lyon", an_id("network")), "fa:16:3e:00:00:0b"): Owner(port_id="p")}
    inventory = twin(SOURCE, **empty)
    same = tuple(kind for kind in Kind if kind not in unmapped)
    found = validate(SOURCE, dataclasses.replace(SAME, same_name=same), inventory)
    errors = [each for each in found.findings if each.outcome is Outcome.ERROR]
    for server in SOURCE.servers:
        named = any(server.name in each.servers for each in errors)
        assert named != (server.id in found.targets)
    networks = {each.id for each in inventory.networks}
    groups = {each.id for each in inventory.security_groups}
    for target in found.targets.values():
        for port in target.ports:
            assert port.network_id in networks
            assert set(port.security_groups) <= groups


def test_a_thousand_servers_are_judged_within_seconds() -> None:
    members = [Member(server_id=an_id("s", n), name=f"vm-{n}") for n in range(1000)]
    servers = tuple(a_server(each, number=10 + n) for n, each in enumerate(members))
    definitions = whole(dataclasses.replace(SOURCE, servers=servers))
    inventory = twin(definitions, zones=())
    began = time.monotonic()
    found = validate(definitions, SAME, inventory)
    assert time.monotonic() - began < 20.0, "the aim is 60 s with the reading of both clouds"
    assert [len(each.servers) for each in found.findings] == [1000]
    assert found.targets == {}
    assert len(validate(definitions, SAME, twin(definitions)).targets) == 1000
