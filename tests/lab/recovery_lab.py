"""The lab with recovery as the tests see it: the commands of the person who asks and of the one who approves."""

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import requests
from running_lab import Lab

from isthmus.lab import clients, inside, vnf
from isthmus.lab.components import base, host_agent
from isthmus.lab.environment import SiteSpec
from isthmus.sites import signing

# Six volumes are hashed and copied beside three emulated guests, on two cores.
OPERATION_SECONDS = 900.0


@dataclass(kw_only=True)
class RecoveryLab(Lab):
    """The running lab with the environment `recovery`."""

    def isthmus(
        self, *words: str, codes: Sequence[int] = (0,), seconds: float = 60.0, **options: Any
    ) -> Any:
        """What a command prints as JSON; it must leave with one of `codes`."""
        done = self._run([*words, "-f", "json"], seconds=seconds, **options)
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
        server = vnf.Site(self.home, site).admin.compute.get_server(server_id)
        host = next(each for each in site.host_specs if each.name == server.compute_host)
        path = f"/guests/{server.instance_name}/exec"
        body = json.dumps({"command": ["/bin/sh", "-c", command], "timeout_s": 60}).encode()
        template = next(iter(self.units.values())).context.template
        signer = signing.Signer(
            template.secret(host_agent.SIGNING).encode(), signing.engine_name(site.name)
        )
        headers = signer.headers("POST", path, body, to=signing.host_name(site.name, host.name))
        headers["Content-Type"] = "application/json"
        url = f"http://{host_agent.endpoint(host.address)}{path}"
        answer = inside.within(
            site.namespace, lambda: requests.post(url, data=body, headers=headers, timeout=90)
        )
        assert answer.status_code == 200, answer.text
        assert answer.json()["exit"] == 0, answer.json()
        return str(answer.json()["output"]).strip()

    def _run(
        self, words: Sequence[str], *, seconds: float, text: str = "", approver: bool = False
    ) -> "subprocess.CompletedProcess[str]":
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
