"""A VNF to protect: three servers in a site of the lab that play a protocol with each other and write down what they did.

`database`, `middle` and `client` each have a root volume and a data volume; what their logs say afterwards tells whether the
volumes of all three are of one point in time (`guest_image`). Everything is made as user `demo`, by the stock library; what
only an administrator can make (image, flavor) and what the VNF needs in the site where it comes back is made as well. All of it
is looked for before it is made, so that a run that was cut off is repeated.
"""

import base64
import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Any

import keystoneauth1.exceptions
import openstack
from openstack.config import OpenStackConfig
from openstack.connection import Connection

from isthmus.lab import errors, home, templates
from isthmus.lab.environment import SiteSpec
from isthmus.lab.guest_image import building
from isthmus.lab.guest_image.building import GuestImage
from isthmus.lab.home import Home

FLAVOR = "isthmus-guest"
VOLUME_GIB = 1

# From who is asked by all to who asks; each asks the one before.
ROLES = ("database", "middle", "client")

VERIFY = "/lib/guest/verify"

_FIRST_ADDRESS = 10
_SERVER_SECONDS = 300
_VOLUME_SECONDS = 180

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Member:
    """One server of the VNF."""

    role: str
    server_id: str
    address: str
    volumes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Vnf:
    """What was made."""

    name: str
    site: str
    project_id: str
    members: tuple[Member, ...]

    def declare(self, *, backup_site: str, policy: str) -> list[str]:
        """The words of the command that declares it as a protection group: the client is frozen first."""
        words = ["isthmus", "group", "create", self.name, "--site", self.site]
        words += ["--backup-site", backup_site, "--policy", policy, "--project", self.project_id]
        for level, role in enumerate(reversed(ROLES)):
            member = next(each for each in self.members if each.role == role)
            needs = ROLES[: ROLES.index(role)][-1:]
            words += ["--member", f"{role}={member.server_id}:{level}:{','.join(needs)}"]
            words += ["--test", f"{role}={VERIFY}"]
        return words


@contextlib.contextmanager
def _in_words(what: str, where: str) -> Iterator[None]:
    """What the stock library raises, as an error of the lab."""
    try:
        yield
    except (
        openstack.exceptions.SDKException,
        keystoneauth1.exceptions.ClientException,
    ) as error:
        raise errors.Refused(what=what, where=where, cause=str(error)) from error


class Site:
    """A site as its administrator and as user `demo` see it."""

    def __init__(self, place: Home, site: SiteSpec) -> None:
        self.name = site.name
        self.admin = _connected(place, site.name, site.name)
        self.demo = _connected(place, "demo", site.name)

    def prepare(self, vnf: str, cidr: str, image: GuestImage) -> None:
        """What servers need before there are any: image, flavor, network, security group."""
        properties: dict[str, Any] = dict(building.PROPERTIES)
        if self.admin.image.find_image(image_name(image)) is None:
            self.admin.image.create_image(
                image_name(image),
                filename=str(image.path),
                disk_format="raw",
                container_format="bare",
                visibility="public",
                validate_checksum=False,
                **properties,
            )
        if self.admin.compute.find_flavor(FLAVOR) is None:
            self.admin.compute.create_flavor(
                name=FLAVOR, ram=building.MEMORY_MIB, vcpus=1, disk=0, is_public=True
            )
        self._network(vnf, cidr)
        self._group(vnf)

    def _network(self, vnf: str, cidr: str) -> None:
        network = self.demo.network.find_network(vnf)
        network = network or self.demo.network.create_network(name=vnf)
        if not network.subnet_ids:
            self.demo.network.create_subnet(
                name=vnf, network_id=network.id, cidr=cidr, ip_version=4, gateway_ip=None
            )

    def _group(self, vnf: str) -> None:
        """The servers of the VNF reach each other, and nobody else reaches them."""
        if self.demo.network.find_security_group(vnf) is not None:
            return
        group = self.demo.network.create_security_group(name=vnf)
        self.demo.network.create_security_group_rule(
            security_group_id=group.id,
            direction="ingress",
            ether_type="IPv4",
            remote_group_id=group.id,
        )

    def member(
        self, vnf: str, role: str, address: str, peer: str | None, image: GuestImage
    ) -> Member:
        """A server with its port and its two volumes; it may still be starting."""
        name = f"{vnf}-{role}"
        root = self.demo.image.find_image(image_name(image), ignore_missing=False)
        volumes = [self._volume(f"{name}-root", str(root.id)), self._volume(f"{name}-data", None)]
        server = self.demo.compute.find_server(name)
        if server is None:
            for volume in volumes:
                self.demo.block_storage.wait_for_status(
                    self.demo.block_storage.get_volume(volume),
                    "available",
                    failures=["error"],
                    interval=1,
                    wait=_VOLUME_SECONDS,
                )
            server = self._server(name, role, self._port(vnf, name, address), volumes, peer)
        return Member(role=role, server_id=server.id, address=address, volumes=tuple(volumes))

    def active(self, member: Member) -> None:
        """Wait until the server runs. Raises `errors.NotReady`."""
        try:
            self.demo.compute.wait_for_server(
                self.demo.compute.get_server(member.server_id), interval=1, wait=_SERVER_SECONDS
            )
        except openstack.exceptions.SDKException as error:
            found = self.demo.compute.get_server(member.server_id)
            raise errors.NotReady(
                what=f"the server of {member.role} does not run",
                where=self.name,
                cause=f"{found.status}: {found.fault or error}",
            ) from error

    def _volume(self, name: str, image_id: str | None) -> str:
        found = self.demo.block_storage.find_volume(name)
        source = {"image_id": image_id} if image_id else {}
        made = found or self.demo.block_storage.create_volume(name=name, size=VOLUME_GIB, **source)
        return str(made.id)

    def _port(self, vnf: str, name: str, address: str) -> str:
        found = next(iter(self.demo.network.ports(name=name)), None)
        if found is not None:
            return str(found.id)
        group = self.demo.network.find_security_group(vnf, ignore_missing=False)
        made = self.demo.network.create_port(
            name=name,
            network_id=self.demo.network.find_network(vnf, ignore_missing=False).id,
            fixed_ips=[{"ip_address": address}],
            security_group_ids=[group.id],
        )
        return str(made.id)

    def _server(self, name: str, role: str, port: str, volumes: list[str], peer: str | None) -> Any:
        told = f"role={role}\n" + (f"peer={peer}\n" if peer else "")
        return self.demo.compute.create_server(
            name=name,
            flavor_id=self.demo.compute.find_flavor(FLAVOR, ignore_missing=False).id,
            networks=[{"port": port}],
            user_data=base64.b64encode(told.encode()).decode(),
            config_drive=True,
            block_device_mapping=[
                {
                    "uuid": volume,
                    "source_type": "volume",
                    "destination_type": "volume",
                    "boot_index": 0 if index == 0 else -1,
                    "delete_on_termination": False,
                }
                for index, volume in enumerate(volumes)
            ],
        )

    def servers(self, vnf: str) -> dict[str, str]:
        """Ids of the servers that bear the names of the VNF's, by role."""
        with _in_words("the list of servers", self.name):
            found = {each.name: str(each.id) for each in self.demo.compute.servers()}
        wanted = {role: f"{vnf}-{role}" for role in ROLES}
        return {role: found[name] for role, name in wanted.items() if name in found}

    def seen(self, server_id: str) -> Mapping[str, Any]:
        """What Nova tells an administrator of a server."""
        with _in_words(f"a look at server {server_id}", self.name):
            answer = self.admin.compute.get(f"/servers/{server_id}")
            openstack.exceptions.raise_from_response(answer)
            found: Mapping[str, Any] = answer.json()["server"]
        return found

    def things(self) -> dict[str, set[str]]:
        """Everything of the project that a restore could leave behind or disturb: ids, of servers with their states."""
        with _in_words("a look at the project's things", self.name):
            return {
                "servers": {f"{each.id} {each.status}" for each in self.demo.compute.servers()},
                "volumes": {str(each.id) for each in self.demo.block_storage.volumes()},
                "networks": {str(each.id) for each in self.demo.network.networks()},
                "ports": {str(each.id) for each in self.demo.network.ports()},
            }

    def remove(self, vnf: str) -> None:
        """Take away all that bears the name of the VNF in this site."""
        compute, storage, network = self.demo.compute, self.demo.block_storage, self.demo.network
        servers = [each for each in compute.servers() if each.name.startswith(f"{vnf}-")]
        for server in servers:
            compute.delete_server(server)
        for server in servers:
            compute.wait_for_delete(server, interval=1, wait=_SERVER_SECONDS)
        for volume in [each for each in storage.volumes() if each.name.startswith(f"{vnf}-")]:
            storage.delete_volume(str(volume.id))
        for port in [each for each in network.ports() if each.name.startswith(f"{vnf}-")]:
            network.delete_port(port)
        if (found := network.find_network(vnf)) is not None:
            network.delete_network(found)
        if (group := network.find_security_group(vnf)) is not None:
            network.delete_security_group(group)


def create(place: Home, name: str, *, site: str, cidr: IPv4Network, say: Say) -> Vnf:
    """Make the VNF in `site`, and in the other sites with computing what it needs to come back there.

    Raises `errors.Refused` with what a cloud did not want.
    """
    with _in_words(f"a part of VNF {name}", site):
        return _created(place, name, site, cidr, say)


def _created(place: Home, name: str, site: str, cidr: IPv4Network, say: Say) -> Vnf:
    record = home.require_record(place)
    say("image")
    image = building.cached(place.templates)
    sites = {each.name: Site(place, each) for each in templates.computing(record.environment)}
    if site not in sites:
        raise errors.BadRequest(
            what=f"site {site} runs no servers",
            where=f"environment {record.environment.name}",
            cause=f"sites with computing: {', '.join(sites) or 'none'}",
        )
    for each in sites.values():
        say(f"{each.name}: image, flavor, network, security group")
        each.prepare(name, str(cidr), image)
    members = []
    peer = None
    for number, role in enumerate(ROLES):
        say(f"{site}: server {name}-{role}, with two volumes")
        address = str(cidr[_FIRST_ADDRESS + number])
        members.append(sites[site].member(name, role, address, peer, image))
        peer = address
    for member in members:
        say(f"{site}: {member.role} starts")
        sites[site].active(member)
    project = sites[site].demo.current_project_id
    return Vnf(name=name, site=site, project_id=str(project), members=tuple(members))


def delete(place: Home, name: str, *, say: Say) -> None:
    """Take the VNF away in every site. Raises `errors.Refused` with what a cloud did not want."""
    record = home.require_record(place)
    for each in templates.computing(record.environment):
        say(f"{each.name}: servers, volumes, ports, network of {name}")
        with _in_words(f"the end of VNF {name}", each.name):
            Site(place, each).remove(name)


def image_name(image: GuestImage) -> str:
    """With its key: an image of another content is another image."""
    return f"isthmus-guest-{image.key[:8]}"


def _connected(place: Home, cloud: str, region: str) -> Connection:
    known = OpenStackConfig(config_files=[str(place.clouds)], load_envvars=False)
    # A token of one site is good in all of them, so that the region is free.
    return Connection(session=known.get_one(cloud=cloud).get_session(), region_name=region)
