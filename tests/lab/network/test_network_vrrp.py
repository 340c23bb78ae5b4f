"""VRRP inside a network function that runs in two clouds: Isthmus prepares it, checks it, and it fails over."""

from __future__ import annotations

import subprocess
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
from network_lab import NetworkLab
from running_lab import Lab

from isthmus.identity.config import ENGINE_PORT
from isthmus.lab import guests, waiting
from isthmus.lab.guests import Guest
from isthmus.lab.pinging import Pinging

pytestmark = pytest.mark.lab

VIP = "10.64.0.5"
MEMBERS = {"paris": ("10.64.0.11", 150), "lyon": ("10.64.0.140", 100)}

# Remote ports in both sites, security groups and pairs: seconds, and a multiple on busy cores.
PREPARED_DEADLINE = 60.0
# Three and a half advertisements of 0.1 s, then announcements over both sites' switches.
FAILOVER_DEADLINE = 10.0

_KEEPALIVED = """
global_defs {{
  vrrp_version 3
  vrrp_garp_master_repeat 5
  vrrp_garp_master_refresh 5
}}
vrrp_instance function {{
  state BACKUP
  interface eth0
  virtual_router_id 51
  priority {priority}
  advert_int 0.1
  virtual_ipaddress {{ {vip}/24 }}
}}
"""


@dataclass
class Function:
    """A network function with a member in each site, and a client of it beside."""

    lab: NetworkLab
    name: str
    folder: Path
    members: dict[str, Guest] = field(default_factory=dict)
    client: Guest | None = None
    keepers: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Ask the engine of Paris as a person's tool does."""
        url = f"http://{self.lab.paris.management}:{ENGINE_PORT}/v1{path}"
        headers = {"X-Auth-Token": self.lab.admin}
        answer = requests.request(method, url, json=body, headers=headers, timeout=30)
        assert answer.status_code < 300, answer.text
        return answer.json()

    def found(self) -> dict[str, Any]:
        shown: dict[str, Any] = self.call("GET", f"/addresses/{self.name}")["address"]
        return shown

    def run(self, site: str) -> None:
        """Start VRRP in a member."""
        guest = self.members[site]
        path = self.folder / f"{site}.conf"
        path.write_text(_KEEPALIVED.format(priority=MEMBERS[site][1], vip=VIP))
        words = ["keepalived", "-n", "-l", "-P", "-f", str(path)]
        files = [f"-p{self.folder}/{site}.pid", f"-r{self.folder}/{site}.vrrp"]
        self.keepers[site] = subprocess.Popen(
            ["ip", "netns", "exec", guest.namespace, *words, *files],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def end(self) -> None:
        for process in self.keepers.values():
            process.terminate()
            process.wait(10)
        self.keepers.clear()

    def master(self, site: str) -> None:
        """Wait until the member of `site` alone has the address."""

        def other() -> str | None:
            have = [s for s, g in self.members.items() if _has(g)]
            return None if have == [site] else f"the address is at {have}"

        waiting.until(
            other, deadline=FAILOVER_DEADLINE, what="wrong master", where=site, interval=0.05
        )


def _has(guest: Guest) -> bool:
    return VIP in guests.execute(guest, ["ip", "-o", "address", "show", "to", VIP]).stdout


@pytest.fixture(scope="module")
def function(
    network_up: NetworkLab, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Function]:
    lab = network_up
    lab.mend()
    name = f"vrrp-{uuid.uuid4().hex[:6]}"
    made = Function(lab=lab, name=name, folder=tmp_path_factory.mktemp("vrrp"))
    body = {"name": name, "cidr": "10.64.0.0/24", "sites": list(MEMBERS)}
    made.call("POST", "/networks", body)
    made.call("POST", f"/networks/{name}/sync", {"timeout": 25.0})
    for site, (ip, _) in MEMBERS.items():
        made.members[site] = lab.guest(site, "compute2", name, ip=ip)
    made.client = lab.guest("paris", "compute1", name)
    targets = {site: [ip] for site, (ip, _) in MEMBERS.items()}
    address = {"address": VIP, "kind": "vrrp", "network": name, "name": name, "targets": targets}
    made.call("POST", "/addresses", address)
    try:
        yield made
    finally:
        made.end()
        Lab.mend(lab)
        for kind in ("addresses", "networks"):
            made.call("DELETE", f"/{kind}/{name}")
            if kind == "addresses":
                waiting.until(
                    lambda: "listed" if made.call("GET", "/addresses")["addresses"] else None,
                    deadline=PREPARED_DEADLINE,
                    what="the address is still there",
                    where="lab",
                )
            lab.tidy()


def test_members_get_pair_and_group_and_the_address_is_reserved_in_every_site(
    function: Function,
) -> None:
    def unprepared() -> str | None:
        for site, member in function.members.items():
            neutron = function.lab.neutron(site)
            port = neutron.get(f"/ports/{member.port}")["port"]
            if VIP not in [pair["ip_address"] for pair in port["allowed_address_pairs"]]:
                return f"{site}: the member may not send from {VIP}"
            kept = neutron.get("/ports", device_owner="isthmus:reservation")["ports"]
            fixed = [each["fixed_ips"][0]["ip_address"] for each in kept]
            if VIP not in fixed:
                return f"{site}: reserved are {fixed}"
        found = function.found()
        return None if found["outcome"] == "OK" else str(found["findings"])

    waiting.until(unprepared, deadline=PREPARED_DEADLINE, what="VRRP is not prepared", where="lab")


def test_no_host_has_the_address_in_its_forwarding(function: Function) -> None:
    for site, other in (("paris", "lyon"), ("lyon", "paris")):
        words = ["ovs-ofctl", "dump-flows", "br-tun"]
        done = function.lab.command("lab", "exec", f"{site}/compute2", "--", *words)
        assert f"arp_tpa={MEMBERS[other][0]} " in done.stdout, done.stderr
        assert f"arp_tpa={VIP} " not in done.stdout


def test_the_function_fails_over_and_its_client_notices_a_short_gap(function: Function) -> None:
    for site in MEMBERS:
        function.run(site)
    function.master("paris")
    assert function.client is not None
    function.lab.reaches(function.client, VIP)
    with Pinging(function.client.namespace, VIP, period=0.05) as pinging:
        time.sleep(1.0)  # answers before
        guest = function.members["paris"]
        subprocess.run(["ip", "-n", guest.namespace, "link", "set", "eth0", "down"], check=True)
        failed_at = time.time()
        waiting.until(
            lambda: None if _has(function.members["lyon"]) else "lyon is no master",
            deadline=FAILOVER_DEADLINE,
            what="nobody takes over",
            where="lyon",
            interval=0.05,
        )
        time.sleep(2.0)  # answers after
    subprocess.run(["ip", "-n", guest.namespace, "link", "set", "eth0", "up"], check=True)
    function.end()
    assert max(pinging.answers.answered.values()) > failed_at + 1.0
    # 0.36 s of VRRP and the announcement; the cores may run other tests as well.
    assert pinging.answers.longest_gap() < 2.0


def test_the_address_on_a_port_is_a_finding_that_names_the_port_and_the_remedy(
    function: Function,
) -> None:
    neutron = function.lab.neutron("lyon")
    found = neutron.get(
        "/ports", device_owner="isthmus:reservation", device_id=function.found()["id"]
    )
    reservation = found["ports"][0]
    # Somebody takes the reservation away, and gives the address to a machine.
    neutron.delete(f"/ports/{reservation['id']}")
    member = function.members["lyon"]
    fixed = [{"ip_address": ip, "subnet_id": reservation["fixed_ips"][0]["subnet_id"]}
             for ip in (member.ip, VIP)]  # fmt: skip
    body = {"port": {"fixed_ips": fixed, "allowed_address_pairs": []}}
    neutron.put(f"/ports/{member.port}", body)

    def untold() -> str | None:
        told = [each for each in function.found()["findings"] if each["code"] == "address-taken"]
        if (
            told
            and member.port in told[0]["summary"]
            and "openstack port unset" in told[0]["remedy"]
        ):
            return None
        return f"findings: {told}"

    waiting.until(untold, deadline=PREPARED_DEADLINE, what="the trap is not told", where="lyon")
    neutron.put(f"/ports/{member.port}", {"port": {"fixed_ips": fixed[:1]}})
    waiting.until(
        lambda: None if function.found()["outcome"] == "OK" else str(function.found()["findings"]),
        deadline=PREPARED_DEADLINE,
        what="it is not put right again",
        where="lyon",
    )
