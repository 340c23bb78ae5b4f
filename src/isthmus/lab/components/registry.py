"""Which component a name in an environment file stands for."""

from isthmus.lab import errors
from isthmus.lab.components.agent import Agent
from isthmus.lab.components.arbitrator import Arbitrator
from isthmus.lab.components.base import Component
from isthmus.lab.components.ceph import Ceph
from isthmus.lab.components.cinder import Cinder, CinderService
from isthmus.lab.components.engine import Engine
from isthmus.lab.components.glance import Glance
from isthmus.lab.components.haproxy import Haproxy, Login
from isthmus.lab.components.host_agent import HostAgent
from isthmus.lab.components.identity_db import IdentityDatabase
from isthmus.lab.components.keystone import Keystone
from isthmus.lab.components.l2_agent import L2Agent
from isthmus.lab.components.libvirt import Libvirt
from isthmus.lab.components.local_db import LocalDatabase
from isthmus.lab.components.memcached import Memcached
from isthmus.lab.components.neutron import Neutron, NeutronPeriodic, NeutronRpc
from isthmus.lab.components.nova import Nova, NovaCompute, NovaService
from isthmus.lab.components.ovs import OpenVSwitch
from isthmus.lab.components.placement import Placement
from isthmus.lab.components.rabbitmq import RabbitMq
from isthmus.lab.components.replica import PREFIX, Replica
from isthmus.lab.components.swift import Swift
from isthmus.lab.components.taps import TapLinks
from isthmus.lab.environment import Environment, Role, SiteSpec

COMPONENTS: dict[str, type[Component]] = {
    "agent": Agent,
    "arbitrator": Arbitrator,
    "ceph": Ceph,
    "cinder": Cinder,
    "cinder-backup": CinderService,
    "cinder-scheduler": CinderService,
    "cinder-volume": CinderService,
    "engine": Engine,
    "glance": Glance,
    "haproxy": Haproxy,
    "identity-db": IdentityDatabase,
    "keystone": Keystone,
    "local-db": LocalDatabase,
    "login": Login,
    "memcached": Memcached,
    "neutron": Neutron,
    "neutron-periodic": NeutronPeriodic,
    "neutron-rpc": NeutronRpc,
    "nova": Nova,
    "nova-conductor": NovaService,
    "nova-scheduler": NovaService,
    "placement": Placement,
    "rabbitmq": RabbitMq,
    "swift": Swift,
}

ON_HOSTS: dict[str, type[Component]] = {
    "agent": HostAgent,
    "compute": NovaCompute,
    "l2": L2Agent,
    "libvirt": Libvirt,
    "ovs": OpenVSwitch,
    "taps": TapLinks,
}


def find(environment: Environment, site: SiteSpec, name: str) -> Component:
    """The component called `name`; `replica-<writer site>` names a replica of that site, `<host>-<part>` a part of a host.

    Raises `errors.BadEnvironment`.
    """
    if name in COMPONENTS:
        return COMPONENTS[name]()
    host, _, part = name.rpartition("-")
    if host in site.hosts and part in ON_HOSTS:
        return ON_HOSTS[part]()
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
