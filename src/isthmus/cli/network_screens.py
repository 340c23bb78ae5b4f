"""What a person sees of stretched networks: documents of the engines drawn as fields and text.

Pure: documents in, values and text out. What is asked of whom stands in `isthmus.cli.network`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any, TextIO

from isthmus import outcomes
from isthmus.cli.screens import UNKNOWN, table
from isthmus.cli.site import Lines

Document = Mapping[str, Any]

_COLOURS = {"WARN": "\033[33m", "ERROR": "\033[31m", "INFO": ""}
_PLAIN = "\033[0m"


def environment() -> Mapping[str, str]:
    """The process's environment, which says whether to colour."""
    return os.environ


def declaration(network: Document) -> dict[str, Any]:
    """The fields of a declaration, in the order of reading."""
    pools, gateways = network["pools"], network["gateways"]
    spans = [f"{site}: {first}-{last}" for site in pools for first, last in pools[site]]
    return {
        "name": network["name"],
        "id": network["id"],
        "project_id": network["project_id"],
        "cidr": network["cidr"],
        "vni": network["vni"],
        "mtu": network["mtu"],
        "sites": Lines(list(network["sites"]), [", ".join(network["sites"])]),
        "pools": Lines([dict(pools)], spans),
        "gateway": network["gateway"],
        "gateways": Lines([dict(gateways)], [f"{s}: {ip}" for s, ip in gateways.items()]),
        "dhcp": network["dhcp"],
        "partition": partition_words(network),
        "revision": network["revision"],
        "deleting": network["deleting"],
    }


def partition_words(network: Document) -> str:
    """The policy, with its patience where it has one."""
    policy = str(network["partition"])
    return (
        policy if policy == "keep" else f"{policy} after {network['partition_after_seconds']:g} s"
    )


def list_row(network: Document) -> tuple[Any, ...]:
    """One line of `isthmus network list`."""
    return (
        network["name"],
        network["cidr"],
        network["vni"],
        ", ".join(network["sites"]),
        network["mtu"],
        partition_words(network),
        state_words(network),
        network["id"],
    )


def state_words(network: Document) -> str:
    """All sites in one word if they agree, else each with its own."""
    if network["deleting"]:
        return "being deleted"
    words = {site: _site_word(found) for site, found in network["state"].items()}
    if len(set(words.values())) == 1:
        return next(iter(words.values()))
    return ", ".join(f"{site}: {word}" for site, word in words.items())


HEARD_SECONDS = 10.0


def _site_word(found: Document | None) -> str:
    if found is None:
        return "unknown"
    age = found.get("heard_seconds_ago")
    if age is None or age > HEARD_SECONDS:
        return "not heard"
    if found["errors"]:
        return "ERROR"
    if not found["converged"]:
        return "working"
    return "WARN" if found["warnings"] else "OK"


def whole(answer: Document) -> dict[str, Any]:
    """All fields of `isthmus network show`: the declaration, and what programs want of the sites."""
    parts = answer["sites"].values()
    found = list(findings(parts))
    return {
        **declaration(answer["network"]),
        "converged": all(part.get("converged") for part in parts),
        "site_states": Lines(list(parts), [_site_line(part) for part in parts]),
        "findings": Lines(found, [f"{each['outcome']} {each['code']}" for each in found]),
    }


def _site_line(part: Document) -> str:
    if part.get("error"):
        return f"{part['site']}: {part['error']}"
    state = "converged" if part["converged"] else f"working ({part['end'] or 'just begun'})"
    local, remote = len(part["ports"]), len(part["remote_ports"])
    return f"{part['site']}: {state}, {local} ports, {remote} remote, {age(part['age_seconds'])}"


def findings(parts: Iterable[Document]) -> Iterable[Document]:
    """The findings of all sites, the worst first; what several sites say is said once."""
    seen: dict[tuple[str, ...], Document] = {}
    for part in parts:
        for each in part.get("findings") or ():
            key = (each["code"], each["network"], each["site"] or "", each["summary"])
            seen.setdefault(key, each)
    return sorted(seen.values(), key=lambda each: -outcomes.exit_code(each["outcome"]))


def verdict(parts: Mapping[str, Document], *, lost: frozenset[str] = frozenset()) -> int:
    """The exit code: 0 all is well, 1 warnings, 2 errors or something not done."""
    worst = outcomes.worst_exit_code(each["outcome"] for each in findings(parts.values()))
    undone = [site for site, part in parts.items() if not part.get("converged")]
    return 2 if set(undone) - lost else max(worst, 1 if lost & set(parts) else 0)


def sites_screen(answer: Document, *, colour: bool = False) -> str:
    """Ports of all sites, and the findings with their causes and remedies."""
    parts = answer["sites"]
    blocks = [
        table(["SITE", "PORT", "ADDRESS", "MAC", "HOST", "STATUS", "SEEN IN"], list(_ports(parts)))
    ]
    blocks += [_finding(each, colour) for each in findings(parts.values())]
    blocks += [
        f"ERROR {site}: {part['error']}" for site, part in parts.items() if part.get("error")
    ]
    return "".join(f"\n{block}\n" for block in blocks)


def _ports(parts: Mapping[str, Document]) -> Iterable[list[str]]:
    """Every real port, and in which sites it stands as a remote port: since when, how late."""
    remotes: dict[tuple[str, str], list[str]] = {}
    for site, part in parts.items():
        for each in part.get("remote_ports") or ():
            origin = each["origin"] or {"site": "?", "port_id": each["id"]}
            words = f"{site} (lag {each['lag_seconds']:.2f} s)" if each["lag_seconds"] else site
            remotes.setdefault((origin["site"], origin["port_id"]), []).append(words)
    for site, part in parts.items():
        for port in part.get("ports") or ():
            seen = remotes.pop((site, port["id"]), [])
            yield _port_row(site, port, port["host"] or UNKNOWN, ", ".join(seen) or UNKNOWN)
    for (site, port_id), where in sorted(remotes.items()):
        yield [site, port_id[:8], UNKNOWN, UNKNOWN, UNKNOWN, "not seen there", ", ".join(where)]


def _port_row(site: str, port: Document, host: str, seen: str) -> list[str]:
    name = port["name"] or str(port["id"])[:8]
    return [site, name, ", ".join(port["ips"]) or UNKNOWN, port["mac"], host, port["status"], seen]


def _finding(found: Document, colour: bool) -> str:
    outcome = str(found["outcome"])
    shown = f"{_COLOURS.get(outcome, '')}{outcome}{_PLAIN}" if colour else outcome
    lines = [
        f"{shown} {found['code']}: {found['summary']}",
        f"  cause  {found['cause']}",
        *(f"  owner  {owner}" for owner in found["owners"]),
        f"  try    {found['remedy']}",
    ]
    return "\n".join(lines)


def synced(site: str, part: Document) -> str:
    """What came of a sync in one site."""
    if part.get("gone"):
        return f"{site}: gone"
    if part.get("converged"):
        actions = part.get("actions", 0)
        done = f"{actions} actions" if actions else "nothing was left to do"
        return f"{site}: converged, {done}, {part.get('seconds', 0.0):.1f} s"
    return f"{site}: not converged: {'; '.join(part.get('left') or ['no reason was given'])}"


def tell_progress(parts: Mapping[str, Document], said: dict[str, str], stream: TextIO) -> None:
    """A line for each site whose state differs from what was said before."""
    for site, part in parts.items():
        state = "converged" if part.get("converged") else synced(site, part)
        if said.get(site) != state:
            said[site] = state
            print(synced(site, part), file=stream, flush=True)


def age(seconds: float | None) -> str:
    """How long ago, in words."""
    if seconds is None:
        return "never looked at"
    return f"{seconds:.0f} s ago" if seconds < 120 else f"{seconds / 60:.0f} min ago"


def before_loss(found: Document) -> Iterable[str]:
    """What declaring a site lost would do, for whoever has to decide it."""
    site, ports = found["site"], found["ports"]
    if found["heard"]:
        yield f"WARNING: the engine of {site} answers. If the site lives, its guests will be cut off"
        yield "from those of the other sites, and nothing else."
    else:
        heard = age(found["heard_seconds_ago"]) if found["heard_seconds_ago"] else "never"
        yield f"The engine of {site} was last heard: {heard}."
    total = sum(ports.values())
    yield f"All other sites withdraw the remote ports of {site}; in the asked site: {total}."
    for name, count in ports.items():
        yield f"  {name}: {count}"
    yield f"isthmus site returned {site} takes it back."
