"""The identity chapter: one login for three sites, checked locally, through a cut link and the loss of a site."""

import json
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from isthmus.errors import IsthmusError
from isthmus.identity.config import AGENT_PORT
from isthmus.lab import calling, faults, network, waiting
from isthmus.lab.calling import Account, Call
from isthmus.lab.components import arbitrator, identity_db
from isthmus.lab.environment import Environment, SiteSpec
from isthmus.lab.home import Home
from isthmus.lab.probing import Probe
from isthmus.lab.tour.steps import Tour, expect
from isthmus.lab.units import Unit

VALIDATIONS = 50

# Group communication takes 6 s to exclude a dead member, the load balancer 2 s to follow; a loaded machine doubles it.
WRITES_DEADLINE = 45.0


@dataclass(kw_only=True)
class Chapter:
    """The tour's state: the lab, who logs in, and what earlier steps left for later ones."""

    tour: Tour
    home: Home
    units: Mapping[str, Unit]
    environment: Environment
    demo: Account
    admin: Account
    token: str = field(default="", repr=False)
    visitor: Account | None = None
    revoked: str = field(default="", repr=False)
    project: str = ""

    @property
    def paris(self) -> SiteSpec:
        return self.environment.writers[0]

    @property
    def lyon(self) -> SiteSpec:
        return self.environment.writers[1]

    @property
    def madrid(self) -> SiteSpec:
        return self.environment.replicas[0]

    def admin_token(self, site: SiteSpec) -> str:
        """A fresh admin token from `site`."""
        return _good(calling.at(site).login(self.admin), 201, "an admin login", site.name).token


def take(tour: Tour, home: Home, units: Mapping[str, Unit], environment: Environment) -> None:
    """All steps of the chapter, in order, on a lab that is up."""
    template = next(iter(units.values())).context.template
    chapter = Chapter(
        tour=tour,
        home=home,
        units=units,
        environment=environment,
        demo=calling.account(template, "demo"),
        admin=calling.account(template, "admin"),
    )
    step = tour.step
    paris, madrid = _title(chapter.paris), _title(chapter.madrid)
    step(f"log in once at {paris}", lambda: _login(chapter))
    step("use the token in every region", lambda: _use_everywhere(chapter))
    step(f"check {VALIDATIONS} tokens at {madrid}", lambda: _count_bytes(chapter))
    step(f"cut {madrid} off", lambda: _cut(chapter))
    step(f"work at {madrid} alone", lambda: _work_alone(chapter))
    step("heal, queued writes arrive", lambda: _heal(chapter))
    step(f"kill {paris}", lambda: _kill(chapter))
    step(f"write without {paris}", lambda: _write_without(chapter))
    step(f"{paris} comes back", lambda: _return(chapter))


def _login(chapter: Chapter) -> str:
    call = _good(calling.at(chapter.paris).login(chapter.demo), 201, "a login", chapter.paris.name)
    chapter.token = call.token
    chapter.visitor = _new_user(chapter)
    chapter.tour.figure("login_s", call.seconds, "s")
    return f"demo has a token of {len(call.token)} characters after {call.seconds:.2f} s"


def _new_user(chapter: Chapter) -> Account:
    """A user who has never logged in: the first login of a day is a write in Keystone, which a replica refuses."""
    client, token = calling.at(chapter.paris), chapter.admin_token(chapter.paris)
    name, password = f"visitor-{uuid.uuid4().hex[:8]}", uuid.uuid4().hex
    where = chapter.paris.name
    demo = _good(client.validate(chapter.token), 200, "the token's description", where).body[
        "token"
    ]
    project, role = demo["project"]["id"], demo["roles"][0]["id"]
    created = client.create("user", token, name=name, password=password, domain_id="default")
    user = _good(created, 201, "a new user", where).body["user"]["id"]
    granted = client.identity("PUT", f"/projects/{project}/users/{user}/roles/{role}", token=token)
    _good(granted, 204, "a role assignment", where)
    return Account(user=name, password=password, project=chapter.demo.project)


def _use_everywhere(chapter: Chapter) -> str:
    seconds = []
    for site in chapter.environment.sites:
        call = calling.at(site).images(chapter.token)
        seconds.append(
            _good(
                call, 200, f"Glance takes the token from {_title(chapter.paris)}", site.name
            ).seconds
        )
    return f"Glance answers in {len(seconds)} regions, {max(seconds):.2f} s at most"


def _count_bytes(chapter: Chapter) -> str:
    client = calling.at(chapter.madrid)
    _good(client.validate(chapter.token), 200, "a valid token", chapter.madrid.name)
    before, began = _wan(chapter), time.monotonic()
    for _ in range(VALIDATIONS):
        _good(client.validate(chapter.token), 200, "a valid token", chapter.madrid.name)
    busy, middle = _wan(chapter), time.monotonic()
    # The same time without a validation shows what replication and health checks cost anyway.
    waiting.until(
        lambda: None if time.monotonic() - middle >= middle - began else "measuring",
        deadline=120.0,
        what="the idle window does not end",
        where=chapter.madrid.name,
    )
    idle = _wan(chapter)
    per_kind = {kind: busy[kind] - before[kind] for kind in busy}
    asked = per_kind["identity"] + per_kind["sql"]
    total, rest = sum(per_kind.values()), sum(idle.values()) - sum(busy.values())
    chapter.tour.figure("wan_identity_and_sql_bytes", asked, "B")
    chapter.tour.figure("wan_all_bytes", total, "B")
    chapter.tour.figure("wan_idle_bytes", rest, "B")
    chapter.tour.figure("validation_ms", 1000 * (middle - began) / VALIDATIONS, "ms")
    expect(
        asked == 0,
        f"no byte on the identity and SQL ports of the links of {_title(chapter.madrid)}",
        where=chapter.madrid.name,
        seen=f"{per_kind['identity']} B identity, {per_kind['sql']} B SQL",
    )
    return f"0 B for identity and SQL; all traffic {total} B, as much time without a check {rest} B"


def _wan(chapter: Chapter) -> dict[str, int]:
    """Bytes on the replica site's links so far, by kind."""
    sums: dict[str, int] = {}
    for traffic in network.traffic(chapter.environment):
        if chapter.madrid.name in traffic.link.split("-"):
            sums[traffic.kind] = sums.get(traffic.kind, 0) + traffic.bytes
    return sums


def _cut(chapter: Chapter) -> str:
    links = faults.cut(chapter.environment, chapter.madrid.name)
    return f"nothing passes on {', '.join(links)}"


def _work_alone(chapter: Chapter) -> str:
    madrid, where = calling.at(chapter.madrid), chapter.madrid.name
    assert chapter.visitor is not None  # noqa: S101 - made by the first step
    first = _good(madrid.login(chapter.visitor), 201, "a user's first login", where)
    _good(madrid.images(first.token), 200, "Glance takes the new token", where)
    wrong = Account(user=chapter.demo.user, password="wrong", project=chapter.demo.project)  # noqa: S106
    _good(madrid.login(wrong), 401, "a wrong password is refused", where)
    second = _good(madrid.login(chapter.visitor), 201, "a second login", where)
    _good(madrid.revoke(second.token, by=first.token), 204, "a revocation", where)
    chapter.revoked = second.token
    refused = [madrid.validate(second.token, by=first.token).status for _ in range(6)]
    expect(
        set(refused) <= {401, 404},
        "the revoked token is refused at once",
        where=where,
        seen=str(refused),
    )
    admin = chapter.admin_token(chapter.madrid)
    created = madrid.create(
        "project", admin, name=f"refused-{uuid.uuid4().hex[:8]}", domain_id="default"
    )
    _good(created, 503, "a write that must be strict is refused with a clear 503", where)
    pending = _queue(chapter)
    expect(pending > 0, "writes wait in the queue", where=where, seen=f"{pending} waiting")
    chapter.tour.figure("cut_off_login_s", first.seconds, "s")
    return f"first login in {first.seconds:.2f} s, Glance, 401, revocation: all local; {pending} writes wait"


def _heal(chapter: Chapter) -> str:
    faults.heal(chapter.home, chapter.environment, chapter.madrid.name)
    arrived = waiting.until(
        lambda: f"{_queue(chapter)} writes wait" if _queue(chapter) else None,
        deadline=30.0,
        what="the queued writes do not arrive",
        where=chapter.madrid.name,
    )
    client, admin = calling.at(chapter.paris), chapter.admin_token(chapter.paris)
    waiting.until(
        lambda: "still valid" if client.validate(chapter.revoked, by=admin).status == 200 else None,
        deadline=15.0,
        what=f"the revocation does not hold at {_title(chapter.paris)}",
        where=chapter.paris.name,
    )
    chapter.tour.figure("queue_drained_s", arrived, "s")
    # The cut took the third vote away. Until it is back, the loss of a writer site would leave one vote of two.
    began = time.monotonic()
    waiting.until(
        lambda: _votes_missing(chapter),
        deadline=60.0,
        what="the arbitrator does not vote again",
        where=chapter.madrid.name,
    )
    chapter.tour.figure("vote_back_s", arrived + time.monotonic() - began, "s")
    return (
        f"the queue is empty after {arrived:.1f} s; {_title(chapter.paris)} refuses the token that"
        f" {_title(chapter.madrid)} revoked"
    )


def _votes_missing(chapter: Chapter) -> str | None:
    """None if the cluster of the writer sites counts every vote again."""
    try:
        for unit in chapter.units.values():
            if unit.context.name in (arbitrator.NAME, identity_db.NAME):
                unit.component.test(unit.context)
    except IsthmusError as error:
        return str(error)
    return None


def _queue(chapter: Chapter) -> int:
    """How many writes wait at the replica site, as its agent says."""
    url = f"http://{chapter.madrid.management}:{AGENT_PORT}/status"
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            document: dict[str, Any] = json.load(answer)
    except (urllib.error.URLError, TimeoutError) as error:
        expect(False, "the agent answers", where=chapter.madrid.name, seen=str(error))
        raise
    return int(document["queue"].get("pending", 0))


def _kill(chapter: Chapter) -> str:
    token = _good(
        calling.at(chapter.madrid).login(chapter.demo), 201, "a login", chapter.madrid.name
    ).token
    survivors = [chapter.lyon, chapter.madrid]
    probes = {site.name: Probe(lambda s=site: _check(s, token), period=0.1) for site in survivors}  # type: ignore[misc]
    writer = Probe(lambda: _write(chapter), period=0.5)
    with probes[survivors[0].name], probes[survivors[1].name]:
        begun = time.monotonic()
        hit = faults.kill(chapter.home, chapter.units, chapter.paris.name)
        with writer:
            waiting.until(
                lambda: None if any(s.good for s in writer.samples()) else _last(writer),
                deadline=WRITES_DEADLINE,
                what="writes do not resume",
                where=chapter.lyon.name,
            )
        resumed = next(s.answered for s in writer.samples() if s.good) - begun
        noticed = {name: probe.noticed(begun) for name, probe in probes.items()}
    chapter.tour.figure("writes_resume_s", resumed, "s")
    for name, seen in noticed.items():
        chapter.tour.figure(f"{name}_read_errors", seen.errors, "requests")
        chapter.tour.figure(f"{name}_read_longest_gap_s", seen.longest_gap, "s")
        expect(
            seen.errors == 0,
            f"no read fails while {_title(chapter.paris)} dies",
            where=name,
            seen=str(seen),
        )
    told = "; ".join(f"{name}: {seen}" for name, seen in noticed.items())
    return f"{hit} processes killed; {told}; writes resume after {resumed:.1f} s"


def _check(site: SiteSpec, token: str) -> tuple[bool, str]:
    call = calling.at(site).validate(token)
    return call.status == 200, call.said


def _write(chapter: Chapter) -> tuple[bool, str]:
    client = calling.at(chapter.lyon)
    login = client.login(chapter.admin)
    if login.status != 201:
        return False, login.said
    call = client.create(
        "project", login.token, name=f"lyon-{uuid.uuid4().hex[:8]}", domain_id="default"
    )
    return call.status == 201, call.said


def _last(probe: Probe) -> str:
    samples = probe.samples()
    return f"{len(samples)} tries, the last: {samples[-1].said}" if samples else "no answer yet"


def _write_without(chapter: Chapter) -> str:
    lyon, madrid = calling.at(chapter.lyon), calling.at(chapter.madrid)
    here, there = chapter.admin_token(chapter.lyon), chapter.admin_token(chapter.madrid)
    made = lyon.create("project", here, name=f"new-{uuid.uuid4().hex[:8]}", domain_id="default")
    chapter.project = _good(made, 201, "a new project", chapter.lyon.name).body["project"]["id"]
    seen = waiting.until(
        lambda: _absent(madrid.identity("GET", f"/projects/{chapter.project}", token=there)),
        deadline=15.0,
        what="the project is not seen",
        where=chapter.madrid.name,
        interval=0.01,
    )
    chapter.tour.figure("project_seen_ms", 1000 * seen, "ms")
    made_at, seen_at = _title(chapter.lyon), _title(chapter.madrid)
    return f"a project made in {made_at} is seen in {seen_at} after {1000 * seen:.0f} ms"


def _return(chapter: Chapter) -> str:
    began = time.monotonic()
    faults.resume(chapter.home, chapter.units, chapter.paris.name, chapter.tour.progress)
    client = calling.at(chapter.paris)
    waiting.until(
        lambda: _missing_at(client, chapter),
        deadline=30.0,
        what=f"{_title(chapter.paris)} lacks what was written without it",
        where=chapter.paris.name,
    )
    back = time.monotonic() - began
    chapter.tour.figure("return_s", back, "s")
    return f"{_title(chapter.paris)} serves again after {back:.1f} s and has the project that was made without it"


def _missing_at(client: calling.Client, chapter: Chapter) -> str | None:
    login = client.login(chapter.admin)
    if login.status != 201:
        return f"login: {login.said}"
    return _absent(client.identity("GET", f"/projects/{chapter.project}", token=login.token))


def _title(site: SiteSpec) -> str:
    """A site's name in a sentence."""
    return site.name.title()


def _absent(call: Call) -> str | None:
    return None if call.status == 200 else call.said


def _good(call: Call, status: int, what: str, where: str) -> Call:
    expect(call.status == status, f"{what} ({status})", where=where, seen=call.said)
    return call
