"""How long `isthmus plan validate` takes for a group of a thousand servers. No lab is needed.

What the command makes an engine do is done here in the same three steps: the signed manifest of the newest checkpoint is verified
and read, the target site is read over HTTP by the product's own client, and the plan is judged. The target is a cloud that was
made from a seed and answers on the loopback, so that its own time is next to nothing: a real one adds the time of as many lists.
What is found is held against the faults that were put in.
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import ed25519

from bench import estates, launching, loopback
from bench.distributions import percentile, spread
from bench.launching import Options
from bench.loopback import Cloud
from bench.results import Result, Table
from isthmus.errors import IsthmusError
from isthmus.recovery import manifest
from isthmus.recovery.findings import Code
from isthmus.recovery.mapping import Kind, Mapping
from isthmus.recovery.metadata import target
from isthmus.recovery.metadata.reading import Clients
from isthmus.recovery.plans import validating
from isthmus.recovery.signatures import KeyRing, SigningKey

TAKES = "1 minute; --quick 15 seconds"
SERVERS = 1000
SIZES = (10, 100, SERVERS)
RUNS, QUICK = 5, 1
AIM_S = 60.0
SEED = 20261123

PLAN = Mapping(name="bench", source="paris", target="lyon", same_name=tuple(Kind))


@dataclass(frozen=True, kw_only=True)
class Taken:
    """Seconds of the steps of one validation, and what came of it."""

    manifest_s: float
    inventory_s: float
    judge_s: float
    requests: int
    findings: int

    @property
    def whole_s(self) -> float:
        return self.manifest_s + self.inventory_s + self.judge_s


def validated(servers: int, seed: int) -> Taken:
    """One validation. Raises IsthmusError when it finds more or less than the faults that were put in."""
    estate = estates.estate(servers, seed)
    key = SigningKey(ed25519.Ed25519PrivateKey.generate())
    signed, ring = manifest.sign(estate.manifest, key), KeyRing(key.public)
    cloud = Cloud(lists=estate.lists)
    with loopback.serving(cloud, estates.PROJECT) as session:
        began = time.monotonic()
        found = manifest.read(
            signed.manifest, signed.signature, place=estate.manifest.place, ring=ring
        )
        known = time.monotonic()
        there = target.read(Clients.of(session, "lyon"))
        seen = time.monotonic()
        judged = validating.validate(found.definitions, PLAN, there)
        ended = time.monotonic()
    named = {name for each in judged.findings for name in each.servers}
    codes = {each.code for each in judged.findings}
    if named != set(estate.faulty) or codes != {Code.ADDRESS_TAKEN}:
        raise IsthmusError(
            "the validation did not find the faults that were put in",
            where=f"{servers} servers",
            cause=f"{len(estate.faulty)} servers have one, it names {len(named)} with {sorted(codes)}",
        )
    return Taken(
        manifest_s=known - began,
        inventory_s=seen - known,
        judge_s=ended - seen,
        requests=cloud.requests.total(),
        findings=len(judged.findings),
    )  # fmt: skip


def measure(options: Options) -> Result:
    """Groups of several sizes, so that it shows that the number of requests does not grow with them."""
    count = QUICK if options.quick else RUNS
    result = Result(
        name="plans",
        about=f"Seconds of `isthmus plan validate` for generated groups of up to {SERVERS} servers with {estates.VOLUMES} volumes "
        f"and two ports each, {estates.FAULTY:.0%} of them with an address that is taken in the target; every one was found. "
        "The target's lists come over HTTP from the loopback.",
    )
    # An engine has loaded its libraries long ago.
    validated(1, SEED)
    rows = []
    for servers in SIZES:
        taken = []
        for number in range(count):
            taken.append(validated(servers, SEED + number))
            print(f"plans: {servers} servers: {taken[-1]}", file=sys.stderr, flush=True)
        rows.append(_row(servers, taken))
        whole = [each.whole_s for each in taken]
        if servers == SERVERS:
            result.aim("validate", percentile(whole, 0.5), "s", at_most=AIM_S, max=max(whole))
            result.figure("requests", max(each.requests for each in taken), "requests")
        else:
            result.spread(f"validate_{servers}", spread(whole), "s")
    columns = ("servers", "runs", "all s", "max s", "manifest s", "target s", "judgement s", "requests", "findings")  # fmt: skip
    result.tables.append(Table(title="Validation of a plan (medians)", columns=columns, rows=rows))
    return result


def _row(servers: int, taken: Sequence[Taken]) -> list[str | float | None]:
    def median(name: str) -> float:
        return percentile([float(getattr(each, name)) for each in taken], 0.5)

    names = ("manifest_s", "inventory_s", "judge_s", "requests", "findings")
    worst = max(each.whole_s for each in taken)
    return [float(servers), float(len(taken)), median("whole_s"), worst, *map(median, names)]


if __name__ == "__main__":
    raise SystemExit(launching.one("plans", measure, takes=TAKES))
