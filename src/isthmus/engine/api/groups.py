"""`/v1/groups`, `/v1/policies`, `/v1/plans`, `/v1/checkpoints`: what is protected, and how.

Documents are those of `isthmus.recovery.declarations`, `mapping` and `checkpoints`; what is wrong
with one is said by its field. Nothing here asks a cloud but `plans/{name}/validate`.
"""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Protocol

import fastapi

from isthmus import errors
from isthmus.engine.rights import Caller
from isthmus.operations.desk import Desk
from isthmus.operations.values import Phase
from isthmus.recovery import documents
from isthmus.recovery.checkpoints import Checkpoint
from isthmus.recovery.declarations import Group, Policy
from isthmus.recovery.findings import Finding
from isthmus.recovery.flows.declared import Declared
from isthmus.recovery.mapping import Mapping

Document = dict[str, Any]
Body = Annotated[Document, fastapi.Body()]


class Home(Protocol):
    """What is needed of the engine."""

    @property
    def site(self) -> str: ...

    @property
    def declared(self) -> Declared: ...

    @property
    def desk(self) -> Desk: ...

    @property
    def require_reader(self) -> Callable[..., Caller]: ...

    @property
    def require_admin(self) -> Callable[..., Caller]: ...

    def validate(self, plan: Mapping, *, create: bool) -> Sequence[Finding]:
        """What would keep the groups of a plan from coming back now; `create`: make first what can
        be made safely."""

    def findings(self, group_id: str) -> Sequence[Finding]:
        """What is known of a group's members in this site that may not run here."""

    def rebuild(self) -> tuple[tuple[int, int, int], Sequence[Finding]]:
        """How many groups, policies and checkpoints were learnt from the remote store, and what is
        wrong with the others."""


def router(home: Home) -> fastapi.APIRouter:
    """The routes; reading needs `reader` or `admin`, everything else `admin`."""
    routes = fastapi.APIRouter(prefix="/v1", tags=["protection groups"])
    _groups(routes, home)
    _policies(routes, home)
    _plans(routes, home)
    _checkpoints(routes, home)
    return routes


def _groups(routes: fastapi.APIRouter, home: Home) -> None:
    admin, reader = fastapi.Depends(home.require_admin), fastapi.Depends(home.require_reader)
    known = home.declared

    @routes.get("/groups")
    def list_groups(caller: Caller = reader) -> Document:
        """All groups, each with its newest checkpoint that can be returned to and its findings."""
        return {"groups": [_shown(home, each) for each in known.groups()]}

    @routes.post("/groups", status_code=201)
    def create_group(body: Body, caller: Caller = admin) -> Document:
        """Declare a group; `id`, `site` and `project_id` are filled in if they are left out."""
        filled = {
            "id": str(uuid.uuid4()),
            "site": home.site,
            "project_id": caller.project_id or "",
            **body,
        }
        return {"group": known.create_group(Group.from_document(filled)).to_document()}

    @routes.get("/groups/{name}")
    def show_group(name: str, caller: Caller = reader) -> Document:
        """A group with its order, its newest checkpoint and its findings."""
        return {"group": _shown(home, known.group(name))}

    @routes.patch("/groups/{name}")
    def change_group(name: str, body: Body, caller: Caller = admin) -> Document:
        """Change members, policy, name or backup site; what is left out stays."""
        group = known.group(name)
        _fixed(body, "id", "site", "project_id", "revision")
        document = {**group.to_document(), **body, "revision": group.revision + 1}
        return {"group": known.change_group(Group.from_document(document)).to_document()}

    @routes.delete("/groups/{name}", status_code=204)
    def delete_group(name: str, caller: Caller = admin) -> None:
        """Forget a group on which no operation is under way."""
        group = known.group(name)
        busy = [each for each in home.desk.operations(group.id) if each.phase is not Phase.FINISHED]
        if busy:
            raise errors.BusyError(
                f"the group {group.name} was not deleted",
                cause=f"{busy[0].kind} {busy[0].id} is {busy[0].phase}",
                unchanged="nothing was changed",
                next_command=f"isthmus operation show {busy[0].id}",
            )
        known.delete_group(group)


def _policies(routes: fastapi.APIRouter, home: Home) -> None:
    admin, reader = fastapi.Depends(home.require_admin), fastapi.Depends(home.require_reader)
    known = home.declared

    @routes.get("/policies")
    def list_policies(caller: Caller = reader) -> Document:
        """All policies."""
        return {"policies": [each.to_document() for each in known.policies()]}

    @routes.post("/policies", status_code=201)
    def create_policy(body: Body, caller: Caller = admin) -> Document:
        """Declare a policy."""
        return {"policy": known.create_policy(Policy.from_document(body)).to_document()}

    @routes.get("/policies/{name}")
    def show_policy(name: str, caller: Caller = reader) -> Document:
        """One policy."""
        return {"policy": known.policy(name).to_document()}

    @routes.patch("/policies/{name}")
    def change_policy(name: str, body: Body, caller: Caller = admin) -> Document:
        """Change a policy; what is left out stays."""
        _fixed(body, "name")
        document = {**known.policy(name).to_document(), **body}
        return {"policy": known.change_policy(Policy.from_document(document)).to_document()}

    @routes.delete("/policies/{name}", status_code=204)
    def delete_policy(name: str, caller: Caller = admin) -> None:
        """Forget a policy that no group uses."""
        known.delete_policy(name)


def _plans(routes: fastapi.APIRouter, home: Home) -> None:
    admin, reader = fastapi.Depends(home.require_admin), fastapi.Depends(home.require_reader)
    known = home.declared

    @routes.get("/plans")
    def list_plans(caller: Caller = reader) -> Document:
        """All recovery plans."""
        return {"plans": [each.to_document() for each in known.plans()]}

    @routes.put("/plans/{name}")
    def put_plan(name: str, body: Body, caller: Caller = admin) -> Document:
        """Declare a recovery plan, or replace the one of that name."""
        plan = Mapping.from_document({**body, "name": name})
        return {"plan": known.put_plan(plan).to_document()}

    @routes.get("/plans/{name}")
    def show_plan(name: str, caller: Caller = reader) -> Document:
        """One recovery plan."""
        return {"plan": known.plan(name).to_document()}

    @routes.delete("/plans/{name}", status_code=204)
    def delete_plan(name: str, caller: Caller = admin) -> None:
        """Forget a recovery plan."""
        known.delete_plan(name)

    @routes.post("/plans/{name}/validate")
    def validate_plan(name: str, create: bool = False, caller: Caller = admin) -> Document:
        """Look in the backup site for everything that the plan's groups need there."""
        found = home.validate(known.plan(name), create=create)
        return {"plan": name, "findings": [documents.write(each) for each in found]}


def _checkpoints(routes: fastapi.APIRouter, home: Home) -> None:
    reader, known = fastapi.Depends(home.require_reader), home.declared
    admin = fastapi.Depends(home.require_admin)

    @routes.get("/checkpoints")
    def list_checkpoints(group: str | None = None, caller: Caller = reader) -> Document:
        """What is known of checkpoints, the newest of each group first."""
        group_id = known.group(group).id if group else None
        return {"checkpoints": [_aged(each) for each in known.checkpoints(group_id)]}

    @routes.post("/rebuild")
    def rebuild(caller: Caller = admin) -> Document:
        """Learn groups, policies and checkpoints from the manifests of the remote store."""
        (groups, policies, checkpoints), found = home.rebuild()
        learnt = {"groups": groups, "policies": policies, "checkpoints": checkpoints}
        return {"learnt": learnt, "findings": [documents.write(each) for each in found]}

    @routes.get("/checkpoints/{checkpoint_id}")
    def show_checkpoint(checkpoint_id: str, caller: Caller = reader) -> Document:
        """One checkpoint."""
        return {"checkpoint": _aged(known.checkpoint(checkpoint_id))}


def _shown(home: Home, group: Group) -> Document:
    newest = home.declared.newest(group.id)
    return {
        **group.to_document(),
        "newest_checkpoint": _aged(newest) if newest else None,
        "findings": [documents.write(each) for each in home.findings(group.id)],
    }


def _aged(checkpoint: Checkpoint) -> Document:
    """With the seconds of data that would be lost by returning to it, by now."""
    now = datetime.datetime.now(datetime.UTC)
    return {**checkpoint.to_document(), "age_seconds": checkpoint.age_s(now)}


def _fixed(body: Document, *names: str) -> None:
    for name in names:
        if name in body:
            raise errors.InputError(
                f"{name} cannot be changed", where=f"field {name}", unchanged="nothing was changed"
            )
