"""An agent of a compute host in this process, behind real HTTP, for the tests of its orders."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import requests
import uvicorn

from conditions import wait_for
from isthmus.agent.host import app, config, core, main
from isthmus.agent.host.freezing import entries, ledger
from isthmus.sites import signing

SECRET = b"0123456789abcdef0123456789abcdef"
# Starting an interpreter on a busy machine.
STARTED_SECONDS = 20.0
ONE, TWO = "instance-00000001", "instance-00000002"


class Agent:
    """An agent behind real HTTP, in a thread of this process."""

    def __init__(self, folder: Path) -> None:
        secret = folder / "secret"
        secret.write_bytes(SECRET)
        secret.chmod(0o600)
        settings = config.Settings(
            kind="host", site="paris", host="compute1", listen=("127.0.0.1:0",), secret_file=secret,
            ovsdb=f"unix:{folder}/db.sock", ovs_run=folder, state=folder / "state",
            freezing=config.Freezing(
                libvirt=None, sockets=(f"{folder}/{{domain}}.sock",), watchdog_environment={"MARK": "own"}
            ),
        )  # fmt: skip
        self.agent = core.HostAgent(settings)
        self.book = ledger.Ledger(settings.state / "freezes")
        listener = main.listen("127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self._server = uvicorn.Server(uvicorn.Config(app.build(self.agent), log_config=None))
        self._thread = threading.Thread(target=self._server.run, args=([listener],), daemon=True)
        self._thread.start()
        wait_for("it serves", lambda: self._server.started, STARTED_SECONDS)

    def call(self, method: str, path: str, body: Any = None) -> requests.Response:
        content = b"" if body is None else json.dumps(body).encode()
        signer = signing.Signer(SECRET, "engine/paris")
        headers = signer.headers(method, path, content, to="host/paris/compute1")
        headers["Content-Type"] = "application/json"
        url = self.url + path
        return requests.request(method, url, data=content, headers=headers, timeout=30)

    def arm(
        self, round_id: str, *domains: str, deadline_s: float = 20.0, epoch: int = 1
    ) -> requests.Response:
        named = [{"domain": each, "server_id": f"server-{each}"} for each in domains]
        body = {"round": round_id, "epoch": epoch, "entries": named, "deadline_s": deadline_s}
        return self.call("POST", "/freezes", body)

    def results(self, path: str, body: Any = None) -> list[dict[str, Any]]:
        answer = self.call("POST", path, body)
        assert answer.status_code == 200, answer.text
        return list(answer.json()["results"])

    def told(self) -> dict[str, Any]:
        return dict(self.call("GET", "/freezes").json())

    def watchdogs(self) -> set[int]:
        """Processes that guard under this agent's directory, also those of an earlier life."""
        found = set()
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = path.read_bytes().split(b"\0")
            except OSError:
                continue
            if (
                str(self.book.directory).encode() in words
                and entries.process(int(path.parent.name)).start > 0
            ):
                found.add(int(path.parent.name))
        return found

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(STARTED_SECONDS)
        self.agent._tidier.stop()
        self.agent.freezing.stop()
