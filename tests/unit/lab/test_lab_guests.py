"""Guests: their names, what is noted of them, what a wrong request is told."""

import json
import pathlib
from dataclasses import asdict

import pytest

from isthmus.lab import environment, errors, guests, home
from isthmus.lab.guests import Guest

GUEST = Guest(
    name="one",
    site="paris",
    host="compute1",
    network="blue",
    port="93b9622a-b95b-47ae-bd9e-f8cf4fa35657",
    mac="fa:16:3e:01:ea:d5",
    ip="10.50.0.63",
    prefix=24,
    mtu=1450,
    gateway=None,
)


@pytest.fixture
def place(tmp_path: pathlib.Path) -> home.Home:
    """A home with a record of the environment with networks, and one guest that is noted."""
    found = home.Home(root=tmp_path)
    text, _ = environment.load("network")
    home.write_record(found, home.Record(environment_text=text, template="t", begun=1.0))
    home.replace(guests.folder(found) / "one.json", json.dumps(asdict(GUEST)), mode=0o600)
    return found


def test_a_noted_guest_is_found_again_as_it_was(place: home.Home) -> None:
    assert guests.listed(place) == [GUEST]
    assert guests.find(place, "one") == GUEST


def test_interfaces_of_guests_are_called_as_nova_calls_them_and_fit_the_kernel() -> None:
    assert GUEST.tap == "tap93b9622a-b9"
    assert len(GUEST.tap) <= 15


def test_an_unknown_guest_is_answered_with_those_that_there_are(place: home.Home) -> None:
    with pytest.raises(errors.BadRequest, match="the guests are one"):
        guests.find(place, "two")


def test_a_name_belongs_to_one_guest_of_the_lab_wherever_it_runs(place: home.Home) -> None:
    with pytest.raises(errors.BadRequest, match="there is already a guest 'one'"):
        guests.add(place, site="lyon", host="compute1", network="blue", name="one")


@pytest.mark.parametrize("name", ["", "Upper", "1st", "with_underscore", "a/b", "x" * 32])
def test_a_name_that_cannot_name_a_namespace_is_refused(place: home.Home, name: str) -> None:
    with pytest.raises(errors.BadRequest, match="a guest cannot be called"):
        guests.add(place, site="paris", host="compute1", network="blue", name=name)


def test_a_guest_that_is_not_there_needs_no_removal(place: home.Home) -> None:
    assert guests.remove(place, "two") is False
