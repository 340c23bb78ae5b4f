"""Users who go on working while something breaks, and what they noticed.

Four kinds of work, because each depends on something else: `check` (validate a token: the cache, then the database), `read` (a
list, which Keystone never caches: the database), `login` (a password: the database and the queue), `image` (Glance checks a
token at its own site's Keystone), `write` (a new project: the writer site).
"""

import contextlib
import time
from collections.abc import Sequence
from types import TracebackType

from running_lab import Lab

from isthmus.lab import calling, waiting
from isthmus.lab.calling import Call, Client
from isthmus.lab.environment import SiteSpec
from isthmus.lab.probing import Noticed, Probe

# A password costs a quarter of a second of CPU, and all sites share this machine.
PERIODS = {"check": 0.25, "read": 0.25, "image": 0.5, "login": 2.0, "write": 0.5}
LOGIN_URL = "login-url"

# All sites share two cores with whatever is being started or hashed; five seconds is half a client's patience.
SLOW = 5.0


class Users:
    """Several users, each named `<site>/<work>` (or `login-url/<work>`); they work while the context is open."""

    def __init__(self, lab: Lab, names: Sequence[str], *, timeout: float = calling.TIMEOUT) -> None:
        self._lab = lab
        self._timeout = timeout
        self._stack = contextlib.ExitStack()
        self.written: list[str] = []
        self.refused: list[Call] = []
        # Made before anything breaks: tokens of users who logged in earlier.
        self._token = lab.admin
        self._probes = {name: self._probe(name) for name in names}

    def _probe(self, name: str) -> Probe:
        place, work = name.split("/")
        if place == LOGIN_URL:
            client = Client(self._lab.environment.login_address, self._timeout)
        else:
            client = calling.at(self._lab.environment.site(place), self._timeout)
        return Probe(lambda: self._ask(client, work), period=PERIODS[work])

    def _ask(self, client: Client, work: str) -> tuple[bool, str]:
        if work == "check":
            return _judged(client.validate(self._token), 200)
        if work == "read":
            return _judged(client.identity("GET", "/projects?name=demo", token=self._token), 200)
        if work == "image":
            return _judged(client.images(self._token), 200)
        if work == "login":
            return _judged(client.login(self._lab.account("demo")), 201)
        return self._write(client)

    def _write(self, client: Client) -> tuple[bool, str]:
        name = f"probe-{time.monotonic_ns()}"
        call = client.create("project", self._token, name=name, domain_id="default")
        if call.status == 201:
            self.written.append(call.body["project"]["id"])
        else:
            self.refused.append(call)
        return _judged(call, 201)

    def __enter__(self) -> "Users":
        for probe in self._probes.values():
            self._stack.enter_context(probe)
        self.all_served()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def all_served(self, *, after: float = 0.0, deadline: float = 20.0) -> None:
        """Wait until each user has been served once since `after` (monotonic seconds)."""

        def unserved() -> str | None:
            waits = [name for name in self._probes if self.resumed(name, after) is None]
            return (
                f"not served: {', '.join(f'{n} ({self.last(n)})' for n in waits)}"
                if waits
                else None
            )

        waiting.until(unserved, deadline=deadline, what="users are not served", where="lab")

    def resumed(self, name: str, after: float) -> float | None:
        """Seconds from `after` until the user was first served by a request sent since; None: not yet."""
        good = (s for s in self._probes[name].samples() if s.good and s.sent >= after)
        return next((s.answered - after for s in good), None)

    def until_served(self, name: str, after: float, *, deadline: float) -> float:
        """Wait until a request sent since `after` succeeds; returns the seconds from `after`."""
        waiting.until(
            lambda: None if self.resumed(name, after) is not None else self.last(name),
            deadline=deadline,
            what=f"{name} is not served",
            where="lab",
        )
        seconds = self.resumed(name, after)
        assert seconds is not None
        return seconds

    def last(self, name: str) -> str:
        samples = self._probes[name].samples()
        return samples[-1].said if samples else "no answer yet"

    def noticed(self, name: str, since: float) -> Noticed:
        """What one user noticed since `since` (monotonic seconds)."""
        return self._probes[name].noticed(since)

    def everything(self, since: float) -> dict[str, Noticed]:
        return {name: self.noticed(name, since) for name in self._probes}

    @staticmethod
    def now() -> float:
        """The clock of all samples."""
        return time.monotonic()

    def assert_unbothered(
        self, since: float, names: Sequence[str] = (), *, gap: float = SLOW, errors: int = 0
    ) -> None:
        """For `names` (all if empty): at most `errors` failed requests, and nobody waited longer than `gap` seconds.

        A user's own pause is not waiting.
        """
        for name in names or self._probes:
            seen = self.noticed(name, since)
            assert seen.errors <= errors, f"{name}: {seen}"
            pause = PERIODS[name.split("/")[1]]
            assert seen.longest_gap <= gap + pause, f"{name}: {seen}"


def names(sites: Sequence[SiteSpec], *work: str) -> list[str]:
    """User names for each kind of work at each site."""
    return [f"{site.name}/{kind}" for site in sites for kind in work]


def _judged(call: Call, status: int) -> tuple[bool, str]:
    return call.status == status, call.said


def lasting(seconds: float, *, why: str) -> None:
    """Let users work for a while: a window of observation whose length has a reason, not a wait for something to happen."""
    end = time.monotonic() + seconds
    waiting.until(
        lambda: None if time.monotonic() >= end else f"watching ({why})",
        deadline=seconds + 5,
        what="the window does not end",
        where="lab",
    )
