"""Who may hand out which addresses and which VNI: arithmetic over IPv4, no I/O.

It exists so that two sites never hand out the same address, even while they cannot see each other:
the CIDR is split once into slots, a site gets a slot, and sites that come later get free ones. It
knows nothing of declarations: `isthmus.network.declarations` says what an error means to a person.
"""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Iterable, Iterator, Mapping

LONGEST_PREFIX = 29
SHORTEST_PREFIX = 8


class PlanError(Exception):
    """What does not fit, as a phrase without a final stop; `field` is the part of the declaration
    that is to blame. For the caller's own error."""

    def __init__(self, cause: str, *, field: str = "cidr") -> None:
        super().__init__(cause)
        self.field = field


@dataclasses.dataclass(frozen=True, kw_only=True, order=True)
class Span:
    """Addresses from `first` to `last`, both included, as numbers. Never empty."""

    first: int
    last: int

    def __contains__(self, address: int) -> bool:
        return self.first <= address <= self.last

    def __len__(self) -> int:
        return self.last - self.first + 1

    def __str__(self) -> str:
        first, last = self.texts()
        return f"{first}-{last}"

    def overlaps(self, other: Span) -> bool:
        return self.first <= other.last and other.first <= self.last

    def texts(self) -> tuple[str, str]:
        return text(self.first), text(self.last)

    @classmethod
    def parse(cls, first: str, last: str) -> Span:
        """Raises PlanError."""
        span = number(first), number(last)
        if span[0] > span[1]:
            raise PlanError(f"{first} is behind {last}")
        return cls(first=span[0], last=span[1])


def number(address: str) -> int:
    """An IPv4 address as a number. Raises PlanError."""
    try:
        return int(ipaddress.IPv4Address(address))
    except ValueError:
        raise PlanError(f"{address!r} is no IPv4 address") from None


def text(address: int) -> str:
    return str(ipaddress.IPv4Address(address))


def network(cidr: str) -> ipaddress.IPv4Network:
    """A CIDR that can be split. Raises PlanError; says so when it is an IPv6 one."""
    try:
        parsed = ipaddress.ip_network(cidr)
    except ValueError as error:
        raise PlanError(str(error)) from None
    if not isinstance(parsed, ipaddress.IPv4Network):
        raise PlanError("IPv6 is not offered on stretched networks")
    if not SHORTEST_PREFIX <= parsed.prefixlen <= LONGEST_PREFIX:
        raise PlanError(f"the prefix must be /{SHORTEST_PREFIX} to /{LONGEST_PREFIX}")
    return parsed


def usable(cidr: str) -> Span:
    """All addresses that a port may have: without the network's own and the broadcast address."""
    whole = network(cidr)
    return Span(first=int(whole.network_address) + 1, last=int(whole.broadcast_address) - 1)


def slots(cidr: str, count: int) -> tuple[Span, ...]:
    """The CIDR split into `count` (a power of two) equal parts, as far as they are usable.

    Raises PlanError when a part would be smaller than two addresses.
    """
    whole = network(cidr)
    if whole.num_addresses < 2 * count:
        raise PlanError(f"{cidr} is too small for {count} parts")
    room = usable(cidr)
    parts = whole.subnets(prefixlen_diff=count.bit_length() - 1)
    return tuple(
        Span(
            first=max(int(part.network_address), room.first),
            last=min(int(part.broadcast_address), room.last),
        )
        for part in parts
    )


def slot_count(cidr: str, *, wanted: int, sites: int, least: int) -> int:
    """Into how many slots to split: `wanted`, more if there are more sites, fewer if the CIDR is so
    small that a slot would hold fewer than `least` usable addresses. Raises PlanError."""
    count = _power_of_two(max(wanted, sites, 1))
    while count >= max(sites, 1):
        if _smallest(cidr, count) >= least:
            return count
        count //= 2
    raise PlanError(f"{cidr} is too small for {sites} sites")


def _power_of_two(at_least: int) -> int:
    return 1 << (at_least - 1).bit_length()


def _smallest(cidr: str, count: int) -> int:
    try:
        return min(len(slot) for slot in slots(cidr, count))
    except PlanError:
        return 0


def free_slot(cidr: str, count: int, taken: Iterable[Span]) -> Span:
    """The lowest slot that touches nothing in `taken`. Raises PlanError."""
    occupied = tuple(taken)
    for slot in slots(cidr, count):
        if not any(slot.overlaps(other) for other in occupied):
            return slot
    raise PlanError(
        f"none of the {count} parts of {cidr} is free: give the site a pool", field="pools"
    )


def without(span: Span, addresses: Iterable[int]) -> tuple[Span, ...]:
    """The span with single addresses taken out: what is left, in order; may be nothing."""
    return tuple(_pieces(span, sorted(each for each in set(addresses) if each in span)))


def _pieces(span: Span, holes: list[int]) -> Iterator[Span]:
    first = span.first
    for hole in [*holes, span.last + 1]:
        if first < hole:
            yield Span(first=first, last=hole - 1)
        first = hole + 1


def free_address(cidr: str, taken: Iterable[Span]) -> int:
    """The lowest usable address outside of `taken`. Raises PlanError."""
    room = usable(cidr)
    candidate = room.first
    for span in sorted(taken):
        if candidate in span:
            candidate = span.last + 1
    if candidate not in room:
        raise PlanError(f"every address of {cidr} is in a pool")
    return candidate


def free_vni(vni_range: tuple[int, int], taken: Iterable[int]) -> int:
    """The lowest VNI of the range that is not taken. Raises PlanError."""
    used = set(taken)
    first, last = vni_range
    for vni in range(first, last + 1):
        if vni not in used:
            return vni
    raise PlanError(f"all VNIs from {first} to {last} are taken", field="vni")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shares:
    """What sites hold of a CIDR: pools and (or not) a gateway address by site."""

    pools: Mapping[str, tuple[Span, ...]]
    gateways: Mapping[str, int]

    def taken(self) -> list[tuple[str, Span]]:
        """Everything that is held, with words for whose it is."""
        pools = [
            (f"the pool of {site}", span) for site, spans in self.pools.items() for span in spans
        ]
        gates = [
            (f"the gateway of {site}", Span(first=address, last=address))
            for site, address in self.gateways.items()
        ]
        return pools + gates


NOTHING = Shares(pools={}, gateways={})


def shares(
    cidr: str,
    count: int,
    sites: Iterable[str],
    *,
    given: Shares = NOTHING,
    held: Shares = NOTHING,
    with_gateways: bool = False,
) -> Shares:
    """Pools and gateways of further `sites`: what is `given` for them, free slots for the others.

    `held` is what other sites have already; it is never moved. Raises PlanError.

    Invariant: what is returned and what is held are pairwise disjoint and usable addresses of the
    CIDR, and no pool is empty.
    """
    names = tuple(sites)
    _refuse_strangers(given, names)
    _check(cidr, [*held.taken(), *given.taken()], held=len(held.taken()))
    pools, gateways = dict(given.pools), dict(given.gateways)
    for site in names:
        now = Shares(pools={**held.pools, **pools}, gateways={**held.gateways, **gateways})
        if with_gateways and site in pools and site not in gateways:
            gateways[site] = free_address(cidr, [span for _, span in now.taken()])
        elif site not in pools:
            spans, gateway = _slot_of(cidr, count, now, site, with_gateways=with_gateways)
            pools[site] = spans
            if gateway is not None:
                gateways[site] = gateway
    return Shares(pools=pools, gateways=gateways)


def _slot_of(
    cidr: str, count: int, now: Shares, site: str, *, with_gateways: bool
) -> tuple[tuple[Span, ...], int | None]:
    """A free slot as a pool; the site's gateway is its first address unless one is given."""
    pools = [span for spans in now.pools.values() for span in spans]
    slot = free_slot(cidr, count, pools)
    holes = set(now.gateways.values())
    gateway = None
    if with_gateways and site not in now.gateways:
        free = without(slot, holes)
        gateway = free[0].first if free else slot.first
        holes.add(gateway)
    spans = without(slot, holes)
    if not spans:
        raise PlanError(f"nothing is left of {slot} for the pool of {site}", field="pools")
    return spans, gateway


def _refuse_strangers(given: Shares, sites: tuple[str, ...]) -> None:
    for field, names in (("pools", given.pools), ("gateways", given.gateways)):
        stranger = next((name for name in names if name not in sites), None)
        if stranger is not None:
            raise PlanError(f"{stranger} is not among the sites", field=field)
    empty = next((site for site, spans in given.pools.items() if not spans), None)
    if empty is not None:
        raise PlanError(f"the pool of {empty} is empty", field="pools")


def _check(cidr: str, taken: list[tuple[str, Span]], *, held: int) -> None:
    """Every span usable, and each of those behind the first `held` disjoint from all before it."""
    room = usable(cidr)
    for index, (whose, span) in enumerate(taken):
        field = "gateways" if whose.startswith("the gateway") else "pools"
        if index < held:
            continue
        if span.first not in room or span.last not in room:
            raise PlanError(
                f"{whose} ({span}) is not inside the usable addresses of {cidr} ({room})",
                field=field,
            )
        for other, before in taken[:index]:
            if span.overlaps(before):
                raise PlanError(f"{whose} ({span}) overlaps {other} ({before})", field=field)
