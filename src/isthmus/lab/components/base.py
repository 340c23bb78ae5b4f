"""The interface of a component, and the context that it works in."""

import abc
import os
import pwd
import shutil
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from isthmus.lab import errors, processes, waiting
from isthmus.lab import home as homes
from isthmus.lab.environment import Environment, SiteSpec
from isthmus.lab.home import Home
from isthmus.lab.processes import Daemon
from isthmus.lab.templates import Template

# Two busy cores import a service's Python code in up to 20 s when all sites start at once; a machine whose disk is cold and
# whose cores are shared takes several times as much. Six times that is a fault.
START_DEADLINE = 120.0

# The same for what takes several times as much: message brokers, Neutron and its agents, of several sites at once.
LONG_START_DEADLINE = 180.0


@dataclass(frozen=True, kw_only=True)
class Context:
    """Where one component of one site works."""

    home: Home
    environment: Environment
    site: SiteSpec
    template: Template
    name: str

    @property
    def unit(self) -> str:
        """`<site>/<component>`, the name in status, logs and faults."""
        return f"{self.site.name}/{self.name}"

    @property
    def directory(self) -> Path:
        return self.home.unit_directory(self.unit)

    @property
    def log(self) -> Path:
        return self.home.log(self.unit)

    def of(self, site: SiteSpec, name: str) -> "Context":
        """The context of another component."""
        return Context(
            home=self.home,
            environment=self.environment,
            site=site,
            template=self.template,
            name=name,
        )

    def processes(self) -> list[processes.Process]:
        return processes.running(self.home.lab).get(self.unit, [])

    def write(self, name: str, text: str, *, mode: int = 0o600, owner: str | None = None) -> Path:
        """Write a file of the component (0600 unless said otherwise) and return its path."""
        path = self.directory / name
        homes.replace(path, text, mode=mode)
        if owner:
            account = pwd.getpwnam(owner)
            os.chown(path, account.pw_uid, account.pw_gid)
        return path

    def spawn(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        namespace: str | None = None,
    ) -> Daemon:
        """Start a daemon of this component in the site's namespace."""
        self.directory.mkdir(parents=True, exist_ok=True)
        return processes.start(
            argv,
            unit=self.unit,
            home=self.home.lab,
            log=self.log,
            namespace=namespace or self.site.namespace,
            env=env,
            cwd=self.directory,
        )

    def wait(
        self,
        daemon: Daemon | None,
        condition: Callable[[], str | None],
        *,
        deadline: float = START_DEADLINE,
        interval: float = 0.1,
    ) -> None:
        """Wait until `condition` holds; ends at once with the log's tail if the daemon is gone.

        `interval` is the time between two questions: longer for what starts slowly and is dear to ask, because asking takes
        the same cores that the start needs.
        """

        def checked() -> str | None:
            if daemon is not None and (gone := daemon.ended()):
                raise errors.NotReady(
                    what=f"{self.unit} did not start", where=self.site.name, cause=gone
                )
            return condition()

        waiting.until(
            checked,
            deadline=deadline,
            what=f"{self.unit} is not ready",
            where=self.site.name,
            interval=interval,
        )


class Component(abc.ABC):
    """One kind of component. Stateless: everything it knows is in the context, the files and the process table."""

    @abc.abstractmethod
    def needs(self, context: Context) -> Sequence[str]:
        """Units that must be ready before this one starts."""

    @abc.abstractmethod
    def start(self, context: Context) -> None:
        """Start and return when ready. Not called while the component runs."""

    @abc.abstractmethod
    def test(self, context: Context) -> str:
        """Use the component as its clients do and say in a sentence what was seen; raises `IsthmusError` otherwise."""

    def stop(self, context: Context) -> None:
        """End it in order; what does not end in 20 s (a flush on a busy disk takes seconds) is killed."""
        found = context.processes()
        own = {process.pid for process in found}
        processes.send(found, signal.SIGCONT)
        processes.send([p for p in found if p.parent not in own], signal.SIGTERM)
        try:
            waiting.until(
                lambda: (
                    f"{len(context.processes())} processes left" if context.processes() else None
                ),
                deadline=20.0,
                what=f"{context.unit} does not stop",
                where=context.site.name,
            )
        except errors.NotReady:
            processes.kill(context.home.lab, units=[context.unit])


def python() -> str:
    """The interpreter of the locked environment."""
    return sys.executable


def script(name: str) -> str:
    """A console script of the locked environment."""
    return str(Path(sys.executable).parent / name)


def copy_tree(source: Path, target: Path) -> None:
    """Copy a directory with owners and modes, whole or not at all."""
    partial = target.with_name(f"{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source, partial, copy_function=_copy)
    _own_like(source, partial)
    for path in source.rglob("*"):
        _own_like(path, partial / path.relative_to(source))
    partial.rename(target)


def _copy(source: str, target: str) -> str:
    """Copy a file, sharing its blocks where the file system can."""
    shutil.copyfile(source, target)
    shutil.copymode(source, target)
    return target


def _own_like(source: Path, target: Path) -> None:
    status = source.stat()
    os.chown(target, status.st_uid, status.st_gid)
    target.chmod(status.st_mode & 0o7777)
