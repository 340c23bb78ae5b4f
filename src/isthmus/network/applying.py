"""Carrying out actions at the Neutron of the own site, and what came of each.

It exists so that every refusal becomes a word for people and never ends the rest: a plan was made
from a look that is milliseconds to seconds old, and another engine of the same site, or a person,
may have been faster. So what is there already counts as done, and what is gone already as deleted.
It plans nothing and repeats nothing: the next plan does.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import enum
import itertools
import urllib.parse
from collections.abc import Callable, Iterator, Sequence

from isthmus.network import wire
from isthmus.network.actions import (
    Action,
    ChangeTags,
    CreateNetwork,
    CreatePort,
    CreateSubnet,
    DeleteNetwork,
    DeletePort,
    DeleteSubnet,
    TagSubnet,
    UpdateNetwork,
    UpdatePort,
    UpdateSubnet,
)
from isthmus.network.declarations import StretchedNetwork
from isthmus.network.findings import Code, Finding
from isthmus.network.local_network import port_words
from isthmus.network.rest import Answer, Api, Failed
from isthmus.outcomes import Outcome as Severity

AT_ONCE = 100
"""Ports in one bulk request: Neutron makes all or none of them in one transaction."""
PARALLEL = 4
"""Deletions and updates under way together: Neutron has no bulk request for them."""
SECONDS_PER_PORT = 1.0
"""Further time to read the answer of a bulk request; a port was seen to take 0.26 s."""


class Result(enum.StrEnum):
    """How an action ended."""

    DONE = "done"
    CLASH = "clash"  # Neutron refused: somebody else has the address, the MAC or the VNI
    QUOTA = "quota"
    REFUSED = "refused"  # any other answer of 4xx
    FAILED = "failed"  # no answer, or 5xx: not known whether it was done; the next plan will tell
    SKIPPED = "skipped"  # an action that it builds on was not done


_HOPELESS = frozenset({Result.QUOTA, Result.FAILED, Result.SKIPPED})
"""After these, further ports of the same plan would fare no better."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one action; `finding` says why when it was not done."""

    action: Action
    result: Result
    object_id: str | None = None
    finding: Finding | None = None


class Applier:
    """Carries out one plan."""

    def __init__(self, api: Api, site: str, declaration: StretchedNetwork) -> None:
        self._api, self._site, self._declaration = api, site, declaration
        self._made: str | None = None
        """The network that this plan has made, or found made by another engine."""

    def apply(self, actions: Sequence[Action]) -> list[Outcome]:
        """One outcome per action, in their order; the order of different kinds is kept."""
        outcomes: list[Outcome] = []
        for kind, group in itertools.groupby(actions, key=type):
            same = list(group)
            if kind is CreatePort:
                outcomes += self._create_ports([a for a in same if isinstance(a, CreatePort)])
            elif kind in (DeletePort, UpdatePort):
                outcomes += self._in_parallel(same)
            else:
                outcomes += [self._one(action) for action in same]
        return outcomes

    def _in_parallel(self, actions: Sequence[Action]) -> Iterator[Outcome]:
        workers = min(PARALLEL, len(actions))
        with concurrent.futures.ThreadPoolExecutor(workers, "neutron") as pool:
            yield from pool.map(self._one, actions)

    def _one(self, action: Action) -> Outcome:
        try:
            return self._carry_out(action)
        except Failed as error:
            return self._failed(action, str(error))

    def _carry_out(self, action: Action) -> Outcome:
        match action:
            case CreateNetwork():
                return self._create_network(action)
            case CreateSubnet():
                return self._create_subnet(action)
            case ChangeTags():
                return self._change_tags(action)
            case CreatePort():
                return self._create_ports([action])[0]
            case _:
                return self._simple(action)

    def _simple(self, action: Action) -> Outcome:
        """Actions of one request."""
        match action:
            case UpdateNetwork(network_id=key, changes=changes):
                answer = self._put(f"/networks/{key}", {"network": dict(changes)})
            case UpdateSubnet(subnet_id=key, changes=changes):
                answer = self._put(f"/subnets/{key}", wire.subnet_changes(dict(changes)))
            case TagSubnet(subnet_id=key, tags=tags):
                answer = self._put(f"/subnets/{key}/tags", {"tags": list(tags)})
            case UpdatePort(port_id=key):
                answer = self._put(f"/ports/{key}", wire.port_changes(action))
            case DeletePort(port_id=key):
                answer = self._delete(f"/ports/{key}")
            case DeleteSubnet(subnet_id=key):
                answer = self._delete(f"/subnets/{key}")
            case DeleteNetwork(network_id=key):
                answer = self._delete(f"/networks/{key}")
            case _:
                raise TypeError(f"no such action: {action!r}")
        return self._done(action, key) if answer.ok else self._refused(action, answer)

    def _put(self, path: str, body: dict[str, object]) -> Answer:
        return self._api.request("PUT", path, body=body)

    def _delete(self, path: str) -> Answer:
        answer = self._api.request("DELETE", path)
        return dataclasses.replace(answer, status=204) if answer.status == 404 else answer

    # --- the network and its subnet

    def _create_network(self, action: CreateNetwork) -> Outcome:
        answer = self._api.request("POST", "/networks", body=wire.network_body(action))
        if answer.status == 409:
            return self._network_in_the_way(action, answer)
        if not answer.ok:
            return self._refused(action, answer)
        self._made = str(answer.body["network"]["id"])
        return self._tag(action, f"/networks/{self._made}", action.tags)

    def _network_in_the_way(self, action: CreateNetwork, answer: Answer) -> Outcome:
        """Another engine's, made a moment ago, or somebody else's."""
        query = [("provider:segmentation_id", str(action.vni))]
        for each in self._api.all("networks", query, wire.NETWORK_FIELDS):
            network = wire.network(each)
            if network.project_id == action.project_id and network.belongs_to(self._declaration.id):
                self._made = network.id
                return self._done(action, network.id)
            owner = f"{self._site}: network {network.name} ({network.id})"
            return self._clash(action, Code.VNI_CLASH, f"VNI {action.vni}", owner)
        return self._refused(action, answer)

    def _create_subnet(self, action: CreateSubnet) -> Outcome:
        network_id = action.network_id or self._made
        if network_id is None:
            return Outcome(action=action, result=Result.SKIPPED)
        answer = self._api.request("POST", "/subnets", body=wire.subnet_body(action, network_id))
        if answer.ok:
            subnet_id = str(answer.body["subnet"]["id"])
            return self._tag(action, f"/subnets/{subnet_id}", action.tags)
        query = [("network_id", network_id)]
        for each in self._api.all("subnets", query, wire.SUBNET_FIELDS):
            if wire.subnet(each).belongs_to(self._declaration.id):
                return self._done(action, each["id"])
        return self._refused(action, answer)

    def _tag(self, action: Action, path: str, tags: Sequence[str]) -> Outcome:
        answer = self._put(f"{path}/tags", {"tags": list(tags)})
        key = path.rpartition("/")[2]
        return self._done(action, key) if answer.ok else self._refused(action, answer)

    def _change_tags(self, action: ChangeTags) -> Outcome:
        """One by one: a list of all tags would undo what somebody else tags meanwhile."""
        answers = [
            self._api.request("PUT", _tag_path(action.network_id, each)) for each in action.add
        ] + [self._delete(_tag_path(action.network_id, each)) for each in action.remove]
        bad = next((each for each in answers if not each.ok), None)
        return self._refused(action, bad) if bad else self._done(action, action.network_id)

    # --- ports in bulk

    def _create_ports(self, actions: Sequence[CreatePort]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for start in range(0, len(actions), AT_ONCE):
            chunk = actions[start : start + AT_ONCE]
            if outcomes and outcomes[-1].result in _HOPELESS:
                outcomes += [Outcome(action=each, result=Result.SKIPPED) for each in chunk]
            else:
                outcomes += self._bulk(chunk)
        return outcomes

    def _bulk(self, actions: Sequence[CreatePort]) -> list[Outcome]:
        """All in one request; if Neutron refuses, in halves, down to the one that is to blame."""
        try:
            answer = self._api.request(
                "POST", "/ports", body={"ports": [wire.port_body(each) for each in actions]},
                more_seconds=SECONDS_PER_PORT * len(actions),
            )  # fmt: skip
        except Failed as error:
            return [self._failed(each, str(error)) for each in actions]
        if answer.ok:
            ids = {each["device_id"]: str(each["id"]) for each in answer.body["ports"]}
            return [self._done(each, ids.get(str(each.origin))) for each in actions]
        if len(actions) == 1:
            return [self._port_refused(actions[0], answer)]
        return self._halves(actions, quota=answer.kind == "OverQuota")

    def _halves(self, actions: Sequence[CreatePort], *, quota: bool) -> list[Outcome]:
        middle = len(actions) // 2
        first, rest_ = self._bulk(actions[:middle]), actions[middle:]
        if quota and first[-1].result is not Result.DONE:
            # The quota was full before these: they need not be tried.
            return first + [Outcome(action=each, result=Result.SKIPPED) for each in rest_]
        return first + self._bulk(rest_)

    def _port_refused(self, action: CreatePort, answer: Answer) -> Outcome:
        if answer.kind == "OverQuota":
            return self._over_quota(action)
        if answer.status != 409:
            return self._refused(action, answer)
        try:
            return self._port_in_the_way(action) or self._refused(action, answer)
        except Failed as error:
            return self._failed(action, str(error))

    def _port_in_the_way(self, action: CreatePort) -> Outcome | None:
        """Another engine's remote port for the same origin, or an owner to be named."""
        here = [("network_id", action.network_id)]
        for code, noun, query in (
            (Code.MAC_CLASH, f"MAC {action.mac}", [("mac_address", action.mac)]),
            *(
                (Code.IP_CLASH, f"address {ip}", [("fixed_ips", f"ip_address={ip}")])
                for ip in action.ips
            ),
        ):
            for each in self._api.all("ports", [*here, *query], wire.PORT_FIELDS):
                port = wire.port(each)
                if port.origin == action.origin:
                    return self._done(action, port.id)
                standing = f", standing for {port.origin}" if port.origin else ""
                owner = f"{self._site}: {port_words(port)}{standing}"
                return self._clash(action, code, noun, owner)
        return None

    # --- words

    def _done(self, action: Action, object_id: str | None) -> Outcome:
        return Outcome(action=action, result=Result.DONE, object_id=object_id)

    def _clash(self, action: Action, code: Code, noun: str, owner: str) -> Outcome:
        claimer = (
            f"{action.origin.site}: port {action.name} ({action.origin.port_id})"
            if isinstance(action, CreatePort)
            else f"declaration {self._declaration.name} ({self._declaration.id})"
        )
        return Outcome(
            action=action,
            result=Result.CLASH,
            finding=self._finding(
                code,
                f"{noun} is taken in {self._site}",
                f"{claimer} and {owner} both claim it",
                "give one of them another one, or delete one; the rest of the plan goes on",
                owners=(claimer, owner),
            ),
        )

    def _over_quota(self, action: CreatePort) -> Outcome:
        finding = self._finding(
            Code.QUOTA,
            f"the port quota of the project is used up in {self._site}",
            f"no room for {action.origin} and those behind it; remote ports count against the project",
            f"openstack quota set --ports NUMBER {action.project_id} --os-region-name {self._site}",
            owners=(f"project {action.project_id}",),
        )
        return Outcome(action=action, result=Result.QUOTA, finding=finding)

    def _refused(self, action: Action, answer: Answer) -> Outcome:
        finding = self._finding(
            Code.REFUSED,
            f"the Neutron of {self._site} refused to {_words(action)}",
            answer.words,
            _REMEDIES.get(
                answer.status, "the next plan tries again; if it stays, ask Neutron's log"
            ),
        )
        return Outcome(action=action, result=Result.REFUSED, finding=finding)

    def _failed(self, action: Action, cause: str) -> Outcome:
        finding = self._finding(
            Code.REFUSED,
            f"the Neutron of {self._site} did not say whether it could {_words(action)}",
            cause,
            f"nothing: the next plan looks again; if it stays, look at the Neutron API of {self._site}",
        )
        return Outcome(action=action, result=Result.FAILED, finding=finding)

    def _finding(
        self, code: Code, summary: str, cause: str, remedy: str, owners: tuple[str, ...] = ()
    ) -> Finding:
        return Finding(
            code=code,
            outcome=Severity.ERROR,
            network=self._declaration.name,
            site=self._site,
            summary=summary,
            cause=cause,
            remedy=remedy,
            owners=owners,
        )


_REMEDIES = {
    401: "check the password file of the engine's user",
    403: "give the engine's user the role admin in its project, and the rules of this release",
}

_VERBS: dict[type[Action], Callable[..., str]] = {
    CreateNetwork: lambda a: f"create network {a.name}",
    UpdateNetwork: lambda a: f"change network {a.network_id}",
    ChangeTags: lambda a: f"tag network {a.network_id}",
    CreateSubnet: lambda a: f"create the subnet {a.cidr}",
    UpdateSubnet: lambda a: f"change subnet {a.subnet_id}",
    TagSubnet: lambda a: f"tag subnet {a.subnet_id}",
    CreatePort: lambda a: f"create the remote port for {a.origin}",
    UpdatePort: lambda a: f"change the remote port for {a.origin}",
    DeletePort: lambda a: f"delete the remote port for {a.origin or a.port_id}",
    DeleteSubnet: lambda a: f"delete subnet {a.subnet_id}",
    DeleteNetwork: lambda a: f"delete network {a.network_id}",
}


def _words(action: Action) -> str:
    return _VERBS[type(action)](action)


def _tag_path(network_id: str, tag: str) -> str:
    return f"/networks/{network_id}/tags/{urllib.parse.quote(tag, safe='')}"
