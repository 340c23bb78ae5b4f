"""What a rotation has behind it, read from document and acknowledgements, and the tables of the runs."""

from __future__ import annotations

from dataclasses import replace

from bench import rotation
from bench.results import Result

from isthmus.identity.keys.generations import Ack, Generation, Kind, Phase, State, Wanted, What

ASKED = Wanted(what=What.ROTATE, by="ada", at=0.0)


def state(*phases: Phase, digest: str, wanted: Wanted | None = ASKED) -> State:
    found = [Generation(number=n, phase=phase, since=0.0) for n, phase in enumerate(phases, 1)]
    return State(
        kind=Kind.TOKEN,
        generations=tuple(found),
        digest=digest,
        nodes=("lyon", "paris"),
        wanted=wanted,
    )


def acks(lyon: str, paris: str) -> dict[str, Ack]:
    said = {"lyon": lyon, "paris": paris}
    return {node: Ack(node=node, revision=1, digest=said[node], at=0.0) for node in said}


def test_steps_are_read_from_the_document_and_from_who_has_its_keys() -> None:
    asked = state(Phase.PRIMARY, digest="a")
    assert rotation.reached(asked, acks("a", "a"), 2) == []
    staged = state(Phase.PRIMARY, Phase.STAGED, digest="b")
    assert rotation.reached(staged, acks("a", "b"), 2) == ["staged"]
    assert rotation.reached(staged, acks("b", "b"), 2) == ["staged", "acknowledged"]
    primary = state(Phase.SECONDARY, Phase.PRIMARY, digest="c")
    before = ["staged", "acknowledged", "promoted"]
    assert rotation.reached(primary, acks("c", "b"), 2) == before
    assert rotation.reached(primary, acks("c", "c"), 2) == [*before, "heard"]
    done = replace(primary, wanted=None)
    assert ["word", *rotation.reached(done, acks("c", "c"), 2)] == list(rotation.STEPS)


def test_the_tables_show_each_step_after_the_one_before_and_the_aim_is_judged() -> None:
    moments = dict(zip(rotation.STEPS, (0.25, 0.75, 1.5, 2.0, 2.5, 2.75), strict=True))
    ours = [rotation.Run(moments=moments, signing=2.25, retired=1.0)]
    stock = [rotation.Copies(command=2.0, copies=9.0)]
    found = rotation.Measured(sites=10, rtt=300.0, ours=ours, stock=stock)
    result = Result(name="rotation", about="")
    rotation._record(result, [found])
    figure = result.figures["rotation.sites10.rtt300.complete"]
    assert (figure.value, figure.details["met"]) == (2.75, True)
    seconds, steps = result.tables
    assert seconds.rows == [[10, 300.0, 1, 2.75, 2.75, 2.75, 2.25, 1, 11.0, 9.0, 4.0]]
    assert steps.rows == [[10, 300.0, 0.25, 0.5, 0.75, 0.5, 0.5, 0.25, 1.0]]
    for table in result.tables:
        assert len(table.columns) == len(table.rows[0])
