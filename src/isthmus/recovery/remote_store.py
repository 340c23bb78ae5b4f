"""The remote store: documents in a container of an object store (Swift) in the backup site.

It exists so that what must survive a site lies outside of it, and so that a store that is full, slow,
gone or forbidden is told apart, with one sentence each. It knows keys and bytes; what they mean is
in `manifest` and `epochs`. Cinder's backups lie in a container of their own, of which only sizes are
asked here.

What Swift promises (and this module relies on): an object that was written is read back by its name
at once; listings may lag behind; `If-None-Match: *` refuses to replace an object, and is the only
condition that a write can have.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import queue
import threading
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any

import swiftclient

from isthmus import errors
from isthmus.recovery.checkpoints import PREFIX, Place
from isthmus.recovery.manifest import LARGEST, Signed
from isthmus.sites import failures

CONTAINER = "isthmus-recovery"
TIMEOUT_S = 20.0
"""For each wait for the network; a whole document may take `PATIENCE` times that."""

PATIENCE = 3
RETRIES = 2
_PIECE = 1 << 16

_FULL = frozenset({413, 507})
_FORBIDDEN = frozenset({401, 403})
_BUSY = frozenset({429, 498})


class StoreError(errors.UnavailableError):
    """The remote store did not do what it was asked for. What lies in it was not changed, as far as
    is known; every call can be repeated."""


class FullError(StoreError):
    """The store, or the quota of the account or the container, has no room."""


class SlowError(StoreError):
    """The store did not answer in time; what was asked for may have been done."""


class ForbiddenError(StoreError):
    """The store does not let us."""


class ConflictError(StoreError):
    """The object is there already and was to be new."""


class DamagedError(StoreError):
    """What was read is not what the store says it holds."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Listed:
    """An object in a listing, which may be late."""

    key: str
    size: int


class Store:
    """One container; for several threads. All methods raise StoreError.

    `connect` makes a swiftclient Connection, which serves one call at a time and is used again.
    `where` names the store in messages. Invariant: no call takes longer than `timeout_s` times
    `PATIENCE`: a store that trickles keeps within the timeout of each wait and would never end, so
    that such a call is left behind in its thread.
    """

    def __init__(
        self,
        connect: Callable[[], Any],
        *,
        where: str,
        container: str = CONTAINER,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._connect, self._container = connect, container
        self._timeout = timeout_s
        self.where = f"{where}, container {container}"
        self._idle: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def read(self, key: str) -> bytes | None:
        """The whole object, checked against the digest that the store keeps; None if there is none."""
        what = f"read {key}"
        try:
            return self._do(what, lambda swift: self._read(swift, key, what))  # type: ignore[no-any-return]
        except _Missing:
            return None

    def _read(self, swift: Any, key: str, what: str) -> bytes:
        headers, body = swift.get_object(self._container, key, resp_chunk_size=_PIECE)
        content = bytearray()
        for piece in body:
            content += piece
            if len(content) > LARGEST:
                raise DamagedError(f"cannot {what}", where=self.where, cause="it is too long")
        self._check(what, headers, bytes(content))
        return bytes(content)

    def _check(self, what: str, headers: Any, content: bytes) -> None:
        size = int(headers.get("content-length", len(content)))
        if size != len(content):
            cause = f"{len(content)} bytes of {size} arrived"
            raise DamagedError(f"cannot {what}", where=self.where, cause=cause)
        told = headers.get("etag", "").strip('"')
        if told and told != hashlib.md5(content, usedforsecurity=False).hexdigest():
            cause = "what arrived has not the digest that the store keeps"
            raise DamagedError(f"cannot {what}", where=self.where, cause=cause)

    def write(self, key: str, content: bytes) -> None:
        """Write the object, whether it is there or not."""
        self._do(f"write {key}", lambda swift: self._put(swift, key, content, {}))

    def create(self, key: str, content: bytes) -> None:
        """Write the object unless it is there. The same content again is no conflict: the first try
        may have been done although its answer was lost. Raises ConflictError."""
        condition = {"If-None-Match": "*"}
        try:
            self._do(f"write {key}", lambda swift: self._put(swift, key, content, condition))
        except ConflictError:
            if self.read(key) != content:
                raise

    def _put(self, swift: Any, key: str, content: bytes, headers: dict[str, str]) -> None:
        try:
            self._put_once(swift, key, content, headers)
        except swiftclient.ClientException as error:
            if error.http_status != HTTPStatus.NOT_FOUND:
                raise
            # The first document of all: its container is not there yet.
            swift.put_container(self._container)
            self._put_once(swift, key, content, headers)

    def _put_once(self, swift: Any, key: str, content: bytes, headers: dict[str, str]) -> None:
        # With its digest the store refuses what was changed on the way (422). swiftclient tries a
        # file again, but hides the cause behind another error when it is given bytes.
        digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
        swift.put_object(
            self._container,
            key,
            io.BytesIO(content),
            content_length=len(content),
            etag=digest,
            content_type="application/json",
            headers=headers,
        )

    def delete(self, key: str) -> None:
        """Delete the object; what is gone is gone."""
        try:
            self._do(f"delete {key}", lambda swift: swift.delete_object(self._container, key))
        except _Missing:
            return

    def listed(self, prefix: str = "") -> list[Listed]:
        """All objects whose keys begin so, by key. It may miss what was written just now."""
        return list(self._listing(self._container, prefix))

    def stored_bytes(self, container: str, prefix: str) -> int:
        """Bytes of all objects below a prefix of any container of the account (Cinder's backups); 0
        without such a container, since Cinder may keep its backups elsewhere."""
        try:
            return sum(each.size for each in self._listing(container, prefix))
        except _Missing:
            return 0

    def _listing(self, container: str, prefix: str) -> Iterator[Listed]:
        what = f"list {container}/{prefix}"
        _, found = self._do(
            what, lambda swift: swift.get_container(container, prefix=prefix, full_listing=True)
        )
        return (Listed(key=each["name"], size=int(each["bytes"])) for each in found)

    def put_manifest(self, place: Place, signed: Signed) -> None:
        """Write a checkpoint's manifest. The signature comes last: without it there is no manifest,
        so that a crash in between leaves a checkpoint that nobody takes for one."""
        self.create(place.manifest, signed.manifest)
        self.create(place.signature, signed.signature)

    def manifest(self, place: Place) -> tuple[bytes | None, bytes | None]:
        """Manifest and signature, as they lie there."""
        return self.read(place.manifest), self.read(place.signature)

    def places(self) -> list[Place]:
        """Where manifests lie, of all groups, by group and sequence number."""
        found = (Place.parse(each.key) for each in self.listed(PREFIX))
        known = (each for each in found if each is not None)
        return sorted(known, key=lambda each: (each.group_id, each.seq, each.checkpoint_id))

    def delete_checkpoint(self, place: Place) -> None:
        """Delete a checkpoint's documents, the signature first."""
        for key in (place.signature, place.manifest):
            self.delete(key)

    def _do(self, what: str, do: Callable[[Any], Any]) -> Any:
        """What `do` returns, in time. Exceptions of swiftclient, requests and keystoneauth end here."""
        answers: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()
        threading.Thread(
            target=self._call, args=(do, answers), daemon=True, name=f"store: {what}"
        ).start()
        try:
            answer, error = answers.get(timeout=self._timeout * PATIENCE)
        except queue.Empty:
            raise self._slow(what) from None
        if error is not None:
            raise self._worded(what, error) from error
        return answer

    def _call(
        self,
        do: Callable[[Any], Any],
        answers: queue.SimpleQueue[tuple[Any, BaseException | None]],
    ) -> None:
        """One call by a connection of its own, which is kept unless its state is unknown."""
        try:
            swift = self._connection()
            answer = do(swift)
        except BaseException as error:
            answers.put((None, error))
            return
        self._idle.put(swift)
        answers.put((answer, None))

    def _connection(self) -> Any:
        try:
            return self._idle.get_nowait()
        except queue.Empty:
            return self._connect()

    def _worded(self, what: str, error: BaseException) -> BaseException:
        if isinstance(error, StoreError):
            return error
        if isinstance(error, swiftclient.ClientException):
            return self._refused(what, error)
        return self._silent(what, error)

    def _refused(self, what: str, error: swiftclient.ClientException) -> StoreError:
        status = error.http_status
        if status == 404:
            return _Missing(f"cannot {what}", where=self.where, cause="it is not there")
        line = failures.status_line(status, error.http_reason) if status else "no token to be had"
        if status == 412:
            return ConflictError(f"cannot {what}", where=self.where, cause="it is there already")
        if status in _FULL:
            return FullError(
                f"cannot {what}",
                where=self.where,
                cause=f"the store or its quota is full ({line})",
                unchanged="what lies in the store",
                next_command="openstack object store account show",
            )
        if status in _FORBIDDEN or status is None:
            return ForbiddenError(f"cannot {what}", where=self.where, cause=line)
        if status in _BUSY:
            return SlowError(
                f"cannot {what}", where=self.where, cause=f"too many requests ({line})"
            )
        if status == 503:
            line += ": too few of its servers answer, or their disks are full"
        return StoreError(f"cannot {what}", where=self.where, cause=line)

    def _silent(self, what: str, error: BaseException) -> StoreError:
        text = failures.sentence(error, connect=self._timeout, read=self._timeout)
        if "Timeout" in type(error).__name__ or isinstance(error, TimeoutError):
            return self._slow(what)
        return StoreError(f"cannot {what}", where=self.where, cause=text)

    def _slow(self, what: str) -> SlowError:
        return SlowError(
            f"cannot {what}",
            where=self.where,
            cause=f"the store is too slow: no whole answer within {self._timeout * PATIENCE:g} s",
            unchanged="it may have been done; the step can be repeated",
        )


class _Missing(StoreError):
    """Nothing is there; told as None to whoever asked."""


def swift(
    session: Any, region: str, *, container: str = CONTAINER, timeout_s: float = TIMEOUT_S
) -> Store:
    """The store in one region's Swift. `session`: of keystoneauth, scoped to the project whose
    account it is."""

    def connect() -> Any:
        return swiftclient.Connection(
            session=session,
            os_options={"region_name": region, "endpoint_type": "internalURL"},
            retries=RETRIES,
            timeout=timeout_s,
        )

    return Store(connect, where=f"site {region}", container=container, timeout_s=timeout_s)
