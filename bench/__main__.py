"""`python -m bench [NAMES]`: the programs in the order in which they disturb the lab least.

There are three environments, and one lab: without names, those programs are run that measure the environment that is up, and
those of `identity` if none is.
"""

import sys

from bench import (
    addresses,
    backup,
    failover,
    faults,
    lag,
    launching,
    plans,
    protecting,
    reach,
    rotation,
    scale,
    start,
    stretching,
    tokens,
    validation,
    wan,
    window,
)
from bench.labs import place
from bench.launching import Measure
from isthmus.lab import home

# `start` takes the lab down and up, so the others measure a fresh one; `faults` comes last because it leaves the writer elsewhere.
# `validation` and `rotation` need no lab.
IDENTITY: dict[str, Measure] = {
    "start": start.measure,
    "lag": lag.measure,
    "wan": wan.measure,
    "tokens": tokens.measure,
    "validation": validation.measure,
    "rotation": rotation.measure,
    "faults": faults.measure,
}

# `addresses` comes last because it kills sites.
NETWORK: dict[str, Measure] = {
    "reach": reach.measure,
    "scale": scale.measure,
    "addresses": addresses.measure,
}

# `failover` comes last because it kills a site; `plans` needs no lab.
RECOVERY: dict[str, Measure] = {
    "plans": plans.measure,
    "window": window.measure,
    "backup": backup.measure,
    "failover": failover.measure,
}

TAKES = {
    "validation": validation.TAKES,
    "rotation": rotation.TAKES,
    "reach": reach.TAKES,
    "scale": scale.TAKES,
    "addresses": addresses.TAKES,
    "plans": plans.TAKES,
    "window": window.TAKES,
    "backup": backup.TAKES,
    "failover": failover.TAKES,
}


def usual() -> list[str]:
    """The programs of the environment that is up."""
    record = home.read_record(place())
    up = record.environment.name if record is not None else ""
    known = {stretching.ENVIRONMENT: NETWORK, protecting.ENVIRONMENT: RECOVERY}
    return list(known.get(up, IDENTITY))


if __name__ == "__main__":
    raise SystemExit(
        launching.main(
            {**IDENTITY, **NETWORK, **RECOVERY},
            sys.argv[1:],
            command="python -m bench",
            takes=TAKES,
            usual=usual(),
        )
    )
