"""The command line of the programs: run some, then print or write what they found."""

import argparse
import contextlib
import json
import shlex
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import machine, results
from bench.results import Result
from isthmus.errors import INTERRUPTED, IsthmusError


@dataclass(frozen=True, kw_only=True)
class Options:
    """How much to measure: `quick` is for a look whether everything works, its numbers are rough. `stage_seconds` bounds
    one stage of a program that can stop early; None leaves it to the program."""

    quick: bool = False
    stage_seconds: float | None = None


Measure = Callable[[Options], Result]


def main(
    programs: Mapping[str, Measure],
    arguments: Sequence[str],
    *,
    command: str,
    takes: Mapping[str, str] | None = None,
    usual: Sequence[str] = (),
) -> int:
    """Run the programs that `arguments` name (`usual` if none, all if that is empty); 0 if every one of them ended well.

    `takes`: how long they take, for people, with the lab up already.
    """
    parser = _parser(programs, command, takes or {})
    parser.set_defaults(usual=list(usual))
    parsed = parser.parse_args(arguments)
    if unknown := set(_chosen(parsed, programs)) - set(programs):
        parser.error(f"no program {', '.join(sorted(unknown))}; there are {', '.join(programs)}")
    # Whoever ends this politely (a CI time limit) gets the lab restored, as with Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    line = shlex.join([*command.split(), *arguments])
    done: list[Result] = []
    code = 0
    begun = machine.facts()
    for name in _chosen(parsed, programs):
        # Before the program runs: afterwards the load would be its own.
        facts = machine.facts()
        options = Options(quick=parsed.quick, stage_seconds=parsed.stage_seconds)
        code = max(code, _run(name, programs[name], options, done))
        if code == INTERRUPTED:
            break
        if parsed.output and done and done[-1].name == name:
            _write(parsed.output, done[-1], line, facts)
    if parsed.json:
        document = results.document(done, machine=begun, command=line, date=machine.now())
        print(json.dumps(document, indent=1))
    else:
        for result in done:
            _show(result)
    return code


def _chosen(parsed: argparse.Namespace, programs: Mapping[str, Measure]) -> Sequence[str]:
    return getattr(parsed, "names", None) or parsed.usual or list(programs)


def _run(name: str, measure: Measure, options: Options, done: list[Result]) -> int:
    began = time.monotonic()
    print(f"bench {name}", file=sys.stderr, flush=True)
    try:
        done.append(measure(options))
    except IsthmusError as error:
        print(error.describe(), file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"interrupted in {name}: the lab is as it was before", file=sys.stderr)
        return INTERRUPTED
    print(f"bench {name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return 0


def _write(path: Path, result: Result, line: str, facts: machine.Facts) -> None:
    """Replace the program's section at once, so that a later failure loses nothing."""
    text = path.read_text() if path.exists() else ""
    body = results.section(result, machine=facts, command=line, date=machine.now())
    path.write_text(results.replace_section(text, result.name, body))


def _show(result: Result) -> None:
    print(f"{result.name}: {result.about}\n")
    for note in result.notes:
        print(f"- {note}")
    for table in result.tables:
        with contextlib.suppress(BrokenPipeError):
            print("\n".join([*results.markdown(table), ""]))


def _parser(
    programs: Mapping[str, Measure], command: str, takes: Mapping[str, str]
) -> argparse.ArgumentParser:
    times = "; ".join(f"{name}: {text}" for name, text in takes.items())
    parser = argparse.ArgumentParser(
        prog=command,
        description="Figures of Isthmus on the lab.",
        epilog=f"With the lab up, on two cores. {times}." if times else None,
    )
    if len(programs) > 1:
        parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(programs))
    parser.add_argument("--quick", action="store_true", help="Fewer repetitions; rough numbers.")
    parser.add_argument(
        "--stage-seconds",
        type=float,
        metavar="N",
        help="No stage of `scale` shall take longer; what was reached by then is measured.",
    )
    parser.add_argument(
        "--json", action="store_true", help="One JSON object on standard output instead of tables."
    )
    parser.add_argument(
        "--output", type=Path, help="Markdown file in which the programs' sections are replaced."
    )
    return parser


def one(name: str, measure: Measure, *, takes: str = "") -> int:
    """Entry point of a single program."""
    times = {name: takes} if takes else {}
    return main({name: measure}, sys.argv[1:], command=f"python -m bench.{name}", takes=times)
