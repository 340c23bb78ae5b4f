"""The message bus of the own site's Neutron: its notifications, and casts to its agents.

It exists so that a change in Neutron is heard when it happens, and so that a lost forwarding entry
can be sent again. Exceptions and habits of oslo.messaging end here. A broker that is down costs
nothing but time: what was not heard is found by the next round, what could not be cast by the next
audit. Queue and pool have names of their own, so that other consumers keep their notifications.
"""

from __future__ import annotations

import contextlib
import datetime
import importlib
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from isthmus.network.forwarding import Cast

LOG = logging.getLogger(__name__)

TOPIC = "notifications"
POOL = "isthmus-engine"
"""The queue that all engines of a site share: each notification is heard by one of them."""

EXCHANGE = "neutron"

Heard = Callable[[str, Mapping[str, Any], float], None]
"""Called with event type, payload, and when it was sent (seconds since 1970)."""


def _library() -> Any:
    """oslo.messaging with plain threads, loaded late because a witness has no message bus.

    What it stands on loads eventlet wherever that is installed, which nobody here uses.
    """
    loaded = sys.modules.get("eventlet")
    sys.modules["eventlet"] = None  # type: ignore[assignment]
    try:
        with contextlib.suppress(Exception):
            backend = importlib.import_module("oslo_service.backend")
            backend.init_backend(backend.BackendType.THREADING)
        return importlib.import_module("oslo_messaging")
    finally:
        del sys.modules["eventlet"]
        if loaded is not None:
            sys.modules["eventlet"] = loaded


def _transport(url: str, kind: str) -> Any:
    """A transport with the library's defaults. They are set in its global configuration, because the
    library registers some of its options nowhere else."""
    from oslo_config import cfg

    oslo_messaging = _library()
    conf = cfg.CONF
    conf([], project="isthmus", default_config_files=[], default_config_dirs=[])
    oslo_messaging.set_transport_defaults(EXCHANGE)
    if kind == "rpc":
        return oslo_messaging.get_rpc_transport(conf, url=url)
    return oslo_messaging.get_notification_transport(conf, url=url)


class Listener:
    """Hears the notifications of Neutron in threads of oslo.messaging."""

    def __init__(self, url: str, heard: Heard) -> None:
        self._url, self._heard = url, heard
        self._server: Any = None
        self.last_at: float | None = None
        """When the last notification came, seconds since 1970."""

    def start(self) -> None:
        """Returns at once: connecting waits for the broker, as long as it takes."""
        threading.Thread(target=self._listen, name="listen", daemon=True).start()

    def _listen(self) -> None:
        oslo_messaging = _library()
        while True:
            try:
                transport = _transport(self._url, "notification")
                self._server = oslo_messaging.get_notification_listener(
                    transport,
                    [oslo_messaging.Target(topic=TOPIC)],
                    [self],
                    executor="threading",
                    pool=POOL,
                )
                self._server.start()
            except Exception as error:  # oslo.messaging passes on errors of kombu and amqp
                LOG.warning("cannot listen to notifications: %s", _line(error))
                time.sleep(2.0)
            else:
                LOG.info("listening to notifications of Neutron")
                return

    def info(
        self,
        context: Mapping[str, Any],
        publisher_id: str,
        event_type: str,
        payload: Mapping[str, Any],
        metadata: Mapping[str, Any],
    ) -> None:
        """Called by oslo.messaging for each notification."""
        self.last_at = time.time()
        try:
            self._heard(event_type, payload, _sent_at(metadata, default=self.last_at))
        except Exception:
            LOG.exception("notification %s: an error in the engine itself; it goes on", event_type)


def _sent_at(metadata: Mapping[str, Any], *, default: float) -> float:
    """When a notification was sent, as oslo.messaging says it: UTC without a zone."""
    try:
        sent = datetime.datetime.fromisoformat(str(metadata["timestamp"]))
    except (KeyError, ValueError):
        return default
    return (sent if sent.tzinfo else sent.replace(tzinfo=datetime.UTC)).timestamp()


class CastError(Exception):
    """The broker did not take a cast."""


class Caster:
    """Sends casts to the agents of the own site, as Neutron's server would."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._lock = threading.Lock()
        self._known: Any = None

    def cast(self, casts: Iterable[Cast]) -> None:
        """Send them in order. Raises CastError; what was sent before stays sent."""
        with self._lock:
            try:
                oslo_messaging = _library()
                self._known = self._known or _transport(self._url, "rpc")
                for each in casts:
                    target = oslo_messaging.Target(
                        topic=each.topic, server=each.server, version=each.version
                    )
                    client = oslo_messaging.get_rpc_client(self._known, target, retry=1)
                    client.cast(_CONTEXT, each.method, **each.arguments)
            except Exception as error:  # oslo.messaging passes on errors of kombu and amqp
                raise CastError(_line(error)) from error


# What Neutron's agents make their request context of.
_CONTEXT = {"is_admin": True, "user_id": None, "project_id": None, "tenant_id": None}


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
