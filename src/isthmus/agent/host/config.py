"""The configuration file of a compute host's agent: read strictly, refused in whole sentences.

The file and the secret that it names must not be readable by others.
"""

import stat
from ipaddress import IPv4Address
from pathlib import Path
from typing import Literal, NoReturn

import pydantic
import yaml

from isthmus import errors

_STRICT = pydantic.ConfigDict(extra="forbid", frozen=True)


class Bridges(pydantic.BaseModel):
    """The names of the host's bridges, as Neutron's agent on this host has them."""

    model_config = _STRICT

    integration: str = "br-int"
    tunnel: str = "br-tun"
    external: str = "br-ex"


class Freezing(pydantic.BaseModel):
    """How the guests of this host are reached to thaw them.

    `libvirt`: the URI, or null where there is none. `sockets`: where QEMU has the socket of the guest
    agent of ``{domain}``, as patterns; the defaults are Nova's place and libvirt's own. No freeze may
    last longer than `longest_seconds`. `watchdog_environment`: variables that watchdogs have besides
    the agent's own; who ends the agent's processes by a mark in their environment spares these so.
    """

    model_config = _STRICT

    libvirt: str | None = "qemu:///system"
    sockets: tuple[str, ...] = (
        "/var/lib/libvirt/qemu/org.qemu.guest_agent.0.{domain}.sock",
        "/var/lib/libvirt/qemu/channel/target/domain-*-{domain}/org.qemu.guest_agent.0",
    )
    longest_seconds: float = pydantic.Field(default=60.0, ge=1.0)
    watchdog_environment: dict[str, str] = {}


class Settings(pydantic.BaseModel):
    """All of the file.

    `ovsdb`: the database as `ovs-vsctl --db` takes it. `ovs_run`: the directory of the bridges'
    management sockets and of the daemon's control socket. `vtep`: the host's end of the tunnels; by
    default what the tunnels say, or the first address that the agent listens on. `probe_seconds`: a
    probe that nobody removed goes after this time.
    """

    model_config = _STRICT

    kind: Literal["host"]
    site: str = pydantic.Field(min_length=1)
    host: str = pydantic.Field(min_length=1)
    listen: tuple[str, ...] = pydantic.Field(min_length=1)
    secret_file: Path
    ovsdb: str = pydantic.Field(min_length=1)
    ovs_run: Path
    bridges: Bridges = Bridges()
    state: Path
    vtep: IPv4Address | None = None
    probe_seconds: float = pydantic.Field(default=300.0, gt=0)
    freezing: Freezing = Freezing()

    @pydantic.field_validator("listen")
    @classmethod
    def _addresses(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        for text in texts:
            host, _, port = text.rpartition(":")
            if not host or not port.isdigit():
                raise ValueError(f"{text!r} is not ADDRESS:PORT")
        return texts

    @property
    def addresses(self) -> tuple[tuple[str, int], ...]:
        """Where to listen."""
        parts = [text.rpartition(":") for text in self.listen]
        return tuple((host.strip("[]"), int(port)) for host, _, port in parts)


def load(path: Path) -> Settings:
    """Read and check the file; raises `errors.ConfigurationError` that names each wrong field."""
    try:
        return Settings.model_validate(yaml.safe_load(private_text(path)))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        _refuse(path, f"it is not YAML (line {mark.line + 1})" if mark else "it is not YAML")
    except pydantic.ValidationError as error:
        _refuse(path, "\n".join(_wrong(each["loc"], each["msg"]) for each in error.errors()))


def private_text(path: Path) -> str:
    """The text of a file that only its owner can read; raises `errors.ConfigurationError`."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        _refuse(path, str(getattr(error, "strerror", None) or "it is not UTF-8 text"))
    if mode & 0o077:
        _refuse(path, f"its mode is {mode:04o}: others can read or change it", f"chmod 0600 {path}")
    return text


def _wrong(place: tuple[int | str, ...], message: str) -> str:
    """One wrong field. The value is left out, since a file given by mistake may hold a secret."""
    return f"{'.'.join(str(part) for part in place) or 'the document'}: {message}"


def _refuse(path: Path, cause: str, remedy: str | None = None) -> NoReturn:
    raise errors.ConfigurationError(
        "the agent of this compute host cannot use its configuration",
        where=str(path),
        cause=cause,
        unchanged="nothing was started or changed",
        next_command=remedy or f"correct {path} and start the agent again",
    ) from None
