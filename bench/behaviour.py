"""What a user of each Keystone sees in the cases that a read-only replica, or a dead link, makes difficult: words, no figures."""

from collections.abc import Callable, Mapping, Sequence

from bench import asking
from bench.asking import Ask, Load
from bench.labs import Lab
from bench.results import Cell, Table
from bench.servers import WORDS, Server
from isthmus.lab import faults
from isthmus.lab.calling import Account

# Long enough for every answer that a person would wait for.
_PATIENCE = 6.0

Case = Callable[[Server], str]

CASES = (
    "check a token",
    "login, not the first today",
    "first login of the day",
    "wrong password",
    "revoke a token, then check it",
)


def table(lab: Lab, compared: Sequence[Server], *, cut: bool) -> Table:
    """Each case at each Keystone, with whole links and (if `cut`) with the site cut off. The links are healed again."""
    conditions = ["links whole", *(["site cut off"] if cut else [])]
    rows: list[list[Cell]] = [[WORDS[server.name]] for server in compared]
    with asking.users(lab, lab.paris, 2 * len(compared) * len(conditions)) as users:
        token, by = lab.login(lab.paris, "demo"), lab.login(lab.paris, "admin")
        fresh = asking.tokens(
            lab.paris, token, lab.account("demo").project, 2 * len(compared) * len(conditions)
        )
        for condition in conditions:
            if condition != "links whole":
                faults.cut(lab.environment, lab.madrid.name)
            try:
                for row, server in zip(rows, compared, strict=True):
                    row += _all(lab, server, users, fresh, by)
            finally:
                faults.heal(lab.home, lab.environment, lab.madrid.name)
    return Table(
        title="What a user sees (status, or what came instead of an answer)",
        columns=("Keystone", *(f"{case}; {c}" for c in conditions for case in CASES)),
        rows=rows,
    )


def _all(lab: Lab, server: Server, users: list[Account], fresh: list[str], by: str) -> list[str]:
    """The cases, in the order of `CASES`. Takes two of `users` and two of `fresh`: each is good for one case once."""
    checked, revoked = fresh.pop(), fresh.pop()
    newcomer, forgetful = users.pop(), users.pop()
    wrong = Account(user=forgetful.user, password="wrong", project=forgetful.project)  # noqa: S106
    asks: Mapping[str, Ask] = {
        "check": asking.validation(checked, by),
        "login": asking.login(lab.account("demo")),
        "first": asking.login(newcomer),
        "wrong": asking.login(wrong),
        "revoke": asking.revocation(revoked, by),
        "then": asking.validation(revoked, by),
    }
    seen = {name: _outcome(server, ask) for name, ask in asks.items()}
    return [*list(seen.values())[:4], f"{seen['revoke']}, then {seen['then']}"]


def _outcome(server: Server, ask: Ask) -> str:
    load = Load(asks=[ask], least=1, most=1, timeout=_PATIENCE)
    answers = asking.put(load, namespace=server.namespace, host=server.host, port=server.port)
    return answers.samples[0][1]
