"""`python -m bench [NAMES]`: the programs in the order in which they disturb the lab least.

There are two environments, and one lab: without names, those programs are run that measure the environment that is up, and those
of `identity` if none is.
"""

import sys

from bench import addresses, faults, lag, launching, reach, scale, start, tokens, wan
from bench.labs import place
from bench.launching import Measure
from bench.stretching import ENVIRONMENT
from isthmus.lab import home

# `start` takes the lab down and up, so the others measure a fresh one; `faults` comes last because it leaves the writer elsewhere.
IDENTITY: dict[str, Measure] = {
    "start": start.measure,
    "lag": lag.measure,
    "wan": wan.measure,
    "tokens": tokens.measure,
    "faults": faults.measure,
}

# `addresses` comes last because it kills sites.
NETWORK: dict[str, Measure] = {
    "reach": reach.measure,
    "scale": scale.measure,
    "addresses": addresses.measure,
}

TAKES = {"reach": reach.TAKES, "scale": scale.TAKES, "addresses": addresses.TAKES}


def usual() -> list[str]:
    """The programs of the environment that is up."""
    record = home.read_record(place())
    up = record is not None and record.environment.name == ENVIRONMENT
    return list(NETWORK if up else IDENTITY)


if __name__ == "__main__":
    raise SystemExit(
        launching.main(
            {**IDENTITY, **NETWORK},
            sys.argv[1:],
            command="python -m bench",
            takes=TAKES,
            usual=usual(),
        )
    )
