"""A member's own test: what it prints is kept as figures, and how it fails is said."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from isthmus import errors
from isthmus.recovery import probing
from isthmus.recovery.declarations import Member


class Compute:
    """Knows where a server is."""

    def get(self, path: str) -> Any:
        return {
            "server": {
                "id": path,
                "OS-EXT-SRV-ATTR:host": "h",
                "OS-EXT-SRV-ATTR:instance_name": "d",
            }
        }


class Guest:
    """Answers, and ends a member's test as it is told to."""

    def __init__(self, code: int, words: str) -> None:
        self._end = (code, words)
        self.ran: list[Sequence[str]] = []

    def execute(
        self, host: str, domain: str, command: Sequence[str], timeout_s: float
    ) -> tuple[int, str]:
        self.ran.append(tuple(command))
        return self._end if tuple(command) == MEMBER.test else (0, "")


MEMBER = Member(name="client", server_id="s", level=0, test=("/lib/guest/verify",))


def test_the_last_line_of_a_test_is_kept_as_figures() -> None:
    guest = Guest(0, 'some words\n{"records_bad": 0, "issued_at_boot": 12, "deep": {"no": 1}}\n')
    found = probing.Guests(guest)(Compute(), MEMBER, "s")
    assert found == {"records_bad": 0, "issued_at_boot": 12}
    assert guest.ran == [probing.ANSWERS, MEMBER.test]


@pytest.mark.parametrize("words", ["", "fine", "[1]", '{"cut off'])
def test_a_test_need_not_print_figures(words: str) -> None:
    assert probing.Guests(Guest(0, words))(Compute(), MEMBER, "s") == {}


def test_a_test_that_fails_says_its_last_words() -> None:
    with pytest.raises(errors.IsthmusError, match=r"member client.*exit code 1: 3 records are bad"):
        probing.Guests(Guest(1, "3 records are bad\n"))(Compute(), MEMBER, "s")
