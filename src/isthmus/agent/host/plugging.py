"""Probes: network namespaces plugged into the integration bridge as Neutron ports.

It exists so that `isthmus network verify` can send packets from where guests are, through the same
bridges, flows and security groups. Neutron's agent binds a probe as it binds a guest, by the
`iface-id` of the interface; the port itself is made by the engine.

Invariant: a probe is written down before anything of it is made, and crossed out after all of it is
gone. So no probe outlives its time by more than a restart of this agent, whatever it died of: at
the start all probes that are written down, or that the switch has, are removed.
"""

import logging
import re
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import pydantic

from isthmus import errors
from isthmus.agent.host import running, switch

MARK = "isthmus-probe"
"""Key in the external ids of a probe's interface; its value is the probe's id."""

LONGEST_SECONDS = 3600.0

log = logging.getLogger(__name__)

_ID = re.compile(r"[0-9a-f]{8}")
_INTERFACE = re.compile(r"probe([0-9a-f]{8})")
_ABSENT = ("Cannot find device", "No such file or directory")
_UUID = r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
_MAC = r"^[0-9a-f]{2}(:[0-9a-f]{2}){5}$"


class Spec(pydantic.BaseModel):
    """What to plug: a port of Neutron. `seconds`: how long it stays if nobody removes it."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    port_id: Annotated[str, pydantic.Field(pattern=_UUID)]
    mac: Annotated[str, pydantic.Field(pattern=_MAC)]
    ip: pydantic.IPvAnyAddress
    prefix: Annotated[int, pydantic.Field(ge=1, le=32)]
    mtu: Annotated[int, pydantic.Field(ge=68, le=65535)]
    seconds: Annotated[float, pydantic.Field(gt=0, le=LONGEST_SECONDS)] | None = None

    @property
    def id(self) -> str:
        """The probe's id. It follows from the port, so that asking twice makes one probe."""
        return self.port_id[:8]


class Record(pydantic.BaseModel):
    """What is written down of a probe; `expires_at` in seconds of the Unix epoch."""

    spec: Spec
    expires_at: float


def namespace(probe_id: str) -> str:
    """The name of a probe's network namespace."""
    return f"isthmus-probe-{probe_id}"


def interface(probe_id: str) -> str:
    """The name of a probe's interface at the bridge."""
    return f"probe{probe_id}"


class Probes:
    """The probes of one host. For several threads."""

    def __init__(self, switch: switch.Switch, directory: Path, seconds: float) -> None:
        self._switch, self._directory, self._seconds = switch, directory, seconds
        self._lock = threading.RLock()
        self._mine: set[str] = set()
        self._swept = False
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def plug(self, spec: Spec) -> Record:
        """Make a probe, or lengthen the life of the one that is there.

        Raises `errors.HostError`; nothing of the probe is left then.
        """
        with self._lock:
            known = self._record(spec.id)
            lasting = spec.seconds or self._seconds
            record = Record(spec=spec, expires_at=time.time() + lasting)
            if known and known.spec.model_copy(update={"seconds": spec.seconds}) == spec:
                self._write(record)
                return record
            self.remove(spec.id)
            self._write(record)
            self._mine.add(spec.id)
            try:
                self._make(spec)
            except BaseException:
                self.remove(spec.id)
                raise
            log.info("probe %s plugged for %.0f s: %s %s", spec.id, lasting, spec.mac, spec.ip)
            return record

    def find(self, probe_id: str) -> Record:
        """What is written down of a probe; raises `errors.UsageError` if there is none."""
        record = self._record(probe_id) if _ID.fullmatch(probe_id) else None
        if record is None:
            raise errors.UsageError(
                f"there is no probe {probe_id[:40]!r}",
                cause="it was removed, has expired, or the agent of this host was restarted",
            )
        return record

    def all(self) -> dict[str, Record]:
        """The probes that are written down, by id."""
        found = {probe_id: self._record(probe_id) for probe_id in self._written()}
        return {name: record for name, record in found.items() if record is not None}

    def remove(self, probe_id: str) -> None:
        """Take a probe away, or what is left of one; nothing happens if nothing is."""
        with self._lock:
            # From here on it counts as left over, so that a failure is made good by `tidy`.
            self._mine.discard(probe_id)
            name = interface(probe_id)
            self._switch.vsctl("--if-exists", "del-port", self._switch.bridges.integration, name)
            _delete("link", name)
            _delete("netns", namespace(probe_id))
            self._path(probe_id).unlink(missing_ok=True)

    def tidy(self, now: float) -> None:
        """Take away what has expired, and what another life of this agent left."""
        with self._lock:
            for probe_id, record in self.all().items():
                if record.expires_at <= now:
                    log.info("probe %s has expired", probe_id)
                    self.remove(probe_id)
            self._sweep(self._written() - self._mine)
            if not self._swept:
                self._sweep(self._plugged() - self._mine)
                self._swept = True

    def clear(self) -> None:
        """Take all probes away: the agent ends."""
        with self._lock:
            self._sweep(self._written())

    def _sweep(self, probe_ids: Iterable[str]) -> None:
        for probe_id in sorted(probe_ids):
            log.info("removing the probe %s", probe_id)
            self.remove(probe_id)

    def _written(self) -> set[str]:
        return {path.stem for path in self._directory.glob("*.json") if _ID.fullmatch(path.stem)}

    def _plugged(self) -> set[str]:
        """Probes that the switch has, by the names of their interfaces."""
        bridge = self._switch.bridges.integration
        names = self._switch.vsctl("list-ports", bridge).split()
        return {found.group(1) for name in names if (found := _INTERFACE.fullmatch(name))}

    def _make(self, spec: Spec) -> None:
        inside, outside = namespace(spec.id), interface(spec.id)
        running.run(["ip", "netns", "add", inside])
        peer = ["peer", "name", "eth0", "netns", inside, "address", spec.mac, "mtu", str(spec.mtu)]
        running.run(["ip", "link", "add", outside, "mtu", str(spec.mtu), "type", "veth", *peer])
        self._address(spec, inside)
        # The host's own kernel has nothing to say on a guest's wire, not even by IPv6.
        running.run(["ip", "link", "set", outside, "addrgenmode", "none", "up"])
        ids = {"iface-id": spec.port_id, "attached-mac": spec.mac, "iface-status": "active"}
        words = [f'external_ids:{key}="{value}"' for key, value in {**ids, MARK: spec.id}.items()]
        bridge = self._switch.bridges.integration
        self._switch.transact(["add-port", bridge, outside], ["set", "Interface", outside, *words])

    def _address(self, spec: Spec, inside: str) -> None:
        for words in (
            ["link", "set", "lo", "up"],
            ["link", "set", "eth0", "up"],
            ["address", "add", f"{spec.ip}/{spec.prefix}", "dev", "eth0"],
        ):
            running.run(["ip", *words], namespace=inside)

    def _path(self, probe_id: str) -> Path:
        return self._directory / f"{probe_id}.json"

    def _write(self, record: Record) -> None:
        path = self._path(record.spec.id)
        draft = path.with_suffix(".draft")
        draft.write_text(record.model_dump_json(), encoding="utf-8")
        draft.rename(path)

    def _record(self, probe_id: str) -> Record | None:
        try:
            return Record.model_validate_json(self._path(probe_id).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None


def _delete(kind: str, name: str) -> None:
    """Delete a link or a namespace; that there is none is as good."""
    try:
        running.run(["ip", kind, "delete", name])
    except running.CommandError as error:
        if not any(phrase in (error.cause or "") for phrase in _ABSENT):
            raise
