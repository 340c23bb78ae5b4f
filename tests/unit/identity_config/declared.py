"""A declared star of three sites, its files, and the commands run in this process."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import pytest

from isthmus.cli import identity_config, main
from isthmus.identity import deployment, rendering
from isthmus.sites import inventory

HERE = Path(__file__).parent
SITES = HERE / "sites.yaml"
DEPLOYMENT = HERE / "deployment.yaml"
SECRETS = {
    "keystone-database": "s3cret/db:one",
    "state-transfer": "s3cret-two",
    "glance": "s3cret-three",
    "nova": "s3cret-four",
}


def star(text: str | None = None, sites: str | None = None) -> deployment.Deployment:
    """The declaration, or another text of it."""
    known = inventory.parse(sites or SITES.read_text(), source="sites.yaml")
    return deployment.parse(
        text or DEPLOYMENT.read_text(), source="deployment.yaml", inventory=known
    )


@functools.cache
def files() -> tuple[rendering.File, ...]:
    return rendering.star(star(), SECRETS)


def file(path: str) -> rendering.File:
    return next(each for each in files() if each.path == path)


@dataclasses.dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str


class Commands:
    """`isthmus identity config ...` with the declared star."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._capsys = capsys
        self.secrets = folder / "secrets.yaml"
        self.secrets.write_text("".join(f"{name}: '{value}'\n" for name, value in SECRETS.items()))
        self.secrets.chmod(0o600)
        self.out = folder / "out"

    def render(self, *words: str, topology: str = "star") -> Ended:
        return self.run(
            "render", topology, "--secrets", str(self.secrets), "--out", str(self.out), *words
        )

    def check(self, *words: str, secrets: bool = True) -> Ended:
        held = ["--secrets", str(self.secrets)] if secrets else []
        where = [] if "--file" in words else ["--deployed", str(self.out)]
        return self.run("check", "star", *held, *where, *words)

    def run(self, verb: str, topology: str, *words: str) -> Ended:
        application = main.Application()
        for name in ("render", "check"):
            command = getattr(identity_config, name.capitalize())
            application.command_manager.add_command(f"identity config {name}", command)
        base = ["identity", "config", verb, "--topology", topology, "--deployment", str(DEPLOYMENT)]
        self._capsys.readouterr()
        code = main.main(["--sites", str(SITES), *base, *words], application)
        captured = self._capsys.readouterr()
        return Ended(code, captured.out, captured.err)
