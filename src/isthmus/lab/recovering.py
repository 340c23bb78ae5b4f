"""What people do to protect a VNF of the lab, rehearse, and bring it back: the commands of the one who asks and of the one who
approves, and what the guests say of themselves.

Shared by the tour and the tests. Both hold the lab's lock, so that nothing here is a command that changes the lab itself. Guests
are asked by the agents of their hosts, as the site's engine asks them.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from isthmus import errors as product
from isthmus.engine.calling import Callees, host_agents
from isthmus.errors import IsthmusError
from isthmus.lab import calling, clients, errors, inside, templates, vnf, waiting
from isthmus.lab.components import base, host_agent
from isthmus.lab.environment import Environment, SiteSpec
from isthmus.lab.guest_image.records import Cut
from isthmus.lab.home import Home
from isthmus.lab.processes import clean_environment
from isthmus.lab.running import Completed, run
from isthmus.lab.templates import Template
from isthmus.lab.units import Unit
from isthmus.lab.vnf import Vnf
from isthmus.recovery import probing
from isthmus.recovery.freezing.hosts import HostAgents
from isthmus.recovery.freezing.ledger import Whereabouts

# Six volumes are hashed and copied beside three emulated guests, on two cores.
OPERATION_SECONDS = 900.0
# Three emulated guests: one number from one end to the other takes seconds.
GOES_ON_SECONDS = 120.0
COMMAND_SECONDS = 120.0
# The other writer site takes over in seconds; here six emulated guests may share its machine.
LOGIN_SECONDS = 120.0

# What the lab has in both sites under one name.
SAME_NAME = (
    *("flavor", "network", "subnet", "volume-type", "zone", "keypair"),
    *("security-group", "image", "server-group"),
)

# Where each guest of the protocol has its log, from who has least to who has most.
LOGS = {"database": "persisted", "middle": "acknowledged", "client": "issued"}


def _untold(_line: str) -> None:
    """For whoever wants no progress."""


@dataclass(frozen=True, kw_only=True)
class Recovering:
    """The people of a running lab. `told` hears each line of progress of the operations that are waited for.

    What a command or a guest refuses is raised as `IsthmusError`.
    """

    home: Home
    environment: Environment
    units: Mapping[str, Unit]
    told: Callable[[str], None] = _untold
    _clouds: dict[str, vnf.Site] = field(default_factory=dict, init=False, repr=False)

    # Commands

    def run(
        self,
        words: Sequence[str],
        *,
        seconds: float = COMMAND_SECONDS,
        text: str = "",
        approver: bool = False,
    ) -> Completed:
        """A command of the one who asks, or of the approver, whatever it leaves with; `text` goes to its input."""
        exports = clients.exports(self.home, self.environment, approver=approver)
        return run(
            [base.script("isthmus"), *words],
            env={**clean_environment(), **exports},
            timeout=seconds,
            stdin=text,
            check=False,
            told=self.told,
        )

    def isthmus(self, *words: str, codes: Sequence[int] = (0,), **options: Any) -> Any:
        """What a command prints as JSON; it must leave with one of `codes`."""
        return _document(self.run([*words, "-f", "json"], **options), codes)

    def ask(self, kind: str, group: str, *, ask: str, disaster_at: str | None = None) -> Any:
        """Ask for a drill or a failover and wait until it is planned: the operation, with the code that approves it."""
        since = ["--disaster-at", disaster_at] if disaster_at else []
        asked = self.isthmus("operation", kind, group, "--ask", ask, *since)
        planned = self.wait(asked["id"], ask=ask, seconds=COMMAND_SECONDS)
        return {**reached(planned, "awaiting-approval"), "code": asked["code"]}

    def wait(self, identity: str, *, ask: str, seconds: float = OPERATION_SECONDS) -> Any:
        """Wait until nobody but a person can go on with an operation, or it has ended: the operation."""
        words = ("operation", "wait", identity, "--ask", ask)
        return self.isthmus(*words, codes=(0, 1, 2), seconds=seconds)

    def approve(self, asked: Mapping[str, Any], *, ask: str) -> Any:
        """Approve as the other person, who was told the code, and wait until nobody but a person can go on."""
        words = ("operation", "approve", asked["id"], "--ask", ask, "--code-file", "-", "--wait")
        return self._decided(*words, text=str(asked["code"]), approver=True)

    def commit(self, identity: str, *, ask: str) -> Any:
        """Make a failover final, as the approver."""
        words = ("operation", "commit", identity, "--ask", ask, "--wait")
        return self._decided(*words, approver=True)

    def protect(self, group: str) -> Any:
        """Make a checkpoint: the operation when it has ended."""
        return self._decided("operation", "protect", group, "--wait")

    def _decided(self, *words: str, **options: Any) -> Any:
        return self.isthmus(*words, codes=(0, 1, 2), seconds=OPERATION_SECONDS, **options)

    def report(self, identity: str, *, ask: str) -> Any:
        """What an operation reached, and what its steps counted."""
        words = ("operation", "report", identity, "--ask", ask, "--format", "json")
        return _document(self.run(words), (0,))

    def declare(self, made: Vnf, *, backup_site: str, policy: str) -> Any:
        """Declare policy, group and plan of a VNF, as far as they are not declared yet; the group."""
        policies = self.isthmus("policy", "list", "--ask", made.site)
        if policy not in {each["Name"] for each in policies}:
            settings = ("--site", made.site, "--driver", "rbd", "--keep", "2")
            self.isthmus("policy", "create", policy, *settings)
        groups = self.isthmus("group", "list", "--ask", made.site)
        if made.name in {each["Name"] for each in groups}:
            group = self.isthmus("group", "show", made.name, "--ask", made.site)
        else:
            group = self.isthmus(*made.declare(backup_site=backup_site, policy=policy)[1:])
        if {each["server_id"] for each in group["members"]} != {
            each.server_id for each in made.members
        }:
            raise errors.BadRequest(
                what=f"group {made.name} protects other servers than those of the VNF",
                where=made.site,
                cause=f"the VNF was made anew. First: isthmus group delete {made.name}",
            )
        plan = {"source": made.site, "target": backup_site, "same_name": SAME_NAME}
        words = ("plan", "set", made.name, "--ask", backup_site, "--file", "-")
        self.isthmus(*words, text=json.dumps(plan))
        return group

    # Clouds and guests

    def cloud(self, site: SiteSpec) -> vnf.Site:
        """A site as its administrator and as user `demo` see it."""
        if site.name not in self._clouds:
            self._clouds[site.name] = vnf.Site(self.home, site)
        return self._clouds[site.name]

    def things(self) -> dict[str, set[str]]:
        """What an operation could leave behind or disturb, by site and kind (`paris servers`)."""
        return {
            f"{site.name} {kind}": found
            for site in templates.computing(self.environment)
            for kind, found in self.cloud(site).things().items()
        }

    @property
    def _template(self) -> Template:
        return next(iter(self.units.values())).context.template

    def logs_in(self, site: SiteSpec) -> float:
        """Wait until a site logs its administrator in, for it may have lost another one; seconds. Raises `errors.NotReady`."""
        admin = calling.account(self._template, "admin")

        def refused() -> str | None:
            call = calling.at(site).login(admin)
            return None if call.status == 201 else call.said

        return waiting.until(
            refused,
            deadline=LOGIN_SECONDS,
            what="nobody can log in",
            where=site.name,
            interval=0.5,
        )

    def execute(
        self, site: SiteSpec, server_id: str, words: Sequence[str], *, seconds: float = 60.0
    ) -> tuple[int, str]:
        """Exit code and last words of a command in a server's guest. Raises UnavailableError while the guest does not answer."""
        where = Whereabouts.of(self.cloud(site).seen(server_id))
        agents = HostAgents(self._agents(site))
        return inside.within(
            site.namespace, lambda: agents.execute(where.host, where.domain, words, seconds)
        )

    def armed(self, site: SiteSpec) -> dict[str, str]:
        """What guests whose dead-men are armed say now (`frozen`, `thawed`), by server id."""
        agents = self._agents(site)
        told = inside.within(
            site.namespace, lambda: [agents.get(host, "/freezes") for host in agents.names]
        )
        return {each["server_id"]: each["guest"] for found in told for each in found["freezes"]}

    def _agents(self, site: SiteSpec) -> Callees:
        """The agents of a site's hosts, as its engine asks them."""
        urls = {
            each.name: f"http://{host_agent.endpoint(each.address)}" for each in site.host_specs
        }
        secret = self._template.secret(host_agent.SIGNING)
        return host_agents(urls, secret.encode(), site.name)

    def counts(self, site: SiteSpec, servers: Mapping[str, str]) -> Cut:
        """How far the three guests (ids by role) are. They count on while they are read, so whoever has least is read first."""
        return Cut(
            **{log: self._lines(site, servers[role], f"{log}.log") for role, log in LOGS.items()}
        )

    def _lines(self, site: SiteSpec, server_id: str, log: str) -> int:
        command = f"cat /data/vdb/{log} 2>/dev/null | wc -l"
        code, output = self.execute(site, server_id, ("/bin/sh", "-c", command))
        if code != 0 or not output.strip().isdigit():
            raise errors.Refused(
                what=f"the count of {log}", where=f"server {server_id}", cause=output.strip()
            )
        return int(output)

    def goes_on(
        self, site: SiteSpec, servers: Mapping[str, str], *, beyond: Cut | None = None
    ) -> Cut:
        """Wait until each of the three guests has more numbers than it had; what they have then. Raises `errors.NotReady`."""
        begun = beyond or Cut(issued=0, acknowledged=0, persisted=0)
        seen = begun

        def standing() -> str | None:
            nonlocal seen
            try:
                seen = self.counts(site, servers)
            except product.UnavailableError as error:
                return str(error)
            still = [log for log in LOGS.values() if getattr(seen, log) <= getattr(begun, log)]
            return f"{', '.join(still)} stand still at {seen}" if still else None

        waiting.until(
            standing,
            deadline=GOES_ON_SECONDS,
            what="the protocol of the VNF does not go on",
            where=site.name,
            interval=2.0,
        )
        return seen

    def judged(self, site: SiteSpec, servers: Mapping[str, str]) -> tuple[int, int]:
        """Records of all guests that are good and bad, as each guest's own test says."""
        good = bad = 0
        for role, server_id in servers.items():
            code, output = self.execute(
                site, server_id, (vnf.VERIFY,), seconds=probing.TEST_SECONDS
            )
            said = probing.figures(output)
            if not {"records_verified", "records_bad"} <= said.keys():
                raise errors.Refused(
                    what=f"the judgement of {role}'s records",
                    where=f"server {server_id} in {site.name}",
                    cause=f"exit code {code}: {output.strip()[-300:]}",
                )
            good, bad = good + int(said["records_verified"]), bad + int(said["records_bad"])
        return good, bad


def reached(operation: Any, phase: str, outcome: str | None = None) -> Any:
    """The operation, if it is in that phase with that outcome. Raises `IsthmusError` with what stopped it."""
    if (operation["phase"], operation["outcome"]) == (phase, outcome):
        return operation
    steps = [each for each in operation["steps"] if each["error"] and each["state"] != "done"]
    found = [each for each in operation["findings"] if each["level"] == "ERROR"]
    causes = [
        # The reason of a refusal is its findings, without their causes.
        *([operation["reason"]] if operation["reason"] and not found else []),
        *(": ".join(filter(None, (each["summary"], each["cause"]))) for each in found),
        *(f"{each['title']}: {each['error']}" for each in steps),
    ]
    raise IsthmusError(
        f"the {operation['kind']} of group {operation['group']} is {operation['outcome'] or operation['phase']}",
        where=f"operation {operation['id']} in {operation['site']}",
        cause="; ".join(causes) or f"expected: {outcome or phase}",
        unchanged="what it has made is listed by the operation",
        next_command=f"isthmus operation show {operation['id']} --ask {operation['site']}",
    )


def _document(done: Completed, codes: Sequence[int]) -> Any:
    if done.code not in codes:
        said = done.stderr.strip() or done.stdout.strip()
        raise errors.CommandFailed(done.argv, cause=f"exit {done.code}: {said[-1500:]}")
    return json.loads(done.stdout)
