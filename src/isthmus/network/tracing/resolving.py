"""Which port a person means: by id, by name, by address, with or without a site.

Pure. `paris:web` narrows to a site. What a remote port is called by is its real port.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from isthmus import errors
from isthmus.network.tracing.facts import Site
from isthmus.network.views import Port

_SHORTEST_ID = 6
"""Characters of an id that may stand for the whole."""


def resolve(words: str, sites: Mapping[str, Site]) -> tuple[str, Port]:
    """The site and the real port that `words` mean.

    When the site of the real port is silent, what is known of it comes from a remote port; such a
    port has neither host nor tunnel address. Raises `errors.UsageError` for none or several.
    """
    wanted, text = _narrowed(words, sites)
    found = {(site, port.id): port for site, port in _real(sites, wanted) if _meant(port, text)}
    exact = {key: port for key, port in found.items() if text in (port.id, *port.ips)}
    chosen = exact or found
    if len(chosen) == 1:
        ((site, _), port) = chosen.popitem()
        return site, port
    raise _unclear(words, chosen.items(), sites)


def _narrowed(words: str, sites: Mapping[str, Site]) -> tuple[str | None, str]:
    site, colon, rest = words.partition(":")
    return (site, rest) if colon and site in sites and rest else (None, words)


def _real(sites: Mapping[str, Site], wanted: str | None) -> Iterator[tuple[str, Port]]:
    """Real ports by site; those of silent sites as others know them."""
    for name, site in sites.items():
        if wanted in (None, name):
            yield from ((name, port) for port in site.ports if not port.ours)
        for port in site.ports:
            origin = port.origin
            if origin and wanted in (None, origin.site) and _silent(sites, origin.site):
                yield origin.site, _as_known(port, origin.port_id)


def _silent(sites: Mapping[str, Site], name: str) -> bool:
    site = sites.get(name)
    return site is None or site.error is not None


def _as_known(port: Port, real_id: str) -> Port:
    return Port(
        id=real_id, network_id=port.network_id, mac=port.mac, ips=port.ips, name=port.name,
        vtep_ip=port.remote_vtep, status="unknown",
    )  # fmt: skip


def _meant(port: Port, text: str) -> bool:
    if text in (port.id, port.name, *port.ips):
        return True
    return len(text) >= _SHORTEST_ID and port.id.startswith(text)


def _unclear(
    words: str, found: Iterable[tuple[tuple[str, str], Port]], sites: Mapping[str, Site]
) -> errors.UsageError:
    several = [f"{site}:{port.id} {port.name} {port.ips}" for (site, _), port in found]
    silent = sorted(name for name, site in sites.items() if site.error)
    if several:
        return errors.UsageError(
            f"{words!r} means several ports",
            cause="; ".join(several),
            next_command="name one of them by its id",
        )
    return errors.UsageError(
        f"there is no port {words!r} on this network",
        cause=f"not asked, because silent: {', '.join(silent)}" if silent else None,
        next_command="openstack --os-region-name SITE port list --network NETWORK",
    )
