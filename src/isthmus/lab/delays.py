"""Slow links: a relay in user space stands in for the link's bridge while a delay is set."""

from isthmus.lab import names, network, processes, waiting
from isthmus.lab.components.base import python
from isthmus.lab.environment import Environment, Link
from isthmus.lab.home import Home
from isthmus.lab.running import run


def unit(link: Link) -> str:
    """The unit under which a link's relay runs."""
    return f"wan/{link.name}"


def current(home: Home, link: Link) -> float | None:
    """The one-way delay of the link in ms, or None; read from the relay's own command line."""
    for process in processes.running(home.lab).get(unit(link), []):
        words = processes.command_line(process.pid)
        if "isthmus.lab.relay" in words:
            return float(words[-1])
    return None


def set_delay(home: Home, environment: Environment, link: Link, delay_ms: float) -> None:
    """Delay the link by `delay_ms` each way; 0 puts the plain link back."""
    bridge, port_a, port_b = network.link_ports(environment, link)
    processes.kill(home.lab, units=[unit(link)])
    if delay_ms == 0:
        for port in (port_a, port_b):
            run(["ip", "-n", names.WAN, "link", "set", port, "master", bridge])
        return
    for port in (port_a, port_b):
        run(["ip", "-n", names.WAN, "link", "set", port, "nomaster"])
    log = home.log(unit(link))
    log.unlink(missing_ok=True)
    daemon = processes.start(
        [python(), "-m", "isthmus.lab.relay", port_a, port_b, f"{delay_ms:g}"],
        unit=unit(link),
        home=home.lab,
        log=log,
        namespace=names.WAN,
    )

    def relaying() -> str | None:
        if gone := daemon.ended():
            return gone
        return None if "relaying" in processes.tail(log) else "the relay has not begun"

    # One interpreter start, a second on a busy machine.
    waiting.until(relaying, deadline=15.0, what="the link is not delayed", where=link.name)
