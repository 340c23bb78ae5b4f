"""A declared star of three sites, its files, and the commands run in this process."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Protocol

import pytest

from isthmus.cli import identity_config, main
from isthmus.identity import deployment, places, rendering
from isthmus.sites import inventory
from topologies_declared import SECRETS as SECRETS

HERE = Path(__file__).parent
SITES = HERE / "sites.yaml"
DEPLOYMENT = HERE / "deployment.yaml"


def star(text: str | None = None, sites: str | None = None) -> places.Deployment:
    """The declaration, or another text of it."""
    known = inventory.parse(sites or SITES.read_text(), source="sites.yaml")
    return deployment.parse(
        text or DEPLOYMENT.read_text(), source="deployment.yaml", inventory=known
    )


@functools.cache
def files() -> tuple[rendering.File, ...]:
    return rendering.files(star(), SECRETS)


def file(path: str) -> rendering.File:
    return next(each for each in files() if each.path == path)


@dataclasses.dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str


class Declared(Protocol):
    """A declaration as texts."""

    @property
    def sites_text(self) -> str: ...
    @property
    def deployment_text(self) -> str: ...


class Commands:
    """`isthmus identity config ...` with the declared star, or with another declaration."""

    def __init__(
        self, folder: Path, capsys: pytest.CaptureFixture[str], declared: Declared | None = None
    ) -> None:
        self._sites, self._deployment = SITES, DEPLOYMENT
        if declared:
            self._sites, self._deployment = folder / "sites.yaml", folder / "deployment.yaml"
            self._sites.write_text(declared.sites_text)
            self._deployment.write_text(declared.deployment_text)
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

    def check(self, *words: str, secrets: bool = True, topology: str = "star") -> Ended:
        held = ["--secrets", str(self.secrets)] if secrets else []
        where = [] if "--file" in words else ["--deployed", str(self.out)]
        return self.run("check", topology, *held, *where, *words)

    def run(self, verb: str, topology: str, *words: str) -> Ended:
        application = main.Application()
        for name in ("render", "check"):
            command = getattr(identity_config, name.capitalize())
            application.command_manager.add_command(f"identity config {name}", command)
        base = ["identity", "config", verb, "--topology", topology]
        base += ["--deployment", str(self._deployment)]
        self._capsys.readouterr()
        code = main.main(["--sites", str(self._sites), *base, *words], application)
        captured = self._capsys.readouterr()
        return Ended(code, captured.out, captured.err)
