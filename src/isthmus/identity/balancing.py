"""Renders HAProxy's configuration: the HTTP front of a site, its database listeners, the one login URL. Pure.

Two tiers everywhere: first the servers that an agent calls good, then those that answer at all, so that neither a dead agent nor
a site that is cut off from all masters stops reads. What is not here: deciding who is good (`replication`, `writer`).
"""

import json
from collections.abc import Mapping, Sequence

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
) -> str:
    """haproxy.cfg of one site.

    `binds`: addresses of the public front; `front`: the site's own address, whose database listeners only the site uses;
    `peers`: site -> (its Keystone address, its front address); `local_databases`: name -> address;
    `writers`: writer site -> (its database address, its front address); `network_address`: the site's Neutron, if it has one.
    """
    sections = [
        _head(stats_socket),
        _identity(binds, keystone_address, peers),
        _plain("image", "Glance", binds, glance_address, IMAGE_PORT),
        *(
            [_plain("network", "Neutron", binds, network_address, NETWORK_PORT)]
            if network_address
            else []
        ),
        _health(front),
        _reader(front, local_databases, writers),
        _writer(front, writers),
    ]
    return "\n".join(sections)


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
    lines = ["frontend identity", "  mode http"]
    lines += [f"  bind {address}:{IDENTITY_PORT}" for address in binds]
    lines += [
        "  option forwardfor",
        "  default_backend identity",
        "backend identity",
        *_identity_backend(),
    ]
    lines.append(f"  server local {keystone_address}:{IDENTITY_PORT} check")
    for name, (address, front) in peers.items():
        # The check goes to the peer's health port: the identity port of a link stays silent until it is needed.
        lines.append(
            f"  server {name} {address}:{IDENTITY_PORT} check addr {front} port {HEALTH_PORT} backup"
        )
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


def _reader(front: str, local: Mapping[str, str], writers: Mapping[str, tuple[str, str]]) -> str:
    """Local databases that their agent calls fresh; else local ones that answer at all; else another site's."""
    names = list(local)
    lines = [
        "frontend sql_reader",
        f"  bind {front}:{READER_PORT}",
        "  use_backend reader_fresh if { nbsrv(reader_fresh) gt 0 }",
        "  use_backend reader_alive if { nbsrv(reader_alive) gt 0 }",
        "  default_backend reader_remote",
        "backend reader_fresh",
        "  option httpchk",
        "  http-check send meth GET uri-lf /database/%[srv_name]/reader",
        "  http-check expect status 200",
        _READER_DEFAULTS,
    ]
    lines += _tier(
        names, {n: (a, f"check addr {front} port {AGENT_PORT}") for n, a in local.items()}
    )
    lines += ["backend reader_alive", "  option mysql-check user haproxy", _READER_DEFAULTS]
    lines += _tier(names, {n: (a, "check") for n, a in local.items()})
    remote = {n: a for n, (a, _) in writers.items() if a not in local.values()}
    lines += ["backend reader_remote", "  option mysql-check user haproxy", _READER_DEFAULTS]
    lines += _tier(
        list(remote), {n: (a, f"check port {REPLICATION_PORT}") for n, a in remote.items()}
    )
    return "\n".join([*lines, ""])


def _writer(front: str, writers: Mapping[str, tuple[str, str]]) -> str:
    """The node that calls itself the writer; if no agent says so (agents dead), the first that answers, in order."""
    names = list(writers)
    lines = [
        "frontend sql_writer",
        f"  bind {front}:{WRITER_PORT}",
        "  use_backend writer if { nbsrv(writer) gt 0 }",
        "  default_backend writer_alive",
        "backend writer",
        "  option httpchk GET /database/identity-db/writer",
        "  http-check expect status 200",
        "  default-server inter 1s fall 2 rise 1 on-marked-down shutdown-sessions",
    ]
    lines += [
        f"  server {n} {a}:3306 check addr {f} port {AGENT_PORT}" for n, (a, f) in writers.items()
    ]
    lines += ["backend writer_alive", "  option mysql-check user haproxy"]
    lines.append("  default-server inter 1s fall 2 rise 1 on-marked-down shutdown-sessions")
    lines += _tier(
        names, {n: (a, f"check port {REPLICATION_PORT}") for n, (a, _) in writers.items()}
    )
    return "\n".join([*lines, ""])


def _tier(names: Sequence[str], servers: Mapping[str, tuple[str, str]]) -> list[str]:
    return [
        f"  server {name} {servers[name][0]}:3306 {servers[name][1]}{' backup' if i else ''}"
        for i, name in enumerate(names)
    ]
