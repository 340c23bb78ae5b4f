"""The lab with recovery as the tests see it: the commands of the person who asks and of the one who approves."""

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from running_lab import Lab

from isthmus.engine import calling
from isthmus.lab import clients, inside, vnf
from isthmus.lab.components import base, host_agent
from isthmus.lab.environment import SiteSpec
from isthmus.recovery.freezing.hosts import HostAgents
from isthmus.recovery.freezing.ledger import Whereabouts

# Six volumes are hashed and copied beside three emulated guests, on two cores.
OPERATION_SECONDS = 900.0


@dataclass(kw_only=True)
class RecoveryLab(Lab):
    """The running lab with the environment `recovery`."""

    def isthmus(
        self, *words: str, codes: Sequence[int] = (0,), seconds: float = 60.0, **options: Any
    ) -> Any:
        """What a command prints as JSON; it must leave with one of `codes`."""
        done = self.run([*words, "-f", "json"], seconds=seconds, **options)
        assert done.returncode in codes, f"{' '.join(words)}: {done.stdout}\n{done.stderr}"
        return json.loads(done.stdout)

    def operation(self, identity: str) -> Any:
        return self.isthmus("operation", "show", identity)

    def approve(self, asked: Mapping[str, Any], *, ask: str) -> Any:
        """Approve as the other person, who was told the code, and wait until nobody but a person can go on."""
        words = ("operation", "approve", asked["id"], "--ask", ask, "--code-file", "-", "--wait")
        return self.isthmus(
            *words, seconds=OPERATION_SECONDS, text=str(asked["code"]), approver=True
        )

    def shell(self, site: SiteSpec, server_id: str, command: str) -> str:
        """What a shell command prints in the guest of a server, run by the agent of its host as the site's engine asks."""
        compute = vnf.Site(self.home, site).admin.compute
        server = compute.get(f"/servers/{server_id}").json()["server"]
        urls = {
            each.name: f"http://{host_agent.endpoint(each.address)}" for each in site.host_specs
        }
        secret = next(iter(self.units.values())).context.template.secret(host_agent.SIGNING)
        agents = HostAgents(calling.host_agents(urls, secret.encode(), site.name))
        where, words = Whereabouts.of(server), ("/bin/sh", "-c", command)
        code, output = inside.within(
            site.namespace, lambda: agents.execute(where.host, where.domain, words, 60.0)
        )
        assert code == 0, output
        return output.strip()

    def run(
        self, words: Sequence[str], *, seconds: float, text: str = "", approver: bool = False
    ) -> "subprocess.CompletedProcess[str]":
        """A command of the person who asks, or of the one who approves; `text` goes to its input."""
        told = clients.exports(self.home, self.environment, approver=approver)
        return subprocess.run(
            [base.script("isthmus"), *words],
            env={**self.environ(), **told},
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
            input=text,
            cwd="/",
        )
