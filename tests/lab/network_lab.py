"""The lab with networks as the tests see it: Neutrons, guests, and what a test leaves behind.

What a test makes through this class is taken away after it; what it makes otherwise is its own to take away.
"""

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from running_lab import Lab

from isthmus.lab import errors, guests, neutrons, waiting
from isthmus.lab.guests import Guest
from isthmus.network import views

# The first packet of a tunnel is lost while its end is looked up, and Linux asks again for an address after a second.
REACH_DEADLINE = 10.0
# A poke and one look; if the poke was lost, the next round, which comes every 30 s.
WITHDRAWN_DEADLINE = 40.0

_FLOWS = ["ovs-ofctl", "--timeout=5", "-O", "OpenFlow13", "dump-flows", "br-int"]


def _about(flow: str, ends: Sequence[Guest], address: str) -> bool:
    """Whether a flow says something of these addresses, or of whom a security group lets in."""
    words = [address, *(word for end in ends for word in (end.ip, end.mac)), "conj"]
    return any(word in flow for word in words)


@dataclass(kw_only=True)
class NetworkLab(Lab):
    """The running lab with the environment `network`."""

    administrators: dict[str, neutrons.Neutron] = field(default_factory=dict, repr=False)
    made: list[tuple[str, str]] = field(default_factory=list)  # (site, path), the last one first

    def forget(self) -> None:
        super().forget()
        self.administrators.clear()
        self.made.clear()

    def neutron(self, site: str) -> neutrons.Neutron:
        """The Neutron of a site, with a token of the administrator."""
        if site not in self.administrators:
            self.administrators[site] = neutrons.at(self.home, self.environment, site)
        return self.administrators[site]

    def new_network(
        self, site: str, *, cidr: str = "10.60.0.0/24", name: str = "", **fields: Any
    ) -> dict[str, Any]:
        """A network of the site with one subnet and without DHCP; further fields are those of Neutron's network."""
        neutron = self.neutron(site)
        name = name or f"net-{uuid.uuid4().hex[:8]}"
        network: dict[str, Any] = neutron.post("/networks", {"network": {"name": name, **fields}})[
            "network"
        ]
        self.made.insert(0, (site, f"/networks/{network['id']}"))
        subnet = {
            "network_id": network["id"],
            "ip_version": 4,
            "cidr": cidr,
            "gateway_ip": None,
            "enable_dhcp": False,
        }
        neutron.post("/subnets", {"subnet": subnet})
        return network

    def new_open_group(self, site: str) -> str:
        """The id of a security group that lets everything in."""
        neutron = self.neutron(site)
        body = {"security_group": {"name": f"open-{uuid.uuid4().hex[:8]}"}}
        group = str(neutron.post("/security-groups", body)["security_group"]["id"])
        self.made.append((site, f"/security-groups/{group}"))
        rule = {"security_group_id": group, "direction": "ingress", "ethertype": "IPv4"}
        neutron.post("/security-group-rules", {"security_group_rule": rule})
        return group

    def guest(
        self,
        site: str,
        host: str,
        network: str,
        *,
        groups: Sequence[str] | None = None,
        ip: str = "",
    ) -> Guest:
        """A guest of its own for one test, connected; in a group that lets everything in unless said otherwise."""
        return guests.add(
            self.home,
            site=site,
            host=host,
            network=network,
            name=f"guest-{uuid.uuid4().hex[:6]}",
            ip=ip or None,
            security_groups=[self.new_open_group(site)] if groups is None else groups,
        )

    def reaches(self, guest: Guest, address: str, *, deadline: float = REACH_DEADLINE) -> float:
        """Wait until the guest gets an answer from the address; returns the seconds."""
        try:
            return waiting.until(
                lambda: None if guests.ping(guest, address, count=1) else "no answer",
                deadline=deadline,
                what=f"{guest.name} does not reach {address}",
                where=f"{guest.site}/{guest.host}",
            )
        except errors.NotReady as unreached:
            unreached.add_note(self._way(guest, address))
            raise

    def _way(self, guest: Guest, address: str) -> str:
        """What the trace says about the way, and what the switches of both ends do with the two addresses."""
        ends = [guest, *(each for each in guests.listed(self.home) if each.ip == address)]
        told = [self.command("network", "trace", guest.network, guest.ip, address).stdout]
        for end in ends:
            where = f"{end.site}/{end.host}"
            flows = self.command("lab", "exec", where, "--", *_FLOWS).stdout.splitlines()
            told += [f"--- {where}", *(line for line in flows if _about(line, ends, address))]
        return "\n".join(told)

    def never_reaches(self, guest: Guest, address: str, *, seconds: float = 2.0) -> None:
        """No ping is answered for a while: as long as a first packet takes that has to be looked up."""
        ended = time.monotonic() + seconds
        while time.monotonic() < ended:
            assert guests.ping(guest, address, count=2) == 0, f"{guest.name} reaches {address}"

    def origins(self, network: str, site: str) -> list[str]:
        """What the remote ports of a site stand for, in its Neutron's words; sorted, with repetitions."""
        neutron = self.neutron(site)
        found = neutron.find("network", network)["id"]
        listed = neutron.get("/ports", network_id=found, device_owner=views.REMOTE_OWNER)["ports"]
        return sorted(port["device_id"] for port in listed)

    def stands_for(self, network: str, site: str, *real: Guest, deadline: float) -> float:
        """Wait until the remote ports of a site stand for exactly these guests; returns the seconds."""
        wanted = sorted(f"{guest.site}/{guest.port}" for guest in real)

        def different() -> str | None:
            found = self.origins(network, site)
            return None if found == wanted else f"they stand for {found}, not for {wanted}"

        return waiting.until(
            different, deadline=deadline, what=f"{network}: wrong remote ports", where=site
        )

    def tidy(self) -> None:
        """Take away the guests, then what the test has made in the Neutrons."""
        for guest in guests.listed(self.home):
            guests.remove(self.home, guest.name)
        for site, path in self.made:
            self._released(site, path)
            self.neutron(site).delete(path)
        self.made.clear()

    def _released(self, site: str, path: str) -> None:
        """Wait until no remote port is in the security group, if it is one: its guest is gone, and the engine follows."""
        kind, _, identity = path.strip("/").partition("/")
        if kind != "security-groups":
            return
        neutron = self.neutron(site)
        waiting.until(
            lambda: (
                f"{len(found)} ports are in it"
                if (found := neutron.get("/ports", security_groups=identity)["ports"])
                else None
            ),
            deadline=WITHDRAWN_DEADLINE,
            what=f"security group {identity} is still used",
            where=site,
        )

    def mend(self) -> None:
        super().mend()
        self.tidy()

    def ailing(self) -> str | None:
        return super().ailing() or self.unwired()

    def unwired(self) -> str | None:
        """A host whose agent Neutron calls dead."""
        for site in self.sites:
            if site.hosts:
                agents = self.neutron(site.name).get("/agents", binary="neutron-openvswitch-agent")
                alive = {agent["host"] for agent in agents["agents"] if agent["alive"]}
                if dead := set(site.hosts) - alive:
                    return (
                        f"{site.name}: Neutron calls the agents of {', '.join(sorted(dead))} dead"
                    )
        return None
