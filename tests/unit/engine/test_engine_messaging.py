"""Casts and notifications over the in-memory driver of oslo.messaging: what the library itself refuses is seen here."""

import queue
from collections.abc import Iterator
from typing import Any

import pytest

from isthmus.engine import messaging
from isthmus.network.forwarding import Cast

URL = "fake://"
# Handed from thread to thread in memory; a busy machine may let the other thread wait.
DEADLINE = 10.0


class Agent:
    """What an agent of Neutron offers to its server, as far as casts are concerned."""

    def __init__(self) -> None:
        self.heard: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def add_fdb_entries(self, context: Any, **arguments: Any) -> None:
        self.heard.put(arguments)


@pytest.fixture
def agent() -> Iterator[Agent]:
    oslo_messaging = messaging._library()
    transport = messaging._transport(URL, "rpc")
    target = oslo_messaging.Target(topic="forwarding", server="compute1", version="1.0")
    listening = Agent()
    server = oslo_messaging.get_rpc_server(transport, target, [listening], executor="threading")
    server.start()
    yield listening
    server.stop()
    server.wait()


def test_a_cast_arrives_at_the_agent_that_it_is_for(agent: Agent) -> None:
    cast = Cast(
        topic="forwarding",
        server="compute1",
        version="1.0",
        method="add_fdb_entries",
        arguments={"fdb_entries": {"a": 1}},
    )
    messaging.Caster(URL).cast([cast])
    assert agent.heard.get(timeout=DEADLINE) == {"fdb_entries": {"a": 1}}


def test_a_broker_that_is_not_there_is_an_error_of_the_cast() -> None:
    cast = Cast(topic="t", server="s", version="1.0", method="m", arguments={})
    with pytest.raises(messaging.CastError):
        messaging.Caster("nonsense://").cast([cast])


def test_a_notification_is_heard_with_its_payload() -> None:
    heard: queue.SimpleQueue[Any] = queue.SimpleQueue()
    listener = messaging.Listener(URL, lambda kind, payload, at: heard.put((kind, dict(payload))))
    listener.start()
    oslo_messaging = messaging._library()
    transport = messaging._transport(URL, "notification")
    notifier = oslo_messaging.Notifier(
        transport, "network.paris", driver="messagingv2", topics=[messaging.TOPIC]
    )
    notifier.info({}, "port.create.end", {"port": {"id": "p"}})
    assert heard.get(timeout=DEADLINE) == ("port.create.end", {"port": {"id": "p"}})
