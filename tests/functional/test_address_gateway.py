"""One gateway of a service address in this machine's kernel: it answers while it may, not longer."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from conditions import wait_for
from isthmus.agent.host import gateways, holding, running
from isthmus.network.addresses import gate

pytestmark = [
    pytest.mark.functional,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: network namespaces"),
]

GATEWAY = "f7d1c0de-2c5b-4f7e-9a53-5b1f0e6a7c11"
ADDRESS, CLIENT, TARGET = "192.0.2.50", "192.0.2.9", "10.0.0.11"
CLIENTS, TARGETS = "try-address-clients", "try-address-targets"
# Everything here takes milliseconds; the machine may be busy.
SOON = 3.0


class Wired(gateways.Gateway):
    """A gateway whose legs end in the namespaces of a client and a target instead of a switch."""

    def demolish(self) -> None:
        for argv in (["ip", "netns", "delete", self.namespace],):
            subprocess.run(argv, check=False, capture_output=True)

    def _plug(self) -> None:
        for outside, there, address in (
            (self.outer, CLIENTS, CLIENT),
            (self.inner, TARGETS, TARGET),
        ):
            running.run(["ip", "link", "set", outside, "netns", there])
            running.run(["ip", "-n", there, "address", "add", f"{address}/24", "dev", outside])
            running.run(["ip", "-n", there, "link", "set", outside, "up"])


@pytest.fixture
def keeper() -> Iterator[holding.Keeper]:
    spec = gateways.Spec(
        id=GATEWAY,
        address=ADDRESS,
        prefix=24,
        port_id=str(uuid.uuid4()),
        mac="fa:16:3e:00:00:07",
        ip="10.0.0.7",
        ip_prefix=24,
        mtu=1450,
        target=TARGET,
        check=gateways.CheckSpec(probe="icmp", interval=0.1),
    )
    gateway = Wired(None, spec, "try", f"h{os.getpid()}")  # type: ignore[arg-type]
    # A run that was killed has left what it made, under the same names.
    gateway.demolish()
    for name in (CLIENTS, TARGETS):
        running.run(["ip", "netns", "delete", name], allowed=frozenset({0, 1}))
        running.run(["ip", "netns", "add", name])
    try:
        gateway.build()
        kept = holding.Keeper(gateway, "first")
        kept.start()
        yield kept
        kept.stop()
    finally:
        gateway.demolish()
        for name in (CLIENTS, TARGETS):
            running.run(["ip", "netns", "delete", name])


def hold(keeper: holding.Keeper, seconds: float, claim: str = "c1") -> str:
    moment = holding.clock() + seconds
    return keeper.hold(gate.Order(claim=claim, incarnation="first", moment=moment))


def answered() -> bool:
    ping = ["ping", "-n", "-c1", "-W1", ADDRESS]
    return "1 received" in running.run(ping, namespace=CLIENTS, allowed=frozenset({0, 1}))


@contextlib.contextmanager
def pinging(seconds: float) -> Iterator[list[float]]:
    """Ping every 10 ms; the list gets the times (seconds of the Unix epoch) of the replies."""
    argv = ["ping", "-n", "-D", "-i0.01", "-W0.1", f"-w{seconds:g}", ADDRESS]
    replies: list[float] = []
    full = ["ip", "netns", "exec", CLIENTS, *argv]
    with subprocess.Popen(full, stdout=subprocess.PIPE, text=True) as process:
        yield replies
        text, _ = process.communicate(timeout=seconds + 10)
    replies += [float(each) for each in re.findall(r"\[([\d.]+)\] \d+ bytes", text)]


def test_an_address_is_silent_until_it_is_held_and_after_it_was_dropped(
    keeper: holding.Keeper,
) -> None:
    assert not answered()
    assert hold(keeper, 30.0) == ""
    assert answered()
    keeper.drop("c1")
    assert not answered()
    assert hold(keeper, 30.0) == "the claim was dropped here"
    assert not answered()


def test_the_kernel_ends_the_answering_at_the_moment_of_the_order_without_being_told(
    keeper: holding.Keeper,
) -> None:
    with pinging(2.0) as replies:
        assert hold(keeper, 0.8) == ""
        moment = time.time() + 0.8
    assert len(replies) > 20
    assert max(replies) <= moment
    # Not much before either: guard, tick and the busy machine cost a fifth at most.
    assert max(replies) >= moment - 0.2


def test_renewals_keep_it_answered_without_a_gap(keeper: holding.Keeper) -> None:
    with pinging(2.0) as replies:
        for _ in range(10):
            assert hold(keeper, 0.8) == ""
            time.sleep(0.1)  # the rhythm of renewals is what is tested
    gaps = [after - before for before, after in itertools.pairwise(replies)]
    # An order that was not renewed would end it until the next one; a shared core may hold a ping back.
    assert max(gaps) < 0.25


def test_neighbours_learn_the_gateways_mac_when_it_takes_the_address(
    keeper: holding.Keeper,
) -> None:
    before = ["neigh", "replace", ADDRESS, "lladdr", "02:00:00:00:00:01", "nud", "reachable"]
    running.run(["ip", "-n", CLIENTS, *before, "dev", keeper.gateway.outer])
    hold(keeper, 5.0)
    mac = keeper.gateway.mac
    wait_for(
        "the clients know the card",
        lambda: mac in running.run(["ip", "-n", CLIENTS, "neigh", "show", ADDRESS]),
        SOON,
    )


def test_the_target_sees_the_gateway_and_is_found_healthy_and_unhealthy(
    keeper: holding.Keeper,
) -> None:
    wait_for("it is healthy", lambda: keeper.document()["health"] == "healthy", SOON)
    running.run(["ip", "-n", TARGETS, "link", "set", keeper.gateway.inner, "down"])
    wait_for("it is unhealthy", lambda: keeper.document()["health"] == "unhealthy", 6.0)
    assert TARGET in keeper.document()["reason"]


FROZEN = """
import sys
from isthmus.agent.host import inside
from isthmus.network.addresses import fence
inside.enter(sys.argv[1])
nft = inside.Nft()
nft.run(fence.arm(sys.argv[2]))
words = fence.extend(sys.argv[2], 5.0)
print("armed", flush=True)
sys.stdin.readline()
try:
    nft.run(words)
    print("extended", flush=True)
except inside.FenceError as error:
    print("refused", flush=True)
"""


def test_a_program_that_was_frozen_after_reading_its_clock_extends_nothing(
    keeper: holding.Keeper,
) -> None:
    argv = [sys.executable, "-c", FROZEN, keeper.gateway.namespace, ADDRESS]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(argv, **pipes) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "armed\n"
        process.send_signal(signal.SIGSTOP)
        time.sleep(0.2)  # the freeze itself
        process.stdin.write("\n")
        process.stdin.flush()
        process.send_signal(signal.SIGCONT)
        assert process.stdout.readline() == "refused\n"
    assert not answered()
