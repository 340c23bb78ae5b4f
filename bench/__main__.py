"""`python -m bench [NAMES]`: the programs in the order in which they disturb the lab least."""

import sys

from bench import faults, lag, launching, start, tokens, wan
from bench.launching import Measure

# `start` takes the lab down and up, so the others measure a fresh one; `faults` comes last because it leaves the writer elsewhere.
PROGRAMS: dict[str, Measure] = {
    "start": start.measure,
    "lag": lag.measure,
    "wan": wan.measure,
    "tokens": tokens.measure,
    "faults": faults.measure,
}

if __name__ == "__main__":
    raise SystemExit(launching.main(PROGRAMS, sys.argv[1:], command="python -m bench"))
