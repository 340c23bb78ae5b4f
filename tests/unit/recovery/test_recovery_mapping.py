"""What things of one site are called in another, and that nothing is guessed."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus import errors
from isthmus.recovery.mapping import AddressPolicy, Kind, Mapping, translated


def a_mapping(**parts: object) -> Mapping:
    return Mapping(name="west", source="paris", target="lyon", **parts)  # type: ignore[arg-type]


def test_what_nobody_mapped_has_no_counterpart() -> None:
    for kind in Kind:
        assert a_mapping().counterpart(kind, "id", "name") is None


def test_same_names_count_only_for_the_kinds_that_were_declared_so() -> None:
    mapping = a_mapping(same_name=(Kind.FLAVOR,))
    assert mapping.counterpart(Kind.FLAVOR, "id", "m1") == "m1"
    assert mapping.counterpart(Kind.NETWORK, "id", "inside") is None


def test_an_entry_for_the_id_wins_over_one_for_the_name() -> None:
    mapping = a_mapping(flavors={"m1": "by-name", "17": "by-id"}, same_name=(Kind.FLAVOR,))
    assert mapping.counterpart(Kind.FLAVOR, "17", "m1") == "by-id"
    assert mapping.counterpart(Kind.FLAVOR, "18", "m1") == "by-name"


def test_zones_and_volume_types_may_have_a_default() -> None:
    mapping = a_mapping(zones={"a": "b"}, default_zone="nova", default_volume_type="ceph")
    assert mapping.counterpart(Kind.ZONE, None, "a") == "b"
    assert mapping.counterpart(Kind.ZONE, None, "z") == "nova"
    assert mapping.counterpart(Kind.VOLUME_TYPE, None, None) == "ceph"


def test_an_address_is_kept_translated_or_left_to_the_target() -> None:
    cidrs = ("10.0.0.0/24", "10.9.0.0/24")
    assert a_mapping().address("10.0.0.7", cidrs[0], cidrs[0]) == "10.0.0.7"
    with pytest.raises(ValueError, match="not in"):
        a_mapping().address("10.0.0.7", *cidrs)
    moved = a_mapping(address_policy=AddressPolicy.TRANSLATE, addresses={"10.0.0.8": "10.9.0.99"})
    assert moved.address("10.0.0.7", *cidrs) == "10.9.0.7"
    assert moved.address("10.0.0.8", *cidrs) == "10.9.0.99"
    assert a_mapping(address_policy=AddressPolicy.ANY).address("10.0.0.7", *cidrs) is None


@given(
    st.ip_addresses(v=4),
    st.ip_addresses(v=4),
    st.integers(16, 30),
    st.integers(0, 2**16),
)
def test_translation_keeps_distinct_addresses_distinct(
    one: ipaddress.IPv4Address, other: ipaddress.IPv4Address, prefix: int, offset: int
) -> None:
    source = ipaddress.ip_network(f"{one}/{prefix}", strict=False)
    target = ipaddress.ip_network(f"{other}/{prefix}", strict=False)
    address = str(source[offset % source.num_addresses])
    there = translated(address, str(source), str(target))
    assert ipaddress.ip_address(there) in target
    assert translated(there, str(target), str(source)) == address


@pytest.mark.parametrize(
    "change",
    [
        {"target": "paris"},
        {"addresses": {"10.0.0.1": "fd00::1"}},
        {"addresses": {"10.0.0.1": "10.0.0.9", "10.0.0.2": "10.0.0.9"}},
        {"addresses": {"x": "10.0.0.9"}},
        {"address_policy": "guess"},
        {"surprise": 1},
    ],
)
def test_a_mapping_that_cannot_be_is_refused(change: dict[str, object]) -> None:
    sound = a_mapping().to_document()
    assert Mapping.from_document(sound) == a_mapping()
    with pytest.raises(errors.InputError):
        Mapping.from_document({**sound, **change})


def test_two_floating_addresses_may_share_a_network_and_not_an_address() -> None:
    shared = a_mapping(floating={"203.0.113.1": "provider", "203.0.113.2": "provider"})
    assert Mapping.from_document(shared.to_document()) == shared
    twice = a_mapping(floating={"203.0.113.1": "198.51.100.7", "203.0.113.2": "198.51.100.7"})
    with pytest.raises(errors.InputError, match=r"both mapped to 198\.51\.100\.7"):
        Mapping.from_document(twice.to_document())
