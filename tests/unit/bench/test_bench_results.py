"""Figures as JSON, tables as Markdown, and sections of a file of which the rest must stay."""

import json

from bench import distributions, results
from bench.results import Result, Table
from hypothesis import given
from hypothesis import strategies as st

FACTS = {
    "cores": 2,
    "processor": "a processor",
    "memory_mib": 4096,
    "kernel": "6.1",
    "python": "3.11",
    "load": 0.1,
    "commit": "abc",
}

FRAME = """# Results

Words before.

## start

<!-- begin start -->
Not measured yet.
<!-- end start -->

Words between.

## lag

<!-- begin lag -->
Not measured yet.
<!-- end lag -->
"""


def test_a_section_is_replaced_and_everything_else_stays():
    text = results.replace_section(FRAME, "start", "New.")
    assert text == FRAME.replace("Not measured yet.\n<!-- end start", "New.\n<!-- end start")


def test_replacing_a_section_twice_leaves_what_came_last():
    once = results.replace_section(FRAME, "lag", "First.")
    assert results.replace_section(once, "lag", "Last.").count("First.") == 0


def test_a_file_without_the_section_gets_it_at_its_end():
    text = results.replace_section(FRAME, "wan", "New.")
    assert text.startswith(FRAME.rstrip())
    assert text.endswith("## wan\n\n<!-- begin wan -->\nNew.\n<!-- end wan -->\n")


def test_an_empty_file_gets_the_section_alone():
    assert results.replace_section("", "wan", "New.").startswith("## wan\n")


@given(st.text(max_size=200).filter(lambda text: "<!--" not in text))
def test_any_body_survives_replacement(body):
    text = results.replace_section(FRAME, "start", body)
    assert f"<!-- begin start -->\n{body.strip()}\n<!-- end start -->" in text
    assert results.replace_section(text, "start", body) == text


def test_the_document_holds_each_figure_with_unit_and_spread_under_the_programs_name():
    result = Result(name="lag", about="")
    result.spread("0ms.madrid", distributions.spread([1.0, 2.0, 3.0]), "ms")
    document = results.document([result], machine=FACTS, command="python -m bench", date="today")
    assert json.loads(json.dumps(document)) == {
        "figures": {
            "lag.0ms.madrid": {
                "value": 2,
                "unit": "ms",
                "p99": 2.98,
                "min": 1,
                "max": 3,
                "count": 3,
            }
        },
        "machine": FACTS,
        "command": "python -m bench",
        "date": "today",
    }


def test_an_aim_says_whether_it_was_met():
    result = Result(name="start", about="")
    result.aim("warm", 61.0, "s", at_most=60.0)
    assert result.figures["start.warm"].document()["met"] is False


def test_the_section_names_machine_command_date_and_commit():
    result = Result(name="lag", about="How.", notes=["a note"])
    body = results.section(result, machine=FACTS, command="python -m bench lag", date="today")
    for expected in ("How.", "2 cores", "`python -m bench lag` on today, commit abc", "- a note"):
        assert expected in body


def test_a_cell_cannot_break_its_table():
    table = Table(title="t", columns=("a", "b"), rows=[["x | y\nz", None]])
    assert results.markdown(table)[-1] == "| x \\| y z | - |"


def test_numbers_are_shown_with_four_digits():
    assert [results.shown(n) for n in (0.123456, 12.3456, 1234567.8)] == [
        "0.1235",
        "12.35",
        "1234568",
    ]
