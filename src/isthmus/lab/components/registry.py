"""Which component a name in an environment file stands for."""

from isthmus.lab import errors
from isthmus.lab.components.agent import Agent
from isthmus.lab.components.arbitrator import Arbitrator
from isthmus.lab.components.base import Component
from isthmus.lab.components.glance import Glance
from isthmus.lab.components.haproxy import Haproxy, Login
from isthmus.lab.components.identity_db import IdentityDatabase
from isthmus.lab.components.keystone import Keystone
from isthmus.lab.components.local_db import LocalDatabase
from isthmus.lab.components.memcached import Memcached
from isthmus.lab.components.replica import PREFIX, Replica
from isthmus.lab.environment import Environment, Role

COMPONENTS: dict[str, type[Component]] = {
    "agent": Agent,
    "arbitrator": Arbitrator,
    "glance": Glance,
    "haproxy": Haproxy,
    "identity-db": IdentityDatabase,
    "keystone": Keystone,
    "local-db": LocalDatabase,
    "login": Login,
    "memcached": Memcached,
}


def find(environment: Environment, name: str) -> Component:
    """The component called `name`; `replica-<writer site>` names a replica of that site. Raises `errors.BadEnvironment`."""
    if name in COMPONENTS:
        return COMPONENTS[name]()
    if name.startswith(PREFIX):
        writer = name.removeprefix(PREFIX)
        if any(site.name == writer and site.role is Role.WRITER for site in environment.sites):
            return Replica()
        raise errors.BadEnvironment(
            source=f"environment {environment.name}",
            cause=f"{name}: {writer!r} is not a site with role writer",
        )
    known = ", ".join(sorted({*COMPONENTS, f"{PREFIX}<writer site>"}))
    raise errors.BadEnvironment(
        source=f"environment {environment.name}",
        cause=f"unknown component {name!r}; known: {known}",
    )
