"""The host agents' part in a round: signed HTTP requests out, reports in.

It exists so that `atom` knows neither URLs nor JSON. The agent's side, and the dead-man itself, are
`isthmus.agent.host.freezing`.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from isthmus import errors
from isthmus.recovery.freezing.ledger import Entry, FreezeLedger
from isthmus.recovery.freezing.machine import Guest, Report

_ANSWER_S = 15.0
"""Beyond the time that a command in a guest may take: the host starts it and looks at it once more
after that time, and the guest agent may be slow in both."""


class Calls(Protocol):
    """Signed calls to host agents by the host's name; `isthmus.engine.calling.Callees` is one."""

    def call(self, method: str, name: str, path: str, body: Any, timeout: float) -> Any:
        """The JSON document of the answer. Raises IsthmusError."""
        ...


class HostAgents:
    """`atom.Hosts` over HTTP."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def arm(
        self, host: str, ledger: FreezeLedger, entries: Sequence[Entry], timeout_s: float
    ) -> Mapping[str, Report]:
        order = {
            "round": ledger.round_id,
            "epoch": ledger.epoch,
            "deadline_s": ledger.deadline_s,
            "entries": [{"domain": each.domain, "server_id": each.server_id} for each in entries],
        }
        return self._reports(
            host, entries, self._calls.call("POST", host, "/freezes", order, timeout_s)
        )

    def freeze(
        self, host: str, round_id: str, entries: Sequence[Entry], timeout_s: float
    ) -> Mapping[str, Report]:
        return self._order(host, round_id, "freeze", entries, timeout_s)

    def thaw(
        self, host: str, round_id: str, entries: Sequence[Entry], timeout_s: float
    ) -> Mapping[str, Report]:
        return self._order(host, round_id, "thaw", entries, timeout_s)

    def disarm(self, host: str, round_id: str, timeout_s: float) -> None:
        self._calls.call("DELETE", host, _path(round_id), None, timeout_s)

    def execute(
        self, host: str, domain: str, command: Sequence[str], timeout_s: float
    ) -> tuple[int, str]:
        """Run a command in a guest: `hooks.Guests`. Exit code and last words. `timeout_s`: 1 to 600."""
        body = {"command": list(command), "timeout_s": timeout_s}
        path = f"/guests/{urllib.parse.quote(domain, safe='')}/exec"
        answer = self._calls.call("POST", host, path, body, timeout_s + _ANSWER_S)
        try:
            return int(answer["exit"]), str(answer.get("output") or "")
        except (KeyError, TypeError, ValueError) as error:
            raise _misshapen(host, error) from error

    def _order(
        self, host: str, round_id: str, verb: str, entries: Sequence[Entry], timeout_s: float
    ) -> Mapping[str, Report]:
        body = {"domains": [each.domain for each in entries]}
        path = f"{_path(round_id)}/{verb}"
        return self._reports(host, entries, self._calls.call("POST", host, path, body, timeout_s))

    def _reports(self, host: str, entries: Sequence[Entry], answer: Any) -> Mapping[str, Report]:
        """A report for each guest that was asked about; raises InputError without one for each.

        An order is answered by its results, arming by what is armed then.
        """
        try:
            listed = answer["results"] if "results" in answer else answer["freezes"]
            told = {str(each["domain"]): _report(each) for each in listed}
            return {each.server_id: told[each.domain] for each in entries}
        except (KeyError, TypeError, ValueError) as error:
            raise _misshapen(host, error) from error


def _misshapen(host: str, error: Exception) -> errors.InputError:
    return errors.InputError(
        "the answer of a host agent has not the promised shape",
        where=f"host {host}",
        cause=f"{type(error).__name__}: {error}",
    )


def _path(round_id: str) -> str:
    return f"/freezes/{urllib.parse.quote(round_id, safe='')}"


def _report(document: Mapping[str, Any]) -> Report:
    was_frozen = document.get("was_frozen")
    return Report(
        armed=bool(document["armed"]),
        guest=Guest(document["guest"]),
        fired=bool(document["fired"]),
        was_frozen=None if was_frozen is None else bool(was_frozen),
        error=document.get("error"),
    )
