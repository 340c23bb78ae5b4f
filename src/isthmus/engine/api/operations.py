"""`/v1/operations`: what is done with protection groups, who approved it, how far it is.

Reading and deciding are for people with a token; what a person may decide follows from the roles on
it. The code that approves an operation is in the answer to its request and nowhere else.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, Protocol

import fastapi
import pydantic
from fastapi import responses

from isthmus.engine.rights import Caller
from isthmus.operations import reporting, reporting_html, trail, views
from isthmus.operations.desk import Asker, Desk, Request
from isthmus.operations.kinds import Kind, Privilege
from isthmus.operations.values import Operation, Person
from isthmus.recovery.flows.declared import Declared

ROLES: Mapping[str, frozenset[Privilege]] = {
    "admin": frozenset({Privilege.OPERATE, Privilege.DRILL}),
    "recovery_operator": frozenset({Privilege.OPERATE}),
    "recovery_drill": frozenset({Privilege.DRILL}),
    "recovery_failover": frozenset({Privilege.FAILOVER}),
}
"""What each role is worth. An administrator cannot approve a failover without the role for it: that is
a decision about the service of others, not about machines."""


class Home(Protocol):
    """What is needed of the engine."""

    @property
    def desk(self) -> Desk: ...

    @property
    def declared(self) -> Declared: ...

    @property
    def four_eyes(self) -> bool:
        """Whether whoever requested a failover may not approve it."""

    @property
    def require_reader(self) -> Callable[..., Caller]: ...

    @property
    def require_admin(self) -> Callable[..., Caller]: ...


class _Body(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", str_max_length=255)


class NewOperation(_Body):
    """What POST /v1/operations takes."""

    kind: Kind
    group: str
    """Name or id."""
    checkpoint: str | None = None
    """Id; the newest one that can be returned to if left out. Not for protect."""
    operation: str | None = None
    """Whose remains to take away; for cleanup."""
    disaster_at: pydantic.AwareDatetime | None = None
    """Since when the group is down; the recovery time is counted from it."""
    key: uuid.UUID | None = None
    """Made up by the caller, so that the same request may be made again if its answer was lost."""


class Approval(_Body):
    """What POST /v1/operations/{id}/approve takes. `plan_digest`: of the plan that was read."""

    code: str
    plan_digest: str


class Skipped(_Body):
    """What POST /v1/operations/{id}/skip takes."""

    step: str
    reason: str = pydantic.Field(min_length=1)


Document = dict[str, Any]
Form = Literal["json", "text", "html"]


def asker(caller: Caller) -> Asker:
    """The person behind a token, with what the token's roles are worth."""
    worth = [ROLES[role] for role in caller.roles if role in ROLES]
    return Asker(
        person=Person(id=caller.user_id, name=caller.user),
        privileges=frozenset().union(*worth),
    )


def router(home: Home) -> fastapi.APIRouter:
    """The routes. All need `reader` (or `admin`); deciding needs a role of `ROLES` besides."""
    routes = fastapi.APIRouter(prefix="/v1/operations", tags=["operations"])
    reader, desk = fastapi.Depends(home.require_reader), home.desk

    @routes.get("")
    def list_operations(group: str | None = None, caller: Caller = reader) -> Document:
        """The newest operations, of one group or of all."""
        group_id = home.declared.group(group).id if group else None
        now = time.time()
        return {"operations": [views.short(each, now) for each in desk.operations(group_id)]}

    @routes.post("", status_code=202)
    def request_operation(body: NewOperation, caller: Caller = reader) -> Document:
        """Ask for an operation. The answer has the code that approves it, this once."""
        group = home.declared.group(body.group)
        asked = desk.request(
            asker(caller),
            Request(
                kind=body.kind,
                group_id=group.id,
                group=group.name,
                parameters=_parameters(body),
                four_eyes=home.four_eyes and body.kind is Kind.FAILOVER,
                disaster_at=body.disaster_at.timestamp() if body.disaster_at else None,
                key=str(body.key) if body.key else None,
            ),
        )
        return {"operation": _shown(desk, asked.operation), "code": asked.code}

    @routes.get("/{operation_id}")
    def show_operation(operation_id: str, caller: Caller = reader) -> Document:
        """Its plan, what will be lost, its steps, and what can be decided now."""
        return {"operation": _shown(desk, desk.operation(operation_id))}

    @routes.post("/{operation_id}/approve")
    def approve_operation(operation_id: str, body: Approval, caller: Caller = reader) -> Document:
        """Approve the plan that was read, with the code that the requester was shown."""
        found = desk.approve(
            asker(caller), operation_id, code=body.code, plan_digest=body.plan_digest
        )
        return {"operation": _shown(desk, found)}

    @routes.post("/{operation_id}/commit")
    def commit_operation(operation_id: str, caller: Caller = reader) -> Document:
        """Make final what runs now."""
        return {"operation": _shown(desk, desk.commit(asker(caller), operation_id))}

    @routes.post("/{operation_id}/rollback")
    def roll_back_operation(operation_id: str, caller: Caller = reader) -> Document:
        """Take everything away again."""
        return {"operation": _shown(desk, desk.roll_back(asker(caller), operation_id))}

    @routes.post("/{operation_id}/retry")
    def retry_operation(operation_id: str, caller: Caller = reader) -> Document:
        """Try the failed steps again."""
        return {"operation": _shown(desk, desk.retry(asker(caller), operation_id))}

    @routes.post("/{operation_id}/skip")
    def skip_step(operation_id: str, body: Skipped, caller: Caller = reader) -> Document:
        """Go on without a failed step, for a reason that is kept."""
        found = desk.skip(asker(caller), operation_id, step=body.step, reason=body.reason)
        return {"operation": _shown(desk, found)}

    @routes.post("/{operation_id}/cancel")
    def cancel_operation(operation_id: str, caller: Caller = reader) -> Document:
        """End it: at once while nothing was done, by rolling back after that."""
        return {"operation": _shown(desk, desk.cancel(asker(caller), operation_id))}

    @routes.get("/{operation_id}/report")
    def operation_report(
        operation_id: str,
        format: Form = "json",
        accept: Annotated[str, fastapi.Header()] = "",
        caller: Caller = reader,
    ) -> fastapi.Response:
        """What was reached, until now or at the end; as a page for a browser, and inside of JSON for
        a client that wants JSON."""
        operation = desk.operation(operation_id)
        found = reporting.report(operation, desk.steps(operation_id), desk.things(operation_id))
        if format == "json":
            return fastapi.Response(reporting.to_json(found), media_type="application/json")
        html = format == "html"
        text = reporting_html.to_html(found) if html else reporting.to_text(found)
        if "application/json" in accept:
            return responses.JSONResponse({"format": format, "text": text})
        return responses.HTMLResponse(text) if html else responses.PlainTextResponse(text)

    @routes.get("/{operation_id}/audit")
    def operation_audit(operation_id: str, caller: Caller = reader) -> Document:
        """Who did what, and whether the whole trail of this site is unbroken."""
        desk.operation(operation_id)
        whole = desk.trail()
        mine = [each for each in whole if each.subject == operation_id]
        return {"entries": [views.entry(each) for each in mine], "broken": trail.broken(whole)}

    return routes


def _parameters(body: NewOperation) -> dict[str, Any]:
    given = {"checkpoint": body.checkpoint, "operation": body.operation}
    return {name: value for name, value in given.items() if value is not None}


def _shown(desk: Desk, operation: Operation) -> Document:
    steps, things = desk.steps(operation.id), desk.things(operation.id)
    return views.whole(operation, steps, things, time.time())
