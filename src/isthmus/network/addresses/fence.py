"""The words for the kernel of a gateway: rules, elements that end by themselves, announcements. Pure.

A gateway is a network namespace with two legs: `outer` on the provider network, where the service
address lies, and `inner` on the network of the target. The address lies on the outer leg all the
time; what decides is the fence, a netdev table with a set. No packet for or from the address, and
no ARP about it, passes the outer leg in either direction unless the set has the address as an
element; and the element has a timeout. So a program that is killed or frozen loses the address
without doing anything.

A timeout counts from when the kernel takes it, not from when the program read its clock: in
between, the program may be frozen. Therefore two transactions (`arm`, `extend`). The first adds a
guard element that lives for GUARD_SECONDS. Then the clock is read. The second transaction deletes
the guard, which fails as a whole if the guard has ended, and sets the element to what the clock
said *less GUARD_SECONDS*. Whenever the second one succeeds, it came at most GUARD_SECONDS after the
first and so at most that long after the clock was read: the element cannot outlive its moment.
"""

from __future__ import annotations

import hashlib
import ipaddress
import math
import struct
from dataclasses import dataclass

TABLE = "isthmus"
GUARD_SECONDS = 0.05
TICK_SECONDS = 0.01
"""What the kernel's timers are late: one tick of 100 Hz, the coarsest that distributions use."""

ANNOUNCE_AFTER = (0.0, 0.05, 0.2, 1.0)
"""Seconds after taking an address at which it is announced. One announcement may be lost, and a
neighbour may ignore what follows another within its lock time (1 s by default in Linux)."""
ANNOUNCE_EVERY = 10.0


@dataclass(frozen=True, kw_only=True)
class Legs:
    """What the rules speak of."""

    address: str
    target: str
    outer: str = "outer"
    inner: str = "inner"


def rules(legs: Legs) -> str:
    """The whole rule set of a gateway. Loading it again leaves nothing held."""
    address = legs.address
    return f"""
table netdev {TABLE}
delete table netdev {TABLE}
table netdev {TABLE} {{
  set held {{ type ipv4_addr; flags timeout; }}
  set guard {{ type ipv4_addr; flags timeout; }}
  chain arrive {{
    type filter hook ingress device "{legs.outer}" priority -10; policy accept;
    ip daddr {address} ip daddr != @held drop
    arp daddr ip {address} arp daddr ip != @held drop
  }}
  chain leave {{
    type filter hook egress device "{legs.outer}" priority -10; policy accept;
    ip saddr {address} ip saddr != @held drop
    arp saddr ip {address} arp saddr ip != @held drop
  }}
}}
table ip {TABLE}
delete table ip {TABLE}
table ip {TABLE} {{
  chain in {{
    type nat hook prerouting priority dstnat; policy accept;
    iifname "{legs.outer}" ip daddr {address} dnat to {legs.target}
  }}
  chain out {{
    type nat hook postrouting priority srcnat; policy accept;
    oifname "{legs.inner}" ct status dnat masquerade
  }}
  chain through {{
    type filter hook forward priority filter; policy drop;
    ct status dnat accept
  }}
}}
"""


def arm(address: str) -> str:
    """The first transaction: a guard that ends soon."""
    milliseconds = round(GUARD_SECONDS * 1000)
    return (
        f"flush set netdev {TABLE} guard\n"
        f"add element netdev {TABLE} guard {{ {address} timeout {milliseconds}ms }}\n"
    )


def extend(address: str, seconds: float) -> str | None:
    """The second transaction: hold the address for `seconds` from the reading of the clock on.

    It fails as a whole if the guard has ended. None: too little is left to be worth it.
    """
    milliseconds = math.floor((seconds - GUARD_SECONDS - TICK_SECONDS) * 1000)
    if milliseconds <= 0:
        return None
    return (
        f"delete element netdev {TABLE} guard {{ {address} }}\n"
        f"flush set netdev {TABLE} held\n"
        f"add element netdev {TABLE} held {{ {address} timeout {milliseconds}ms }}\n"
    )


def close() -> str:
    """End the holding at once."""
    return f"flush set netdev {TABLE} held\nflush set netdev {TABLE} guard\n"


def digits(address_id: str, site: str, host: str) -> str:
    """Eight hexadecimal digits for the names of a gateway; other hosts have others, since several
    may run on one machine."""
    return hashlib.sha256(f"{address_id} {site} {host}".encode()).hexdigest()[:8]


def mac(address_id: str, site: str, host: str) -> str:
    """The MAC of an outer leg: locally administered, and always the same for this gateway."""
    octets = hashlib.sha256(f"mac {address_id} {site} {host}".encode()).digest()[:5]
    return ":".join(f"{octet:02x}" for octet in (0x02, *octets))


def announcement(address: str, mac: str) -> bytes:
    """A gratuitous ARP request (RFC 5227: sender and target are the address) as an Ethernet frame.

    A request, because every implementation that has the address in its cache updates it (RFC 826).
    """
    own = bytes.fromhex(mac.replace(":", ""))
    ip = ipaddress.IPv4Address(address).packed
    header = b"\xff" * 6 + own + struct.pack("!H", 0x0806)
    return header + struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + own + ip + bytes(6) + ip
