"""A refused token stays refused, whoever is asked next, for as long as somebody may not know of it."""

from __future__ import annotations

from isthmus.plugins.authtoken import refusals


def test_another_endpoint_cannot_bring_a_refused_token_back() -> None:
    memory = refusals.Refusals(seconds=60)
    memory.refused("token", 0, now=10)
    assert memory.stands("token", 1, now=12)
    assert memory.stands("token", 2, now=69)
    assert not memory.stands("another", 1, now=12)


def test_a_refusal_ends_when_everybody_must_know_it() -> None:
    memory = refusals.Refusals(seconds=60)
    memory.refused("token", 0, now=10)
    assert not memory.stands("token", 1, now=70)


def test_an_endpoint_takes_its_own_refusal_back_and_nobody_elses() -> None:
    memory = refusals.Refusals(seconds=60)
    memory.refused("token", 1, now=10)
    assert memory.stands("token", 0, now=11)
    memory.refused("token", 0, now=12)
    assert memory.stands("token", 0, now=13)  # 1 has not taken its own back
    assert not memory.stands("token", 1, now=14)  # 0's was taken back at 13


def test_garbage_pushes_out_the_oldest_and_memory_stays_bounded() -> None:
    memory = refusals.Refusals(seconds=60, most=100)
    memory.refused("revoked", 0, now=10)
    for number in range(99):
        memory.refused(f"garbage-{number}", 0, now=11)
    assert memory.stands("revoked", 1, now=12)
    memory.refused("one more", 0, now=12)
    assert not memory.stands("revoked", 1, now=12)
    assert len(memory._at) == 100


def test_no_token_is_kept_in_clear() -> None:
    memory = refusals.Refusals()
    memory.refused("gAAAAA-secret", 0, now=10)
    assert "gAAAAA" not in repr(vars(memory))
