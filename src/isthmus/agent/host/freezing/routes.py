"""HTTP about freezes, in the agent of a compute host. Every order may come twice.

``POST /freezes`` arms, ``POST /freezes/{round}/freeze`` and ``/thaw`` do what they say,
``DELETE /freezes/{round}`` disarms, ``GET /freezes`` tells. docs/dead-man has the details.
"""

from __future__ import annotations

from typing import Annotated, Any

import fastapi
import pydantic

from isthmus.agent.host import core
from isthmus.agent.host.freezing import entries, rounds

_STRICT = pydantic.ConfigDict(extra="forbid", frozen=True)
Name = Annotated[str, pydantic.Field(pattern=f"^{entries.NAME.pattern}$")]


class Guest(pydantic.BaseModel):
    """A guest by its libvirt name, and the server that it is."""

    model_config = _STRICT

    domain: Name
    server_id: Name


class Arming(pydantic.BaseModel):
    """Arm these guests; each is thawed `deadline_s` seconds after the answer, whatever happens."""

    model_config = _STRICT

    round: Name
    epoch: int = pydantic.Field(ge=0)
    entries: tuple[Guest, ...] = pydantic.Field(min_length=1, max_length=256)
    deadline_s: float = pydantic.Field(gt=0)


class Choice(pydantic.BaseModel):
    """Which guests of the round; all by default."""

    model_config = _STRICT

    domains: tuple[Name, ...] | None = None


def router(agent: core.HostAgent) -> fastapi.APIRouter:
    """The routes, for `isthmus.agent.host.app`; what was armed before is guarded from now on."""
    agent.freezing.start()
    freezes = agent.freezing.rounds
    routes = fastapi.APIRouter()

    @routes.get("/freezes")
    def _all(round: str | None = None) -> dict[str, Any]:
        return {**agent.stamp(), **freezes.document(round)}

    @routes.post("/freezes")
    def _arm(order: Arming) -> dict[str, Any]:
        wanted = [rounds.Order(**each.model_dump()) for each in order.entries]
        armed = freezes.arm(order.round, order.epoch, wanted, order.deadline_s)
        return {**agent.stamp(), **armed}

    @routes.post("/freezes/{round}/freeze")
    def _freeze(round: str, choice: Choice | None = None) -> dict[str, Any]:
        return {**agent.stamp(), "results": freezes.freeze(round, _domains(choice))}

    @routes.post("/freezes/{round}/thaw")
    def _thaw(round: str, choice: Choice | None = None) -> dict[str, Any]:
        return {**agent.stamp(), "results": freezes.thaw(round, _domains(choice))}

    @routes.delete("/freezes/{round}")
    def _disarm(round: str) -> dict[str, Any]:
        return {**agent.stamp(), **freezes.disarm(round)}

    return routes


def _domains(choice: Choice | None) -> tuple[str, ...] | None:
    return choice.domains if choice else None
