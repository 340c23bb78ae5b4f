"""A delayed WAN link: forwards frames between two interfaces after a fixed time, in user space.

Kernels without netem (many laptops' and build machines') can still rehearse a slow WAN with it. Run inside the WAN namespace:
`python -m isthmus.lab.relay PORT_A PORT_B DELAY_MS`. It prints `relaying` once frames pass. It is not a bandwidth limit and
not a loss model; a full queue drops the newest frame, as a router does.
"""

import collections
import select
import socket
import sys
import time

_ETH_P_ALL = 0x0003
_SOL_PACKET = 263
_PACKET_VNET_HDR = (
    15  # carries checksum and segmentation state, so that veth's offloads survive the relay
)
_PACKET_IGNORE_OUTGOING = 23
_FRAME = 65536 + 64
_QUEUE = 20_000  # frames per direction: 1 s of 200 Mbit/s in full-size frames


def open_port(interface: str) -> socket.socket:
    """A raw socket that sees what arrives at `interface` and can send out of it."""
    port = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
    port.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)
    port.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
    port.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    port.bind((interface, 0))
    port.setblocking(False)
    return port


def relay(port_a: socket.socket, port_b: socket.socket, delay: float) -> None:
    """Forward between two ports for ever, each frame `delay` seconds after it came."""
    ports = (port_a, port_b)
    other = {port_a: port_b, port_b: port_a}
    waiting: dict[socket.socket, collections.deque[tuple[float, bytes]]] = {
        port: collections.deque() for port in ports
    }
    while True:
        due = min((queue[0][0] for queue in waiting.values() if queue), default=None)
        timeout = None if due is None else max(0.0, due - time.monotonic())
        readable, _, _ = select.select(ports, (), (), timeout)
        for port in readable:
            _receive(port, waiting[other[port]], delay)
        for port, queue in waiting.items():
            _send_due(port, queue)


def _receive(
    port: socket.socket, queue: collections.deque[tuple[float, bytes]], delay: float
) -> None:
    for _ in range(64):
        try:
            frame = port.recv(_FRAME)
        except BlockingIOError:
            return
        if len(queue) < _QUEUE:
            queue.append((time.monotonic() + delay, frame))


def _send_due(port: socket.socket, queue: collections.deque[tuple[float, bytes]]) -> None:
    now = time.monotonic()
    while queue and queue[0][0] <= now:
        _, frame = queue.popleft()
        try:
            port.send(frame)
        except OSError as error:
            # A frame that the kernel refuses (interface going down, buffer full) is lost, as on a real link.
            print(f"frame of {len(frame)} bytes lost: {error}", file=sys.stderr, flush=True)


def main() -> None:
    """Entry point: PORT_A PORT_B DELAY_MS."""
    port_a, port_b, delay_ms = sys.argv[1:4]
    a, b = open_port(port_a), open_port(port_b)
    print("relaying", flush=True)
    relay(a, b, float(delay_ms) / 1000)


if __name__ == "__main__":
    main()
