"""What steady pings noticed."""

from isthmus.lab import pinging

OUTPUT = """PING 10.50.0.9 (10.50.0.9) 56(84) bytes of data.
[100.000] 64 bytes from 10.50.0.9: icmp_seq=1 ttl=64 time=0.861 ms
[100.150] no answer yet for icmp_seq=2
[100.200] no answer yet for icmp_seq=3
[100.201] 64 bytes from 10.50.0.9: icmp_seq=3 ttl=64 time=60 ms
[100.250] 64 bytes from 10.50.0.9: icmp_seq=4 ttl=64 time=0.039 ms
"""


def test_the_gap_is_between_answers_and_not_between_pings() -> None:
    assert round(pinging.parse(OUTPUT.splitlines()).longest_gap(), 3) == 0.201


def test_a_late_answer_is_no_loss() -> None:
    assert list(pinging.parse(OUTPUT.splitlines()).lost) == [2]


def test_what_was_lost_before_the_moment_does_not_count_after_it() -> None:
    answers = pinging.parse(OUTPUT.splitlines())
    assert (answers.lost_after(100.0), answers.lost_after(100.16)) == (1, 0)


def test_no_answer_at_all_is_an_endless_gap() -> None:
    assert pinging.parse([]).longest_gap() == float("inf")
