"""The gateway of a service address on this host: a namespace with two legs, built and taken down.

It is prepared in every site in advance and answers for nothing until `holding` opens its fence
(`isthmus.network.addresses.fence`), so that a move costs no building. What it is made of is written
down before it is made; an agent that was restarted finds its gateways, and their elements in the
kernel run on meanwhile.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Annotated

import pydantic

from isthmus import errors
from isthmus.agent.host import inside, running, switch
from isthmus.network.addresses import declarations, fence

MARK = "isthmus-address"
"""Key in the external ids of a gateway's interfaces; its value is the id of the address."""

log = logging.getLogger(__name__)

_ABSENT = ("Cannot find device", "No such file or directory", "does not exist")
_UUID = r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
_MAC = r"^[0-9a-f]{2}(:[0-9a-f]{2}){5}$"


class CheckSpec(pydantic.BaseModel):
    """A health check as it travels."""

    model_config = pydantic.ConfigDict(extra="ignore", frozen=True)

    probe: declarations.Probe = declarations.Probe.NONE
    port: int = 0
    interval: Annotated[float, pydantic.Field(ge=0.05, le=60)] = 0.5
    timeout: Annotated[float, pydantic.Field(gt=0, le=60)] = 0.5
    fall: Annotated[int, pydantic.Field(ge=1, le=100)] = 3
    rise: Annotated[int, pydantic.Field(ge=1, le=100)] = 2

    def check(self) -> declarations.Check:
        return declarations.Check(**self.model_dump())


class Spec(pydantic.BaseModel):
    """What a gateway is made of: the service address on the provider network, and a port of Neutron
    (`port_id`, `mac`, `ip`, `ip_prefix`, `mtu`) on the network of the target."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    id: Annotated[str, pydantic.Field(pattern=_UUID)]
    address: pydantic.IPvAnyAddress
    prefix: Annotated[int, pydantic.Field(ge=1, le=32)]
    next_hop: pydantic.IPvAnyAddress | None = None
    port_id: Annotated[str, pydantic.Field(pattern=_UUID)]
    mac: Annotated[str, pydantic.Field(pattern=_MAC)]
    ip: pydantic.IPvAnyAddress
    ip_prefix: Annotated[int, pydantic.Field(ge=1, le=32)]
    mtu: Annotated[int, pydantic.Field(ge=68, le=65535)]
    target: pydantic.IPvAnyAddress
    check: CheckSpec = CheckSpec()

    @property
    def wiring(self) -> dict[str, object]:
        """All that a change of means building anew."""
        return self.model_dump(exclude={"check"})


def namespace(digits: str) -> str:
    """What a gateway with these digits (`fence.digits`) calls its namespace."""
    return f"isthmus-addr-{digits}"


class Gateway:
    """One gateway's names and commands."""

    def __init__(self, switch: switch.Switch, spec: Spec, site: str, host: str) -> None:
        self.spec = spec
        self._switch = switch
        digits = fence.digits(spec.id, site, host)
        self.namespace = namespace(digits)
        self.outer, self.inner = f"ao{digits}", f"ai{digits}"
        self.mac = fence.mac(spec.id, site, host)

    @property
    def stands(self) -> bool:
        """Whether its namespace is there: a mount, not the empty file that one leaves behind."""
        return os.path.ismount(inside.NAMESPACES / self.namespace)

    def build(self) -> None:
        """Make it from nothing. Raises `errors.HostError`; what was made is taken away then."""
        self.demolish()
        try:
            _outside("ip", "netns", "add", self.namespace)
            self._legs()
            self._fence()
            self._addresses()
            self._plug()
        except BaseException:
            self.demolish()
            raise
        log.info("gateway %s of %s is built", self.namespace, self.spec.address)

    def demolish(self) -> None:
        """Take it away; that there is none is as good."""
        bridges = self._switch.bridges
        for bridge, name in ((bridges.external, self.outer), (bridges.integration, self.inner)):
            self._switch.vsctl("--if-exists", "del-port", bridge, name)
            _delete(["ip", "link", "delete", name])
        _delete([*_everywhere(), "ip", "netns", "delete", self.namespace])

    def _legs(self) -> None:
        for outside, name, mac, mtu in (
            (self.outer, "outer", self.mac, 1500),
            (self.inner, "inner", self.spec.mac, self.spec.mtu),
        ):
            peer = ["peer", "name", name, "netns", self.namespace, "address", mac]
            link = ["ip", "link", "add", outside, "mtu", str(mtu), "type", "veth", *peer]
            running.run([*link, "mtu", str(mtu)])
            # A user-space switch computes no checksums for what a veth leaves to the hardware.
            offload = ["tx", "off", "tso", "off", "gso", "off"]
            running.run(["ethtool", "-K", name, *offload], namespace=self.namespace)

    def _fence(self) -> None:
        """Before the address is there: it shall never be answered without an element."""
        legs = fence.Legs(address=str(self.spec.address), target=str(self.spec.target))
        insider = inside.Insider(self.namespace)
        try:
            insider.do(_settle)
            insider.do(lambda: _load(fence.rules(legs)))
        finally:
            insider.close()

    def _addresses(self) -> None:
        spec = self.spec
        lines = [
            "link set lo up",
            "link set inner up",
            "link set outer up",
            f"address add {spec.ip}/{spec.ip_prefix} dev inner",
            f"address add {spec.address}/{spec.prefix} dev outer",
        ]
        if spec.next_hop:
            lines.append(f"route add default via {spec.next_hop} dev outer")
        for line in lines:
            running.run(["ip", *line.split()], namespace=self.namespace)

    def _plug(self) -> None:
        for name in (self.outer, self.inner):
            # The host's own kernel has nothing to say on these wires: they are the switch's.
            running.run(["ip", "link", "set", name, "arp", "off", "addrgenmode", "none", "up"])
        bridges, mark = self._switch.bridges, f'external_ids:{MARK}="{self.spec.id}"'
        ids = {"iface-id": self.spec.port_id, "attached-mac": self.spec.mac}
        words = [f'external_ids:{key}="{value}"' for key, value in ids.items()]
        self._switch.transact(
            ["add-port", bridges.external, self.outer],
            ["set", "Interface", self.outer, mark],
            ["add-port", bridges.integration, self.inner],
            ["set", "Interface", self.inner, *words, "external_ids:iface-status=active", mark],
        )


# Forward between the legs; answer ARP for an address only on the leg that has it; no IPv6.
_SETTINGS = {
    "ipv4/ip_forward": "1",
    "ipv4/conf/all/arp_ignore": "1",
    "ipv4/conf/all/rp_filter": "0",
    "ipv4/conf/all/send_redirects": "0",
    "ipv6/conf/all/disable_ipv6": "1",
}


def _settle() -> None:
    for name, value in _SETTINGS.items():
        path = Path("/proc/sys/net") / name
        if path.exists():
            path.write_text(value)


def _load(rules: str) -> None:
    nft = inside.Nft()
    try:
        nft.run(rules)
    finally:
        nft.close()


def _everywhere() -> list[str]:
    """Words that put a command where every process of this host sees what it mounts.

    A namespace is a mount. If this agent has mounts of its own, as `ip netns exec` and some service
    managers give it, a gateway would vanish with the agent, and its element with it.
    """
    own, first = Path("/proc/self/ns/mnt"), Path("/proc/1/ns/mnt")
    try:
        if own.readlink() == first.readlink():
            return []
    except OSError:
        return []
    return ["nsenter", f"--mount={first}", "--"]


def _outside(*argv: str) -> None:
    running.run([*_everywhere(), *argv])


def _delete(argv: list[str]) -> None:
    try:
        running.run(argv)
    except running.CommandError as error:
        if not any(phrase in (error.cause or "") for phrase in _ABSENT):
            raise


class Book:
    """What is written down of the gateways of this host, one file each."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def write(self, spec: Spec) -> None:
        path = self._path(spec.id)
        draft = path.with_suffix(".draft")
        draft.write_text(spec.model_dump_json(), encoding="utf-8")
        draft.rename(path)

    def erase(self, address_id: str) -> None:
        self._path(address_id).unlink(missing_ok=True)

    def all(self) -> list[Spec]:
        """Everything that can be read."""
        found = []
        for path in sorted(self._directory.glob("*.json")):
            try:
                found.append(Spec.model_validate_json(path.read_text(encoding="utf-8")))
            except (OSError, ValueError) as error:
                log.warning("%s cannot be read and is left out: %s", path, error)
        return found

    def _path(self, address_id: str) -> Path:
        if "/" in address_id or not address_id:
            raise errors.UsageError(f"there is no address {address_id[:40]!r}")
        return self._directory / f"{address_id}.json"
