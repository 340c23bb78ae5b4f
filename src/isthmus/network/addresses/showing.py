"""What is shown of an address: who holds it, each voter's word, each site's health, and what is
wrong. Pure; the words of voters and sites are gathered by `api`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from isthmus.network.addresses.declarations import Kind, ServiceAddress
from isthmus.network.addresses.findings import Code, Finding
from isthmus.outcomes import Outcome


@dataclasses.dataclass(frozen=True, kw_only=True)
class Told:
    """What one site's engine says of an address; `error`: why it says nothing. Times in seconds.

    `owner`, `remaining`, `epoch`: its voter's word. `place`, `ready`, `health`, `reason`,
    `phase`, `decision`: of its own gateway, if it has a target.
    """

    site: str
    error: str | None = None
    owner: str | None = None
    remaining: float = 0.0
    epoch: int = 0
    place: str | None = None
    ready: bool = False
    health: str | None = None
    reason: str = ""
    phase: str | None = None
    decision: str = ""
    trouble: str | None = None
    findings: tuple[Mapping[str, Any], ...] = ()


def holder(told: Mapping[str, Told]) -> str | None:
    """The place that a majority of the voters names now."""
    words = [each.owner for each in told.values() if each.owner and not each.error]
    for owner in sorted(set(words)):
        if words.count(owner) > len(told) // 2:
            return owner
    return None


def document(address: ServiceAddress, told: Mapping[str, Told]) -> dict[str, Any]:
    """Everything about an address, for the API."""
    held_by = holder(told) if address.kind is Kind.MOVED else None
    found = findings(address, told, held_by)
    return {
        **address.to_document(),
        "check_text": str(address.check),
        "holder": held_by,
        "epoch": max((each.epoch for each in told.values()), default=0),
        "lease_seconds_left": _left(told, held_by),
        "voters": [_voter(each) for each in told.values()] if address.kind is Kind.MOVED else [],
        "sites": [_site(each) for each in told.values() if each.site in address.targets],
        "findings": found,
        "outcome": _worst(found),
    }


def _left(told: Mapping[str, Told], holder: str | None) -> float | None:
    """What a majority still promises: the middle of the voters' remaining times."""
    left = sorted(each.remaining for each in told.values() if holder and each.owner == holder)
    return round(left[-(len(told) // 2 + 1)], 3) if len(left) > len(told) // 2 else None


def _voter(told: Told) -> dict[str, Any]:
    return {
        "site": told.site,
        "owner": told.owner,
        "remaining": round(told.remaining, 3),
        "epoch": told.epoch,
        "error": told.error,
    }


def _site(told: Told) -> dict[str, Any]:
    names = ("site", "place", "ready", "health", "reason", "phase", "decision", "trouble", "error")
    return {name: getattr(told, name) for name in names}


def findings(
    address: ServiceAddress, told: Mapping[str, Told], held_by: str | None
) -> list[dict[str, Any]]:
    """What is wrong, the worst first."""
    found = [dict(each) for word in told.values() for each in word.findings]
    for word in told.values():
        if word.error and word.site in address.targets:
            found.append(_silent(address, word).document())
    if address.kind is Kind.MOVED and not address.deleting:
        found += [each.document() for each in _of_lease(address, told, held_by)]
        found += [each.document() for each in _of_sites(address, told)]
    order = {str(Outcome.ERROR): 0, str(Outcome.WARN): 1}
    return sorted(found, key=lambda each: order.get(each["outcome"], 2))


def _silent(address: ServiceAddress, told: Told) -> Finding:
    return _finding(
        address,
        Code.SITE_SILENT,
        Outcome.WARN,
        told.site,
        f"the engine of {told.site} does not answer",
        told.error or "",
        f"isthmus status; if {told.site} is gone for good: isthmus site lost {told.site}",
    )


def _of_lease(
    address: ServiceAddress, told: Mapping[str, Told], held_by: str | None
) -> list[Finding]:
    silent = [each.site for each in told.values() if each.error]
    needed = len(told) // 2 + 1
    if len(told) - len(silent) < needed:
        return [
            _finding(
                address,
                Code.NO_MAJORITY,
                Outcome.ERROR,
                None,
                f"{address.name} may be held by nobody",
                f"{len(told) - len(silent)} of {len(told)} voters answer, {needed} are needed: "
                f"{', '.join(silent)} cannot be reached from here",
                "restore the links or start isthmus-engine there; the address comes back by itself",
            )
        ]
    found = []
    if held_by is None:
        causes = [f"{each.site}: {each.trouble or each.decision}" for each in _with_gateway(told)]
        found.append(
            _finding(
                address,
                Code.NOT_HELD,
                Outcome.ERROR,
                None,
                f"nobody holds {address.name} at this moment",
                "; ".join(causes) or "no site with a target answers",
                f"isthmus network address move {address.name} --to SITE",
            )
        )
    for site in silent:
        found.append(
            _finding(
                address,
                Code.VOTER_SILENT,
                Outcome.WARN,
                site,
                f"the voter of {site} does not answer",
                told[site].error or "",
                f"while it is silent, one more silent voter takes {address.name} from everybody",
            )
        )
    return found


def _with_gateway(told: Mapping[str, Told]) -> list[Told]:
    return [each for each in told.values() if each.place]


def _of_sites(address: ServiceAddress, told: Mapping[str, Told]) -> list[Finding]:
    found = []
    for each in _with_gateway(told):
        if not each.ready:
            summary = f"the gateway of {address.name} in {each.site} is not ready"
            remedy = f"isthmus network address show {address.name} --ask {each.site}"
            found.append(
                _finding(
                    address, Code.GATEWAY, Outcome.WARN, each.site, summary, each.reason, remedy
                )
            )
        elif each.health == "unhealthy":
            target = address.target(each.site)
            summary = f"the target {target} in {each.site} is unhealthy"
            remedy = f"look at the machine that has {target}; the check is {address.check}"
            found.append(
                _finding(
                    address,
                    Code.TARGET_UNHEALTHY,
                    Outcome.WARN,
                    each.site,
                    summary,
                    each.reason,
                    remedy,
                )
            )
    able = [each.site for each in _with_gateway(told) if each.ready and each.health == "healthy"]
    if len(able) == 1 and len(address.targets) > 1:
        summary = f"only {able[0]} is able to hold {address.name}"
        cause = "if it fails, no other site takes over"
        found.append(
            _finding(
                address,
                Code.ONE_SITE,
                Outcome.INFO,
                None,
                summary,
                cause,
                "see the other findings",
            )
        )
    return found


def _worst(found: list[dict[str, Any]]) -> str:
    for outcome in (Outcome.ERROR, Outcome.WARN):
        if any(each["outcome"] == outcome for each in found):
            return str(outcome)
    return "OK"


def _finding(
    address: ServiceAddress,
    code: Code,
    outcome: Outcome,
    site: str | None,
    summary: str,
    cause: str,
    remedy: str,
) -> Finding:
    return Finding(
        code=code,
        outcome=outcome,
        address=address.name,
        site=site,
        summary=summary,
        cause=cause,
        remedy=remedy,
    )
