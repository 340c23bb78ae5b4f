"""Renders what a site needs on disk: Keystone, services' token checks, MariaDB (Galera node and replica), the arbitrator.

Pure: values in, text out. Which site gets which of them is the topology's matter: `topologies`.

These are the settings that make a site answer by itself; a comment here says what breaks without a line.
Sizing (buffer pools, log sizes) belongs to whoever deploys and is passed in; nothing here is about the lab. HAProxy is `balancing`.
"""

import dataclasses
import enum
import urllib.parse
from collections.abc import Mapping, Sequence

IDENTITY_PORT = 5000
IMAGE_PORT = 9292
READER_PORT = 3306
WRITER_PORT = 3307
# Replication and health checks use ports of their own, so that an operator can see on a link's counters that checking
# tokens sends nothing over it.
REPLICATION_PORT = 3308
HEALTH_PORT = 8989
AGENT_PORT = 8990
ENGINE_PORT = 8991
HOST_AGENT_PORT = 8992
NETWORK_PORT = 9696

# The writer sites' nodes form one GTID stream: a replica may change from one to the other without a dump.
CLUSTER_GTID_DOMAIN = 100

# How long a token answer may be cached in Keystone's memcached. Nobody invalidates another site's cache, so this is what
# a revocation made elsewhere waits for, on top of the replication lag, where no agent follows the databases.
CACHE_SECONDS = 5

# The middleware's own cache comes on top of Keystone's, and keeps what was revoked alive; ten seconds keep a revocation's bound
# short and save nine checks in ten for a client that asks once a second.
TOKEN_CACHE_SECONDS = 10

CLUSTER_NAME = "isthmus-identity"
ARBITRATOR = "arbitrator"

# Keystone's default, the smallest signature of those that it knows. All sites must accept what any site signs with.
JWS_ALGORITHM = "ES256"

# How long a token is valid, and how long after that a service may still ask about it. A key is kept for as long as either counts.
TOKEN_SECONDS = 3600
ALLOW_EXPIRED_SECONDS = 172_800
_LIVES = {"expiration": TOKEN_SECONDS, "allow_expired_window": ALLOW_EXPIRED_SECONDS}

# A pooled connection stays where the load balancer put it: at a stale replica or another site's database, if nothing better
# answered then. Only a new connection asks again, so this bounds how long such a stand-in is read after something better is back.
RECYCLE_SECONDS = 10

# What a replica takes of the writers' stream: identity, and what was declared about networks.
REPLICATED_SCHEMAS = ("keystone", "isthmus_identity", "isthmus_network")

Ini = Mapping[str, Mapping[str, str | int]]
Section = dict[str, str | int]


class Provider(enum.StrEnum):
    """The kind of tokens, as Keystone calls it (`[token] provider`); Keystone 30 has no other."""

    FERNET = "fernet"
    JWS = "jws"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Group:
    """What the nodes of one Galera cluster share. `number`: the GTID domain of its writes, and its nodes' server id."""

    name: str = CLUSTER_NAME
    number: int = CLUSTER_GTID_DOMAIN


def ini(sections: Ini) -> str:
    """Render sections as an INI file."""
    parts = []
    for section, values in sections.items():
        parts.append(f"[{section}]")
        parts += [f"{key} = {value}" for key, value in values.items()]
        parts.append("")
    return "\n".join(parts)


def keystone(
    *,
    site: str,
    database_password: str,
    front: str,
    memcached: str,
    token_keys: str,
    credential_keys: str,
    queue: str,
    log_file: str,
    generation_file: str | None = None,
    jws_keys: tuple[str, str] | None = None,
) -> str:
    """keystone.conf of one site: readers at the site's own database, writers at the writer, the site kit's drivers.

    `generation_file`: where the agent of this host tells that the databases have changed; None leaves it to Keystone's default.
    `jws_keys`: directories of the public keys of all sites and of this node's private key, for JWS tokens; None: Fernet tokens.
    """
    login = f"keystone:{urllib.parse.quote(database_password, safe='')}"
    database = f"mysql+pymysql://{login}@{front}"
    timeouts = "charset=utf8mb4&connect_timeout=3&read_timeout=10&write_timeout=10"
    return ini(
        {
            "DEFAULT": {"log_file": log_file, "use_stderr": "false", "debug": "false"},
            "database": {
                "connection": f"{database}:{WRITER_PORT}/keystone?{timeouts}",
                "slave_connection": f"{database}:{READER_PORT}/keystone?{timeouts}",
                # When a fresh replica comes back, pooled connections to a stale one live this long at most.
                "connection_recycle_time": RECYCLE_SECONDS,
                "max_pool_size": 4,
                "max_overflow": 8,
            },
            **_tokens(token_keys, jws_keys),
            # Receipts (multi-factor logins that continue at another site) are sealed with the token keys; Keystone has no
            # other kind of receipts, whatever the tokens are.
            "fernet_receipts": {"key_repository": token_keys, "max_active_keys": 4},
            "credential": {"key_repository": credential_keys},
            "cache": {
                "enabled": "true",
                # This backend treats a dead memcached as a miss; others answer errors.
                "backend": "oslo_cache.memcache_pool",
                "memcache_socket_timeout": "0.5",
                "memcache_dead_retry": 10,
                "memcache_servers": memcached,
                "expiration_time": CACHE_SECONDS,
            },
            # These two sections have cache times of their own (600 and 3600 s), which would outlive the global one.
            "identity": {
                "driver": "isthmus",
                "max_password_length": 72,
                "cache_time": CACHE_SECONDS,
            },
            "revoke": {"driver": "isthmus", "cache_time": CACHE_SECONDS},
            "shadow_users": {"driver": "isthmus"},
            "trust": {"driver": "isthmus"},
            "security_compliance": {"lockout_failure_attempts": 6, "lockout_duration": 60},
            "oslo_middleware": {"enable_proxy_headers_parsing": "true"},
            "isthmus": {
                "site": site,
                "queue_path": queue,
                **({"generation_path": generation_file} if generation_file else {}),
            },
        }
    )


def _tokens(token_keys: str, jws_keys: tuple[str, str] | None) -> dict[str, Section]:
    if jws_keys is None:
        return {
            "token": {"provider": str(Provider.FERNET), **_LIVES},
            "fernet_tokens": {"key_repository": token_keys, "max_active_keys": 4},
        }
    public, private = jws_keys
    return {
        "token": {"provider": str(Provider.JWS), **_LIVES},
        "jwt_tokens": {
            "jws_algorithm": JWS_ALGORITHM,
            # Signatures of any other kind are refused, whatever a token says of itself.
            "jws_accepted_algorithms": JWS_ALGORITHM,
            "jws_public_key_repository": public,
            "jws_private_key_repository": private,
        },
    }


def account(*, front: str, region: str, user: str, password: str) -> Section:
    """A service's own account, to be used at the Keystone of its site and with the endpoints of its region."""
    return {
        "auth_url": f"http://{front}:{IDENTITY_PORT}/v3",
        "auth_type": "password",
        "username": user,
        "password": password,
        "project_name": "service",
        "user_domain_id": "default",
        "project_domain_id": "default",
        # Without the region a client may take another site's endpoint from the catalog.
        "region_name": region,
    }


def authtoken(
    *, front: str, region: str, public: str, user: str, password: str, memcached: str
) -> Section:
    """`[keystone_authtoken]` of a service. `public`: the address of the site's front that clients are sent to."""
    return {
        **account(front=front, region=region, user=user, password=password),
        "www_authenticate_uri": f"http://{public}:{IDENTITY_PORT}/v3",
        "interface": "internal",
        "memcached_servers": memcached,
        "token_cache_time": TOKEN_CACHE_SECONDS,
        "http_connect_timeout": 5,
        "service_token_roles": "service",
        "service_token_roles_required": "true",
    }


def mariadb_writer(
    *,
    site: str,
    segment: int,
    address: str,
    cluster: Sequence[str],
    sst_password: str,
    directory: str,
    sizing: Mapping[str, str | int],
    group: Group | None = None,
    own_domain: int | None = None,
    follows: bool = False,
) -> str:
    """my.cnf of a Galera node. `site` is the node's name, `cluster` lists all members' addresses, the arbitrator's too.

    `group`: which cluster, if there are several; `own_domain`: the node's own GTID domain, for what it writes outside of the
    cluster, None where the cluster has one node per site; `follows`: the cluster as a whole is an asynchronous replica.
    """
    group = group or Group()
    provider = {
        "gcache.size": "16M",
        "gcache.page_size": "16M",
        "gmcast.listen_addr": f"tcp://{address}:4567",
        "base_host": address,
        "ist.recv_addr": f"{address}:4568",
        "gmcast.segment": segment,
        **evs_timers(),
    }
    return ini(
        {
            "mariadbd": {
                **_mariadb_base(address, directory, group.number, own_domain or 10 + segment),
                **sizing,
                **(_following() if follows else {}),
                "wsrep_on": "ON",
                "wsrep_provider": "/usr/lib/galera/libgalera_smm.so",
                "wsrep_cluster_name": group.name,
                "wsrep_cluster_address": f"gcomm://{','.join(cluster)}",
                "wsrep_node_name": site,
                "wsrep_node_address": address,
                "wsrep_sst_method": "mariabackup",
                "wsrep_sst_auth": f"sst:{sst_password}",
                "wsrep_sst_receive_address": f"{address}:4444",
                "wsrep_slave_threads": 1,
                "wsrep_retry_autocommit": 3,
                # Without both, a replica cannot change its master by position.
                "wsrep_gtid_mode": "ON",
                "wsrep_gtid_domain_id": group.number,
                # A node without quorum still answers reads: its site goes on checking tokens.
                "wsrep_dirty_reads": "ON",
                "innodb_autoinc_lock_mode": 2,
                "wsrep_provider_options": '"'
                + ";".join(f"{k}={v}" for k, v in provider.items())
                + '"',
            }
        }
    )


def evs_timers() -> dict[str, str]:
    """Group communication timers: a member silent for 3 s is suspected, for 6 s is out; WAN keep-alives once a second."""
    return {
        "evs.keepalive_period": "PT1S",
        "evs.suspect_timeout": "PT3S",
        "evs.inactive_timeout": "PT6S",
        "evs.install_timeout": "PT6S",
    }


def arbitrator(
    *, address: str, segment: int, nodes: Sequence[str], group: Group | None = None
) -> dict[str, str]:
    """garbd's options by name: a vote of the cluster without data. `nodes`: addresses of the cluster's nodes."""
    options = {
        "gmcast.listen_addr": f"tcp://{address}:4567",
        "base_host": address,
        "gmcast.segment": segment,
        **evs_timers(),
    }
    return {
        "group": (group or Group()).name,
        "address": f"gcomm://{','.join(f'{node}:4567' for node in nodes)}",
        "name": ARBITRATOR,
        "options": ";".join(f"{key}={value}" for key, value in options.items()),
    }


def replica_server_id(number: int, index: int) -> int:
    """Unique among all servers; `number`: the site's place in the inventory (from 1), `index`: the replica's in it (from 0)."""
    return 1000 + 10 * number + index


def mariadb_replica(
    *, address: str, server_id: int, directory: str, sizing: Mapping[str, str | int]
) -> str:
    """my.cnf of an asynchronous replica: read only, follows by GTID, replicates what all sites share and nothing else."""
    return ini(
        {
            "mariadbd": {
                **_mariadb_base(address, directory, server_id, server_id),
                **sizing,
                **_following(),
            }
        }
    )


def _following() -> Section:
    """What a database needs that takes the writers' stream and nothing else."""
    return {
        "read_only": "ON",
        "relay_log": "relay",
        "gtid_strict_mode": "ON",
        "slave_net_timeout": 10,
        "slave_parallel_threads": 0,
        "replicate_wild_do_table": "\nreplicate_wild_do_table = ".join(
            f"{schema}.%" for schema in REPLICATED_SCHEMAS
        ),
    }


def mariadb_keys() -> tuple[str, ...]:
    """The variables that the renderers set, which are no matter of size."""
    writer = mariadb_writer(
        site="", segment=0, address="", cluster=[], sst_password="", directory="", sizing={}
    )
    replica = mariadb_replica(address="", server_id=0, directory="", sizing={})
    lines = (line.partition(" = ") for line in f"{writer}\n{replica}".splitlines())
    return tuple(sorted({key for key, equals, _ in lines if equals}))


def mariadb_local(*, address: str, directory: str, sizing: Mapping[str, str | int]) -> str:
    """my.cnf of a site's own database (Glance and later services); it is never replicated."""
    base = _mariadb_base(address, directory, 1, 0)
    for key in (
        "extra_port",
        "extra_max_connections",
        "log_bin",
        "binlog_format",
        "log_slave_updates",
    ):
        del base[key]
    return ini({"mariadbd": {**base, **sizing}})


def _mariadb_base(
    address: str, directory: str, server_id: int, domain: int
) -> dict[str, str | int]:
    return {
        "user": "mysql",
        "datadir": f"{directory}/data",
        "socket": f"{directory}/mariadb.sock",
        "pid_file": f"{directory}/mariadb.pid",
        "tmpdir": f"{directory}/temporary",
        "bind_address": address,
        "port": 3306,
        "extra_port": REPLICATION_PORT,
        "extra_max_connections": 20,
        "skip_name_resolve": "ON",
        "character_set_server": "utf8mb4",
        "collation_server": "utf8mb4_general_ci",
        "server_id": server_id,
        "gtid_domain_id": domain,
        "log_bin": "binlog",
        "binlog_format": "ROW",
        "log_slave_updates": "ON",
    }
