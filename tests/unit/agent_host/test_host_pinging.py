"""Pings: what is sent, and what the texts of iputils mean."""

import pydantic
import pytest

from isthmus.agent.host import pinging

ANSWERED = """PING 10.7.0.6 (10.7.0.6) 1422(1450) bytes of data.
1430 bytes from 10.7.0.6: icmp_seq=1 ttl=64 time=2.26 ms
1430 bytes from 10.7.0.6: icmp_seq=3 ttl=64 time=0.352 ms

--- 10.7.0.6 ping statistics ---
3 packets transmitted, 2 received, 33.3333% packet loss, time 204ms
rtt min/avg/max/mdev = 0.352/1.306/2.263/0.955 ms
"""
TOO_LONG = """PING 10.7.0.6 (10.7.0.6) 1423(1451) bytes of data.
ping: local error: message too long, mtu=1450

--- 10.7.0.6 ping statistics ---
1 packets transmitted, 0 received, +1 errors, 100% packet loss, time 0ms
"""
REFUSED_ON_THE_WAY = """PING 10.99.2.31 (10.99.2.31) 1472(1500) bytes of data.
From 10.99.1.1 icmp_seq=1 Frag needed and DF set (mtu = 1400)

--- 10.99.2.31 ping statistics ---
1 packets transmitted, 0 received, +1 errors, 100% packet loss, time 0ms
"""


def test_answers_are_counted_and_timed() -> None:
    result = pinging.parse(ANSWERED)
    assert (result.sent, result.received) == (3, 2)
    assert (result.min_ms, result.avg_ms, result.max_ms) == (0.352, 1.306, 2.263)
    assert (result.mtu, result.error) == (None, None)


@pytest.mark.parametrize(
    ("text", "mtu", "words"),
    [(TOO_LONG, 1450, "local error"), (REFUSED_ON_THE_WAY, 1400, "From 10.99.1.1")],
)
def test_a_way_that_is_too_narrow_says_what_it_carries(text: str, mtu: int, words: str) -> None:
    result = pinging.parse(text)
    assert (result.received, result.mtu) == (0, mtu)
    assert words in (result.error or "")


def test_no_way_at_all_is_an_error_and_nothing_sent() -> None:
    result = pinging.parse("ping: connect: Network is unreachable\n")
    assert (result.sent, result.received) == (0, 0)
    assert result.error == "ping: connect: Network is unreachable"


def test_sizes_are_those_of_whole_packets() -> None:
    order = pinging.Order.model_validate({"targets": ["10.7.0.6"], "size": 1450, "df": True})
    words = pinging.command("10.7.0.6", order)
    assert words[words.index("-s") + 1] == "1422"
    assert words[-3:] == ["-M", "do", "10.7.0.6"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"targets": []},
        {"targets": ["10.7.0.6; reboot"]},
        {"targets": ["10.7.0.6"], "size": 20},
        {"targets": ["10.7.0.6"], "count": 200, "interval": 1},
        {"targets": ["10.7.0.6"], "flood": True},
    ],
)
def test_orders_that_make_no_sense_or_no_end_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(pydantic.ValidationError):
        pinging.Order.model_validate(wrong)
