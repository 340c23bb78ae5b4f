"""What is measured of service addresses: one that Isthmus moves and one that keepalived moves, in the lab with networks."""

import contextlib
import subprocess
import uuid
from collections.abc import Callable
from typing import Any

import requests

from bench import labs
from bench.commands import isthmus
from isthmus.errors import IsthmusError
from isthmus.identity.config import ENGINE_PORT
from isthmus.lab import faults, guests, neutrons, waiting
from isthmus.lab.guests import Guest

ADDRESS, VIP = "192.0.2.60", "10.62.0.5"
TARGETS = {"paris": "10.63.0.11", "lyon": "10.63.0.140"}
MEMBERS = {"paris": ("10.62.0.11", 150), "lyon": ("10.62.0.140", 100)}
THIRD = "10.62.0.20"
# A site that died starts its database, message bus, Neutron, hosts and gateway again, on two busy cores; its network alone has
# 180 s in the lab.
_READY = 240.0
_LOOK = 1.0  # seconds between two looks: each asks three engines and the database
_CONNECT, _ANSWER = 1.0, 20.0


class Addressed:
    """The lab with networks, one address that Isthmus moves, and one that keepalived moves."""

    def __init__(self, lab: labs.Lab) -> None:
        self.lab = lab
        self._made: list[tuple[str, str]] = []
        self._name = f"bench-{uuid.uuid4().hex[:6]}"
        self._keepers: dict[str, subprocess.Popen[bytes]] = {}
        self._killed = ""
        self._token = ""
        self._delay = 0.0
        self.members: dict[str, Guest] = {}

    def isthmus(self, *words: str) -> Any:
        """The JSON that a command prints."""
        return isthmus(self.lab, *words, "-f", "json", judged=(1, 2))

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """What the first engine that answers says about addresses; raises `IsthmusError`.

        Not by the command: an interpreter's start a second would take the cores from what is waited for.
        """
        said = []
        for site in self.lab.environment.sites:
            try:
                self._token = self._token or self.lab.login(site, "admin")
                answer = requests.request(
                    method,
                    f"http://{site.management}:{ENGINE_PORT}/v1/addresses{path}",
                    json=body,
                    headers={"X-Auth-Token": self._token},
                    timeout=(_CONNECT, _ANSWER),
                )
            except (IsthmusError, requests.RequestException) as error:
                said.append(f"{site.name}: {error}")
                continue
            if answer.ok:
                return answer.json()
            said.append(f"{site.name}: {answer.status_code} {answer.text.strip()[:300]}")
            if answer.status_code == 401:
                self._token = ""
        raise IsthmusError("no engine does it", where=f"{method} {path}", cause="; ".join(said))

    # -- the address that Isthmus moves

    def build_moved(self) -> None:
        name = f"{self._name}-moved"
        for site, ip in TARGETS.items():
            self._network(site, name, "10.63.0.0/24")
            self._guest(f"{self._name}-{site}", site, "compute2", name, ip)
        body = {
            "address": ADDRESS,
            "kind": "moved",
            "network": name,
            "name": self._name,
            "targets": {site: [ip] for site, ip in TARGETS.items()},
            "check": "icmp",
        }
        self.ask("POST", "", body)
        self.ready()

    def shown(self) -> Any:
        return self.ask("GET", f"/{self._name}")["address"]

    def holder(self) -> tuple[str, str]:
        """Site and host. Raises `IsthmusError` if nobody holds it."""
        found = self.shown()
        if not found["holder"]:
            raise IsthmusError("nobody holds the address", where=self._name)
        site, _, host = str(found["holder"]).partition("/")
        return site, host

    def other(self) -> str:
        return "lyon" if self.holder()[0] == "paris" else "paris"

    def ready(self) -> None:
        """Wait until both sites could hold it."""
        self._wait(self._unready, "the address is not ready")

    def _unready(self) -> str | None:
        try:
            found = self.shown()
        except IsthmusError as error:
            return str(error)  # engines that start answer late
        words = [
            f"{e['site']}: {e['reason'] or e['error'] or e['health']}"
            for e in found["sites"]
            if not e["ready"] or e["health"] != "healthy"
        ]
        words += [f"voter {e['site']}: {e['error']}" for e in found["voters"] if e["error"]]
        if not words and found["holder"]:
            return None
        return "; ".join([*words, f"holder {found['holder']}"])

    def move(self) -> None:
        self.ask("POST", f"/{self._name}/move", {"to": self.other()})

    def kill_host(self) -> None:
        self._killed = "/".join(self.holder())
        faults.kill(self.lab.home, self.lab.units, self._killed)

    def kill_site(self) -> None:
        self._killed = self.holder()[0]
        faults.kill(self.lab.home, self.lab.units, self._killed)

    def revive(self) -> None:
        """Start again what was killed; nothing if nothing was."""
        if self._killed:
            faults.resume(self.lab.home, self.lab.units, self._killed, self.lab.progress)
        self._killed = ""

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
        body = {
            "address": VIP,
            "kind": "vrrp",
            "network": name,
            "name": f"{self._name}-vip",
            "targets": {site: [ip] for site, (ip, _) in MEMBERS.items()},
        }
        self.ask("POST", "", body)

        def unprepared() -> str | None:
            found = self.ask("GET", f"/{self._name}-vip")["address"]
            pairs = [
                self._neutron(site).get(f"/ports/{self.members[site].port}")["port"]
                for site in MEMBERS
            ]
            if all(port["allowed_address_pairs"] for port in pairs) and found["outcome"] == "OK":
                return None
            return str(found["findings"])

        self._wait(unprepared, "the VRRP address is not prepared")

    def keep(self, site: str, interval: float) -> None:
        """Run keepalived in the member of a site, if it does not run there."""
        if site in self._keepers and self._keepers[site].poll() is None:
            return
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
        """Delay every link, once: each time cuts it for a moment."""
        self._delay = milliseconds
        for link in self.lab.environment.links:
            faults.delay(self.lab.home, self.lab.environment, link.name, milliseconds)

    def mend(self) -> None:
        """Everything runs and every link is whole, but as slow as it was to be."""
        delay = self._delay
        labs.restore(self.lab)
        if delay:
            self.delay(delay)

    def remove(self) -> None:
        """Take everything away that was made."""
        for site in list(self._keepers):
            self.unkeep(site)
        for name in (self._name, f"{self._name}-vip"):
            with contextlib.suppress(IsthmusError):
                self.isthmus("network", "address", "delete", name, "--wait", "--timeout", "60")
        for guest in guests.listed(self.lab.home):
            if guest.name.startswith(self._name):
                guests.remove(self.lab.home, guest.name)
        with contextlib.suppress(IsthmusError):
            self.isthmus("network", "delete", f"{self._name}-vrrp", "--wait")
        for site, path in reversed(self._made):
            self._neutron(site).delete(path)

    def _wait(self, condition: Callable[[], str | None], what: str) -> None:
        waiting.until(condition, deadline=_READY, what=what, where="lab", interval=_LOOK)

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
