"""`isthmus lab status | traffic | exec | logs | gather`: what goes on in the lab."""

import argparse
import io
import os
import re
import subprocess
import tarfile
import time
from pathlib import Path
from typing import Any

from cliff.command import Command
from cliff.lister import Lister

from isthmus.lab import bringup, errors, home, network, processes, state, templates
from isthmus.lab.commands.lifecycle import place
from isthmus.lab.components import host as hosting
from isthmus.lab.environment import Environment
from isthmus.lab.running import run

_MEBI = 1 << 20

_CONFIGURATIONS = (".conf", ".cfg", ".cnf", ".ini", ".yaml", ".py")

# What a support bundle shows of a host's switch.
_SWITCH_LOOKS = {
    "switch": ["ovs-vsctl", "--timeout=5", "show"],
    "br-int": ["ovs-ofctl", "--timeout=5", "-O", "OpenFlow13", "dump-flows", "br-int"],
    "br-tun": ["ovs-ofctl", "--timeout=5", "-O", "OpenFlow13", "dump-flows", "br-tun"],
}

# Lines of configurations that a support bundle must not hold.
_SECRET = re.compile(
    r"""(?im)^(.*?(?:password|secret|sst_auth|connection|auth_key|transport_url)[\w"']*\s*[=:]\s*).+$"""
)


class Status(Lister):
    """Show what is up, since when, and what it costs; and the links between the sites.

    Exit code 1 if something is dead, frozen or cut.
    """

    impaired = False

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument(
            "--links", action="store_true", help="Show the links instead of the units."
        )
        return parser

    def take_action(
        self, arguments: argparse.Namespace
    ) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        where = place()
        every = bringup.loaded(where)
        found = state.of_units(where, every)
        links = state.of_links(where, home.require_record(where).environment)
        self.impaired = any(u.phase is not state.Phase.RUNNING for u in found) or any(
            link.condition != "open" for link in links
        )
        if arguments.links:
            return _links(links)
        if arguments.formatter == "table":
            self.app.stderr.write(_headline(found, links) + "\n")
        return _units(found)

    def run(self, parsed_args: argparse.Namespace) -> int:
        super().run(parsed_args)
        return 1 if self.impaired else 0


def _headline(found: list[state.UnitState], links: list[state.LinkState]) -> str:
    up = sum(u.phase is state.Phase.RUNNING for u in found)
    cost = sum(u.pss_bytes for u in found) / _MEBI
    broken = [f"{link.link} {link.condition}" for link in links if link.condition != "open"]
    broken += [f"{link.link} slow ({link.delay_ms:g} ms)" for link in links if link.delay_ms]
    ways = "; ".join(broken) or "all open"
    return f"{up} of {len(found)} units run, {cost:.0f} MiB in all (shared pages counted once); links: {ways}"


def _units(found: list[state.UnitState]) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    columns = ("Unit", "Phase", "Up", "PID", "Processes", "RSS MiB", "PSS MiB", "CPU s")
    rows = [
        (
            u.unit,
            str(u.phase),
            _duration(u.age_seconds),
            u.pid if u.pid is not None else "-",
            u.processes,
            round(u.rss_bytes / _MEBI),
            round(u.pss_bytes / _MEBI),
            round(u.cpu_seconds, 1),
        )
        for u in found
    ]
    return columns, rows


def _links(links: list[state.LinkState]) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    columns = ("Link", "Condition", "Delay ms", "Bytes", "Packets")
    return columns, [(s.link, s.condition, s.delay_ms, s.bytes, s.packets) for s in links]


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"


class Traffic(Lister):
    """Show the bytes and packets that passed each link since it was made, by what they were for."""

    def take_action(
        self, arguments: argparse.Namespace
    ) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        counted = network.traffic(home.require_record(place()).environment)
        columns = ("Link", "Traffic", "Ports", "Bytes", "Packets")
        rows = [
            (
                t.link,
                t.kind,
                ",".join(map(str, network.TRAFFIC.get(t.kind, ()))),
                t.bytes,
                t.packets,
            )
            for t in counted
        ]
        return columns, rows


class Exec(Command):
    """Run a command inside a site's or a compute host's namespace (a shell if none is given): isthmus lab exec paris -- ip addr.

    On a host (isthmus lab exec paris/compute1 -- ovs-vsctl show), ovs-vsctl and ovs-ofctl find the host's own switch.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("target", metavar="SITE[/HOST]")
        parser.add_argument("command", nargs=argparse.REMAINDER)
        return parser

    def take_action(self, arguments: argparse.Namespace) -> int:
        where = place()
        name, _, host = arguments.target.partition("/")
        site = home.require_record(where).environment.site(name)
        namespace, switch = site.namespace, {}
        if host:
            spec = site.host(host)
            namespace, switch = spec.namespace, hosting.tools(where, spec)
        given = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
        words = given or [os.environ.get("SHELL", "/bin/sh")]
        return subprocess.run(
            ["ip", "netns", "exec", namespace, *words], env={**os.environ, **switch}, check=False
        ).returncode


class Logs(Command):
    """Show the logs of a site or a component: isthmus lab logs madrid/keystone -n 50 --follow."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("target", nargs="?", help="SITE or SITE/COMPONENT; default: all")
        parser.add_argument(
            "-n", "--lines", type=int, default=20, help="Lines of each log (default 20)."
        )
        parser.add_argument("--follow", action="store_true", help="Go on showing what is added.")
        return parser

    def take_action(self, arguments: argparse.Namespace) -> int:
        paths = _logs(arguments.target)
        if arguments.follow:
            command = ["tail", "-n", str(arguments.lines), "-F", *map(str, paths)]
            return subprocess.run(command, check=False).returncode
        for path in paths:
            self.app.stdout.write(f"==> {path} <==\n{processes.tail(path, arguments.lines)}\n\n")
        return 0


def _logs(target: str | None) -> list[Path]:
    logs = place().logs
    found = {
        str(path.relative_to(logs).with_suffix("")): path for path in sorted(logs.rglob("*.log"))
    }
    # A component may have two logs: its output and, beside it, its service's own.
    wanted = [
        path
        for name, path in found.items()
        if not target or name in (target, f"{target}-service") or name.startswith(f"{target}/")
    ]
    if not wanted:
        raise errors.BadRequest(
            what=f"there is no log of {target!r}",
            where=str(logs),
            cause=f"there are {', '.join(found) or 'none'}",
        )
    return wanted


class Gather(Command):
    """Collect logs, configurations (without secrets), states and counters in one archive for a closer look."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument(
            "--output", help="Path of the archive; default isthmus-lab-<time>.tar.gz here."
        )
        return parser

    def take_action(self, arguments: argparse.Namespace) -> None:
        where = place()
        home.require_record(where)
        path = Path(arguments.output or f"isthmus-lab-{time.strftime('%Y%m%d-%H%M%S')}.tar.gz")
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with (
            os.fdopen(descriptor, "wb") as stream,
            tarfile.open(fileobj=stream, mode="w:gz") as archive,
        ):
            for name, text in _gathered(where).items():
                content = text.encode()
                entry = tarfile.TarInfo(f"isthmus-lab/{name}")
                entry.size, entry.mtime, entry.mode = len(content), int(time.time()), 0o600
                archive.addfile(entry, io.BytesIO(content))
        self.app.stdout.write(f"{path}\n")


def _gathered(where: home.Home) -> dict[str, str]:
    """Member name -> text. What looks like a secret is hidden by its name, what is one of the lab's by its value."""
    known = templates.all_secrets(where.templates / home.require_record(where).template)
    return {name: _without(redact(text), known) for name, text in _collected(where).items()}


def _without(text: str, known: list[str]) -> str:
    for secret in known:
        text = text.replace(secret, "<hidden>")
    return text


def _collected(where: home.Home) -> dict[str, str]:
    record = home.require_record(where)
    gathered = {
        "environment.yaml": record.environment_text,
        "units.txt": "\n".join(map(str, state.of_units(where, bringup.loaded(where)))),
        "links.txt": "\n".join(map(str, state.of_links(where, record.environment))),
        "traffic.txt": "\n".join(map(str, network.traffic(record.environment))),
    }
    for namespace in network.namespaces(record.environment):
        for what in (["addr"], ["route"], ["neigh"]):
            done = run(["ip", "-n", namespace, *what], check=False)
            gathered[f"network/{namespace}-{what[0]}.txt"] = done.stdout + done.stderr
        ports = run(["ss", "-tanp"], namespace=namespace, check=False)
        gathered[f"network/{namespace}-sockets.txt"] = ports.stdout + ports.stderr
    gathered |= _switches(where, record.environment)
    for path in sorted(where.logs.rglob("*.log")):
        gathered[f"logs/{path.relative_to(where.logs)}"] = processes.tail(path, 2000)
    for path in sorted(where.lab.glob("units/*/*/*")):
        if path.suffix in _CONFIGURATIONS and path.is_file():
            gathered[f"configuration/{path.relative_to(where.lab / 'units')}"] = redact(
                path.read_text()
            )
    return gathered


def _switches(where: home.Home, environment: Environment) -> dict[str, str]:
    """What the switch of every compute host is told and what it does."""
    gathered = {}
    for host in (host for site in environment.sites for host in site.host_specs):
        tools = {**processes.clean_environment(), **hosting.tools(where, host)}
        for name, argv in _SWITCH_LOOKS.items():
            done = run(argv, namespace=host.namespace, env=tools, check=False)
            gathered[f"switches/{host.site}-{host.name}-{name}.txt"] = done.stdout + done.stderr
    return gathered


def redact(text: str) -> str:
    """Hide the value of every line that names a password, a secret or a connection URL."""
    return _SECRET.sub(r"\1<hidden>", text)
