"""Brings an environment up: preflight, template, network, keys, then all units in parallel as their needs become ready.

Every step looks first at what is there, so that a second `up` does nothing and an `up` after an interrupted one does the rest.
"""

import base64
import concurrent.futures
import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from isthmus.errors import IsthmusError
from isthmus.identity.keys import repository
from isthmus.lab import (
    clients,
    errors,
    gateways,
    home,
    network,
    preflight,
    processes,
    template_build,
    templates,
    units,
)
from isthmus.lab import environment as environments
from isthmus.lab import names as names_of_lab
from isthmus.lab.components import keystone
from isthmus.lab.environment import Environment
from isthmus.lab.home import Home, Record
from isthmus.lab.progress import Progress
from isthmus.lab.templates import Template
from isthmus.lab.units import Unit

T = TypeVar("T")

# More lanes than cores: many starts wait for a peer rather than compute.
_LANES = 2 * (os.cpu_count() or 2) + 4


# Seconds; whoever waits longer wonders what for.
_LONG = 30.0


def up(
    place: Home, environment_text: str, environment: Environment, progress: Progress
) -> dict[str, Unit]:
    """Bring the environment up and return its units. The caller holds the lock. Raises `IsthmusError`."""
    _refuse_another(place, environment)
    preflight.check(place.root, environment)
    home.own_machine(place)
    template = _template(place, environment, progress)
    if home.read_record(place) is None:
        record = Record(
            environment_text=environment_text, template=template.path.name, begun=time.time()
        )
        home.write_record(place, record)
    place.lab.chmod(0o711)
    every = units.of(place, environment, template)
    step(progress, "network", lambda: network.create(environment))
    step(progress, "keys", lambda: install_keys(every))
    start(every, progress)
    clients.write(place, environment, template)
    return every


def loaded(place: Home) -> dict[str, Unit]:
    """The units of the lab that is up; raises `errors.NoLab`."""
    record = home.require_record(place)
    template = templates.load(place.templates / record.template)
    if template is None:
        raise errors.NoLab(place.lab)
    return units.of(place, record.environment, template)


def start(wanted: Mapping[str, Unit], progress: Progress) -> None:
    """Start what does not run yet, each unit as soon as its needs (among `wanted`) are ready.

    After the first failure nothing new is begun; what has begun is waited for, then the failure is raised.
    """
    alive = processes.running(next(iter(wanted.values())).context.home.lab) if wanted else {}
    needs = {name: [n for n in unit.needs if n in wanted] for name, unit in wanted.items()}
    ready: dict[str, float] = {}
    started = time.monotonic()
    begun: dict[concurrent.futures.Future[None], str] = {}
    failure: BaseException | None = None
    with concurrent.futures.ThreadPoolExecutor(_LANES) as pool:
        while failure is None or begun:
            if failure is None:
                for name in units.startable(needs, ready, begun.values()):
                    begun[pool.submit(_start_one, wanted[name], name in alive, progress)] = name
            if not begun:
                _tell_chain(needs, ready, progress)
                return
            done = _first_done(begun, wanted)
            for future in done:
                name = begun.pop(future)
                failure = failure or future.exception()
                ready[name] = time.monotonic() - started
    raise failure


def _tell_chain(
    needs: Mapping[str, list[str]], ready: Mapping[str, float], progress: Progress
) -> None:
    """Say what the whole waited for, if it took long enough to ask."""
    whole = max(ready.values(), default=0.0)
    if whole >= _LONG:
        chain = units.slowest_chain(needs, ready)
        note = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in chain)
        progress.end("the slowest chain", whole, f"= {note}")


def _first_done(
    begun: Mapping[concurrent.futures.Future[None], str], wanted: Mapping[str, Unit]
) -> set[concurrent.futures.Future[None]]:
    """Wait for one of `begun`; Ctrl-C kills their daemons, so that the waits on them end at once."""
    try:
        return concurrent.futures.wait(begun, return_when=concurrent.futures.FIRST_COMPLETED).done
    except KeyboardInterrupt:
        home = wanted[next(iter(begun.values()))].context.home.lab
        processes.kill(home, units=begun.values())
        raise


def step(progress: Progress, name: str, work: Callable[[], T]) -> T:
    """Do `work` as one step of the progress."""
    progress.begin(name)
    began = time.monotonic()
    try:
        result = work()
    except IsthmusError as error:
        progress.fail(name, time.monotonic() - began, error.cause or str(error))
        raise
    progress.end(name, time.monotonic() - began)
    return result


def install_keys(every: Mapping[str, Unit]) -> None:
    """Give every site the same token and credential keys: made once, or taken from a site that has them."""
    services = [unit.context for unit in every.values() if unit.context.name == keystone.NAME]
    for name in keystone.KEY_REPOSITORIES:
        _install_repository([service.directory / name for service in services])


def _install_repository(repositories: list[Path]) -> None:
    present = [path for path in repositories if path.is_dir()]
    material = repository.load(present[0]) if present else _new_keys()
    for path in repositories:
        if not path.is_dir():
            path.parent.mkdir(parents=True, exist_ok=True)
            repository.install(path, material)


def _new_keys() -> dict[int, bytes]:
    """A staged key (0) and a primary key (1), as `keystone-manage fernet_setup` makes them."""
    return {index: base64.urlsafe_b64encode(os.urandom(32)) for index in (0, 1)}


def _refuse_another(place: Home, environment: Environment) -> None:
    record = home.read_record(place)
    if record is not None and record.environment != environment:
        raise errors.BadRequest(
            what=f"the lab holds another environment, {record.environment.name}",
            where=str(place.lab),
            cause="one lab at a time: namespaces and addresses are the machine's. First: isthmus lab down",
        )


def _template(place: Home, environment: Environment, progress: Progress) -> Template:
    record = home.read_record(place)
    key = record.template if record else templates.key(environment)
    path = place.templates / key
    if (found := templates.load(path)) is not None:
        return found
    place.templates.mkdir(parents=True, exist_ok=True)
    known = {templates.key(environments.load(name)[1]) for name in environments.packaged()}
    template_build.prune(place, keep=known | {key} | templates.OTHERS)
    progress.begin("template")
    return template_build.build(place, environment, path, progress.end)


def _start_one(unit: Unit, alive: bool, progress: Progress) -> None:
    def work() -> None:
        if alive and _healthy(unit):
            return
        if alive:
            processes.kill(unit.context.home.lab, units=[unit.name])
        unit.component.start(unit.context)

    step(progress, unit.name, work)


def _healthy(unit: Unit) -> bool:
    """A unit that was left half started by an interrupted `up` fails its test and is started again."""
    try:
        unit.component.test(unit.context)
    except IsthmusError:
        return False
    return True


def down(place: Home, progress: Progress) -> bool:
    """Take everything away: processes, namespaces, files. True if there was anything. The caller holds the lock."""
    record = home.read_record(place)
    names = [*_named(place, record), *_leftover(place)]
    ours = sorted(network.present().intersection(names) | _guests(place, record))
    found = step(
        progress, "processes", lambda: processes.kill(place.lab) + processes.kill_inside(ours)
    )
    step(progress, "network", lambda: _remove_network(ours))
    home.disown_machine(place)
    existed = place.lab.exists()
    step(progress, "files", lambda: _remove_files(place))
    return bool(found or record or existed)


def _remove_network(ours: list[str]) -> None:
    if ours:
        network.remove_management()
    network.remove(ours)


def _named(place: Home, record: Record | None) -> list[str]:
    """The namespaces of the lab; if its record was lost, those of the packaged environments, unless another home has them."""
    if record is not None:
        return network.namespaces(record.environment)
    if home.owner() not in (None, place.root):
        return []
    every = [environments.load(name)[1] for name in environments.packaged()]
    return [name for environment in every for name in network.namespaces(environment)]


def _guests(place: Home, record: Record | None) -> set[str]:
    """Namespaces of guests, unless another home's lab has them, and of gateways."""
    if record is None and home.owner() not in (None, place.root):
        return set()
    made = gateways.namespaces(place, record.environment) if record else set()
    return {n for n in network.present() if n in made or n.startswith(names_of_lab.GUEST)}


def _leftover(place: Home) -> list[str]:
    """A template build that was killed leaves its namespace; it can belong to nobody else while we hold the lock."""
    for path in place.templates.glob("*.partial") if place.templates.is_dir() else ():
        processes.kill(path / "work" / "lab")
    return [template_build.NAMESPACE, preflight.NAMESPACE]


def _remove_files(place: Home) -> None:
    # The record goes last: while it exists, another `down` knows what to take away.
    for path in [p for p in place.lab.glob("*") if p != place.record]:
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    shutil.rmtree(place.lab, ignore_errors=True)
    for path in place.templates.glob("*.partial") if place.templates.is_dir() else ():
        shutil.rmtree(path, ignore_errors=True)
