"""Renders HAProxy's configuration: the HTTP front of a site, its database listeners, the one login URL. Pure.

Two tiers everywhere: first the servers that an agent calls good, then those that answer at all, so that neither a dead agent nor
a site that is cut off from all masters stops reads. What is not here: deciding who is good (`replication`, `writer`).
"""

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from isthmus.identity.config import (
    AGENT_PORT,
    HEALTH_PORT,
    IDENTITY_PORT,
    IMAGE_PORT,
    NETWORK_PORT,
    READER_PORT,
    REPLICATION_PORT,
    WRITER_PORT,
)


class Choice(NamedTuple):
    """Which node takes the writes, by what the agents say: `path` is asked of the agent beside each node.

    `path` may hold HAProxy's `%[srv_name]`. `in_order`: several may say yes, and the first that does is taken. `backend` names it.
    """

    path: str
    in_order: bool
    backend: str = "writer"


ELECTED = Choice("/database/identity-db/writer", in_order=False)
"""One agent at most says yes: the one beside the writer."""
ELECTED_BY_NAME = Choice("/database/%[srv_name]/writer", in_order=False)
"""The same, where a site has several nodes."""
OWN = Choice("/database/identity-db/reader", in_order=True, backend="writer_own")
"""The first node that is in step with its cluster."""


def site(
    *,
    binds: Sequence[str],
    front: str,
    keystone_address: str,
    glance_address: str,
    peers: Mapping[str, tuple[str, str]],
    local_databases: Mapping[str, str],
    writers: Mapping[str, tuple[str, str]],
    stats_socket: str,
    network_address: str | None = None,
    remote_databases: Mapping[str, str] | None = None,
    choice: Choice = ELECTED,
) -> str:
    """haproxy.cfg of a site that has a Keystone.

    `binds`: addresses of the public front; `front`: the site's own address, whose database listeners only the site uses;
    `peers`: site -> (its Keystone address, its front address); `local_databases`: name -> address;
    `writers`: name -> (database address, address of the front beside it); `network_address`: the site's Neutron, if it has one;
    `remote_databases`: name -> address, read when no local one answers; None: those of the writers that are not local.
    """
    if remote_databases is None:
        local = local_databases.values()
        remote_databases = {n: a for n, (a, _) in writers.items() if a not in local}
    sections = [
        _head(stats_socket),
        _identity(binds, keystone_address, peers),
        *_services(binds, glance_address, network_address),
        _health(front),
        _reader(front, local_databases, remote_databases),
        _writer(front, writers, choice),
    ]
    return "\n".join(sections)


def guest(
    *,
    binds: Sequence[str],
    keystones: Mapping[str, str],
    glance_address: str,
    stats_socket: str,
    network_address: str | None = None,
) -> str:
    """haproxy.cfg of a site that has no Keystone. `keystones`: site -> the front whose Keystone answers for this one."""
    servers = [
        f"  server {name} {address}:{IDENTITY_PORT} check addr {address} port {HEALTH_PORT}"
        f"{' backup' if i else ''}"
        for i, (name, address) in enumerate(keystones.items())
    ]
    sections = [
        _head(stats_socket),
        _identity_front(binds, servers),
        *_services(binds, glance_address, network_address),
    ]
    return "\n".join(sections)


def _services(binds: Sequence[str], glance_address: str, network_address: str | None) -> list[str]:
    found = [_plain("image", "Glance", binds, glance_address, IMAGE_PORT)]
    if network_address:
        found.append(_plain("network", "Neutron", binds, network_address, NETWORK_PORT))
    return found


def login(*, bind: str, sites: Mapping[str, str], stats_socket: str) -> str:
    """haproxy.cfg of the one login URL: the first living site answers, the others are spare."""
    lines = [
        "frontend login",
        "  mode http",
        f"  bind {bind}:{IDENTITY_PORT}",
        "  default_backend identity",
        "backend identity",
        *_identity_backend(),
    ]
    for i, (name, address) in enumerate(sites.items()):
        spare = " backup" if i else ""
        lines.append(f"  server {name} {address}:{IDENTITY_PORT} check{spare}")
    return "\n".join([_head(stats_socket), *lines, ""])


_FAILURES = {
    502: (
        "Bad Gateway",
        "{} went away while it worked on the request. Look whether it was done before you try again.",
    ),
    503: (
        "Service Unavailable",
        "No {} that this site can reach answers. Nothing was changed; try again.",
    ),
    504: (
        "Gateway Timeout",
        "{} did not answer in time. Look whether it was done before you try again.",
    ),
}


def _failures(service: str) -> list[str]:
    """The balancer's own answers, in the services' error shape."""
    lines = []
    for code, (title, words) in _FAILURES.items():
        body = json.dumps(
            {"error": {"code": code, "title": title, "message": words.format(service)}}
        )
        escaped = body.replace('"', '\\"')
        lines.append(
            f'  http-error status {code} content-type "application/json" string "{escaped}"'
        )
    return lines


def _head(stats_socket: str) -> str:
    return f"""global
  maxconn 2000
  stats socket {stats_socket} mode 600 level admin
defaults
  maxconn 1000
  timeout connect 2s
  timeout client 600s
  timeout server 60s
  timeout check 1s
  timeout queue 5s
  retries 3
  option redispatch 1
  default-server inter 1s fall 2 rise 1
"""


def _identity_backend() -> list[str]:
    # A failed connection marks the server down at once, and the request goes to the next one instead of to the user as an error.
    # A Keystone that dies while it works on a request closes without an answer: reading again is safe, anything else is not.
    # Slow is not dead: a Keystone whose threads all hash passwords must not be taken out (its load would fall on the next
    # site), so that the health check waits longer than a refused or vanished connection, which is noticed in 2-3 s anyway.
    return [
        "  mode http",
        "  option httpchk GET /v3",
        "  option http-server-close",
        "  timeout check 3s",
        *_failures("Keystone"),
        "  retry-on conn-failure empty-response",
        "  http-request disable-l7-retry unless { method GET HEAD }",
        "  default-server inter 1s fall 2 rise 1 observe layer4 error-limit 1 on-error mark-down"
        " on-marked-down shutdown-sessions",
    ]


def _identity(
    binds: Sequence[str], keystone_address: str, peers: Mapping[str, tuple[str, str]]
) -> str:
    servers = [f"  server local {keystone_address}:{IDENTITY_PORT} check"]
    for name, (address, front) in peers.items():
        # The check goes to the peer's health port: the identity port of a link stays silent until it is needed.
        servers.append(
            f"  server {name} {address}:{IDENTITY_PORT} check addr {front} port {HEALTH_PORT} backup"
        )
    return _identity_front(binds, servers)


def _identity_front(binds: Sequence[str], servers: Sequence[str]) -> str:
    lines = ["frontend identity", "  mode http"]
    lines += [f"  bind {address}:{IDENTITY_PORT}" for address in binds]
    lines += [
        "  option forwardfor",
        "  default_backend identity",
        "backend identity",
        *_identity_backend(),
        *servers,
    ]
    return "\n".join([*lines, ""])


def _plain(kind: str, service: str, binds: Sequence[str], address: str, port: int) -> str:
    """The front of a service that only its own site can answer for."""
    lines = [f"frontend {kind}", "  mode http"]
    lines += [f"  bind {bind}:{port}" for bind in binds]
    lines += [
        "  option forwardfor",
        f"  default_backend {kind}",
        f"backend {kind}",
        "  mode http",
        "  option httpchk GET /healthcheck",
        *_failures(service),
        "  option http-server-close",
        f"  server local {address}:{port} check",
        "",
    ]
    return "\n".join(lines)


def _health(front: str) -> str:
    return f"""frontend health
  mode http
  bind {front}:{HEALTH_PORT}
  monitor-uri /v3
  monitor fail if !{{ srv_is_up(identity/local) }}
"""


# A refused connection takes a database out at once: the next one is read meanwhile, and the next good check puts it back.
_READER_DEFAULTS = (
    "  default-server inter 1s fall 2 rise 1 observe layer4 error-limit 1 on-error mark-down"
    " on-marked-down shutdown-sessions"
)


def _reader(front: str, local: Mapping[str, str], remote: Mapping[str, str]) -> str:
    """Local databases that their agent calls fresh; else local ones that answer at all; else another site's."""
    names = list(local)
    lines = [
        "frontend sql_reader",
        f"  bind {front}:{READER_PORT}",
        "  use_backend reader_fresh if { nbsrv(reader_fresh) gt 0 }",
        "  use_backend reader_alive if { nbsrv(reader_alive) gt 0 }",
        "  default_backend reader_remote",
        "backend reader_fresh",
        *_asked("/database/%[srv_name]/reader"),
        "  http-check expect status 200",
        _READER_DEFAULTS,
    ]
    lines += _tier(
        names, {n: (a, f"check addr {front} port {AGENT_PORT}") for n, a in local.items()}
    )
    lines += ["backend reader_alive", "  option mysql-check user haproxy", _READER_DEFAULTS]
    lines += _tier(names, {n: (a, "check") for n, a in local.items()})
    lines += ["backend reader_remote", "  option mysql-check user haproxy", _READER_DEFAULTS]
    lines += _tier(
        list(remote), {n: (a, f"check port {REPLICATION_PORT}") for n, a in remote.items()}
    )
    return "\n".join([*lines, ""])


def _writer(front: str, writers: Mapping[str, tuple[str, str]], choice: Choice) -> str:
    """The node that its agent chooses; if no agent says so (agents dead), the first that answers, in order."""
    names = list(writers)
    lines = [
        "frontend sql_writer",
        f"  bind {front}:{WRITER_PORT}",
        f"  use_backend {choice.backend} if {{ nbsrv({choice.backend}) gt 0 }}",
        f"  default_backend {choice.backend}_alive",
        f"backend {choice.backend}",
        *_asked(choice.path),
        "  http-check expect status 200",
        "  default-server inter 1s fall 2 rise 1 on-marked-down shutdown-sessions",
    ]
    lines += [
        f"  server {name} {address}:3306 check addr {beside} port {AGENT_PORT}"
        f"{' backup' if i and choice.in_order else ''}"
        for i, (name, (address, beside)) in enumerate(writers.items())
    ]
    lines += [f"backend {choice.backend}_alive", "  option mysql-check user haproxy"]
    lines.append("  default-server inter 1s fall 2 rise 1 on-marked-down shutdown-sessions")
    lines += _tier(
        names, {n: (a, f"check port {REPLICATION_PORT}") for n, (a, _) in writers.items()}
    )
    return "\n".join([*lines, ""])


def _asked(path: str) -> list[str]:
    if "%" not in path:
        return [f"  option httpchk GET {path}"]
    return ["  option httpchk", f"  http-check send meth GET uri-lf {path}"]


def _tier(names: Sequence[str], servers: Mapping[str, tuple[str, str]]) -> list[str]:
    return [
        f"  server {name} {servers[name][0]}:3306 {servers[name][1]}{' backup' if i else ''}"
        for i, name in enumerate(names)
    ]
