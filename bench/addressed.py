"""What is measured of service addresses: one that Isthmus moves and one that keepalived moves, in the lab with networks."""

import contextlib
import json
import subprocess
import uuid
from collections.abc import Callable
from typing import Any

from bench import labs
from isthmus.errors import IsthmusError
from isthmus.lab import clients, faults, guests, neutrons, waiting
from isthmus.lab.components.base import script
from isthmus.lab.guests import Guest

ADDRESS, VIP = "192.0.2.60", "10.62.0.5"
TARGETS = {"paris": "10.63.0.11", "lyon": "10.63.0.140"}
MEMBERS = {"paris": ("10.62.0.11", 150), "lyon": ("10.62.0.140", 100)}
THIRD = "10.62.0.20"
_READY = 90.0  # a host's switch, agents and gateway start again, on two busy cores


class Addressed:
    """The lab with networks, one address that Isthmus moves, and one that keepalived moves."""

    def __init__(self, lab: labs.Lab) -> None:
        self.lab = lab
        self._made: list[tuple[str, str]] = []
        self._name = f"bench-{uuid.uuid4().hex[:6]}"
        self._keepers: dict[str, subprocess.Popen[bytes]] = {}
        self._killed = ""
        self.members: dict[str, Guest] = {}

    def isthmus(self, *words: str, timeout: float = 150.0) -> Any:
        """The JSON that a command prints."""
        env = clients.exports(self.lab.home, self.lab.environment)
        done = subprocess.run(
            [script("isthmus"), *words, "-f", "json"],
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **env},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if done.returncode not in (0, 1, 2) or not done.stdout.strip():
            raise IsthmusError("a command failed", where=" ".join(words), cause=done.stderr.strip())
        return json.loads(done.stdout)

    # -- the address that Isthmus moves

    def build_moved(self) -> None:
        name = f"{self._name}-moved"
        for site, ip in TARGETS.items():
            self._network(site, name, "10.63.0.0/24")
            self._guest(f"{self._name}-{site}", site, "compute2", name, ip)
        targets = [f"--target={site}={ip}" for site, ip in TARGETS.items()]
        self.isthmus(
            *("network", "address", "create", ADDRESS, "--kind", "moved", "--name", self._name),
            *("--network", name, "--check", "icmp", *targets),
        )
        self.ready()

    def shown(self) -> Any:
        return self.isthmus("network", "address", "show", self._name)

    def holder(self) -> tuple[str, str]:
        """Site and host."""
        site, _, host = str(self.shown()["holder"]).partition("/")
        return site, host

    def other(self) -> str:
        return "lyon" if self.holder()[0] == "paris" else "paris"

    def ready(self) -> None:
        """Wait until both sites could hold it."""
        self._wait(self._unready, "the address is not ready")

    def _unready(self) -> str | None:
        found = self.shown()
        bad = [e for e in found["sites"] if not e["ready"] or e["health"] != "healthy"]
        silent = [e["site"] for e in found["voters"] if e["error"]]
        if not bad and not silent and found["holder"]:
            return None
        return f"{[e['site'] + ': ' + str(e['reason']) for e in bad]} {silent} {found['holder']}"

    def move(self) -> None:
        self.isthmus("network", "address", "move", self._name, "--to", self.other())

    def kill_host(self) -> None:
        self._killed = "/".join(self.holder())
        faults.kill(self.lab.home, self.lab.units, self._killed)

    def kill_site(self) -> None:
        self._killed = self.holder()[0]
        faults.kill(self.lab.home, self.lab.units, self._killed)

    def revive(self) -> None:
        faults.resume(self.lab.home, self.lab.units, self._killed, self.lab.progress)

    def revived(self) -> None:
        self.revive()
        self.ready()

    # -- the address that keepalived moves

    def build_vrrp(self) -> None:
        name = f"{self._name}-vrrp"
        sites = [f"--site={site}" for site in MEMBERS]
        self.isthmus("network", "create", name, "--cidr", "10.62.0.0/24", *sites, "--wait")
        for site, (ip, _) in MEMBERS.items():
            guest = self._guest(
                f"{self._name}-v{site}", site, "compute2", name, ip, open_group=False
            )
            self.members[site] = guest
        third = self._guest(f"{self._name}-third", "paris", "compute1", name, THIRD)
        self.members["third"] = third
        targets = [f"--target={site}={ip}" for site, (ip, _) in MEMBERS.items()]
        self.isthmus(
            *("network", "address", "create", VIP, "--kind", "vrrp", "--network", name),
            *("--name", f"{self._name}-vip", *targets),
        )

        def unprepared() -> str | None:
            found = self.isthmus("network", "address", "show", f"{self._name}-vip")
            pairs = [
                self._neutron(g.site).get(f"/ports/{g.port}")["port"] for g in self.members.values()
            ]
            if all(port["allowed_address_pairs"] for port in pairs) and found["outcome"] == "OK":
                return None
            return str(found["findings"])

        self._wait(unprepared, "the VRRP address is not prepared")

    def keep(self, site: str, interval: float) -> None:
        """Run keepalived in the member of a site."""
        guest, (_, priority) = self.members[site], MEMBERS[site]
        folder = self.lab.home.lab / "guests"
        path = folder / f"{guest.name}-{interval:g}.conf"
        path.write_text(_keepalived(priority, interval), encoding="utf-8")
        words = ["keepalived", "-n", "-l", "-P", "-f", str(path)]
        files = [f"-p{folder}/{guest.name}.pid", f"-r{folder}/{guest.name}.vrrp"]
        argv = ["ip", "netns", "exec", guest.namespace, *words, *files]
        self._keepers[site] = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def unkeep(self, site: str) -> None:
        """End it as an operator does: it says so to the others (priority 0)."""
        process = self._keepers.pop(site, None)
        if process is not None:
            process.terminate()
            process.wait(10)

    def master(self, site: str) -> None:
        """Wait until the member of `site` has the address, and answers the third host."""

        def missing() -> str | None:
            shown = guests.execute(self.members[site], ["ip", "-o", "address", "show", "to", VIP])
            if VIP not in shown.stdout:
                return f"{site} has not the address"
            return None if guests.ping(self.members["third"], VIP, count=1) else "no answer"

        self._wait(missing, "the master has not the address")

    def kill_master_host(self) -> None:
        self._killed = "paris/compute2"
        faults.kill(self.lab.home, self.lab.units, self._killed)

    def master_revived(self) -> None:
        self.revive()
        self.master("paris")

    # -- both

    def delay(self, milliseconds: float) -> None:
        for site in ("paris", "madrid"):
            faults.delay(self.lab.home, self.lab.environment, site, milliseconds)
        faults.delay(self.lab.home, self.lab.environment, "paris-lyon", milliseconds)

    def remove(self) -> None:
        """Take everything away that was made."""
        for site in list(self._keepers):
            self.unkeep(site)
        for name in (self._name, f"{self._name}-vip"):
            with contextlib.suppress(IsthmusError, subprocess.TimeoutExpired):
                self.isthmus("network", "address", "delete", name, "--wait", "--timeout", "60")
        for guest in guests.listed(self.lab.home):
            if guest.name.startswith(self._name):
                guests.remove(self.lab.home, guest.name)
        with contextlib.suppress(IsthmusError, subprocess.TimeoutExpired):
            self.isthmus("network", "delete", f"{self._name}-vrrp", "--wait")
        for site, path in reversed(self._made):
            self._neutron(site).delete(path)

    def _wait(self, condition: Callable[[], str | None], what: str) -> None:
        waiting.until(condition, deadline=_READY, what=what, where="lab", interval=0.3)

    def _neutron(self, site: str) -> neutrons.Neutron:
        return neutrons.at(self.lab.home, self.lab.environment, site)

    def _network(self, site: str, name: str, cidr: str) -> None:
        neutron = self._neutron(site)
        made = neutron.post("/networks", {"network": {"name": name}})["network"]
        self._made.append((site, f"/networks/{made['id']}"))
        subnet = {
            "network_id": made["id"],
            "ip_version": 4,
            "cidr": cidr,
            "gateway_ip": None,
            "enable_dhcp": False,
        }
        neutron.post("/subnets", {"subnet": subnet})

    def _guest(
        self, name: str, site: str, host: str, network: str, ip: str, *, open_group: bool = True
    ) -> Guest:
        neutron = self._neutron(site)
        body = {"security_group": {"name": f"{name}-group"}}
        group = str(neutron.post("/security-groups", body)["security_group"]["id"])
        self._made.insert(0, (site, f"/security-groups/{group}"))
        protocols = [None] if open_group else ["icmp"]
        for protocol in protocols:
            rule = {
                "security_group_id": group,
                "direction": "ingress",
                "ethertype": "IPv4",
                "protocol": protocol,
            }
            neutron.post("/security-group-rules", {"security_group_rule": rule})
        return guests.add(
            self.lab.home,
            site=site,
            host=host,
            network=network,
            name=name,
            ip=ip,
            security_groups=[group],
        )


def _keepalived(priority: int, interval: float) -> str:
    """VRRPv3, as the documentation advises."""
    return f"""
global_defs {{
  vrrp_version 3
  vrrp_garp_master_repeat 5
  vrrp_garp_master_refresh 5
}}
vrrp_instance bench {{
  state BACKUP
  interface {guests.INTERFACE}
  virtual_router_id 51
  priority {priority}
  advert_int {interval:g}
  virtual_ipaddress {{
    {VIP}/24
  }}
}}
"""
