"""What it means that a setting differs from what is rendered: one rule per setting. Pure values.

Unsafe (ERROR) is what lets a token or a person in for longer or more easily, what can lose, split or mix data, and what stops a
site from answering by itself. Everything else is WARN.
"""

from __future__ import annotations

import dataclasses
import enum
import re
from collections.abc import Mapping, Sequence

from isthmus.identity.rendering import Kind


class Unsafe(enum.StrEnum):
    """Which differences are unsafe."""

    ANY = "any"
    HIGHER = "higher"
    """Also a value that is no number."""
    NOT_BETWEEN = "higher, zero or less"
    LOWER = "lower"
    NONE = "none"


@dataclasses.dataclass(frozen=True)
class Rule:
    """For settings whose name matches whole; the first rule that matches counts."""

    name: str
    unsafe: Unsafe
    consequence: str

    def matches(self, name: str) -> bool:
        return re.fullmatch(self.name, name) is not None

    def is_unsafe(self, expected: str | None, actual: str | None) -> bool:
        if self.unsafe is Unsafe.ANY:
            return True
        if self.unsafe is Unsafe.NONE:
            return False
        want, have = number(expected), number(actual)
        if have is None or want is None:
            return True
        if self.unsafe is Unsafe.LOWER:
            return have < want
        return have > want or (self.unsafe is Unsafe.NOT_BETWEEN and have <= 0)


def number(text: str | None) -> float | None:
    """The number that a setting says, sizes with K, M, G included; None if it says none."""
    match = re.fullmatch(r"(-?\d+(?:\.\d+)?)([KMG]?)", text or "", re.IGNORECASE)
    if match is None:
        return None
    factor: int = 1024 ** " KMG".index(match[2].upper() or " ")
    return float(match[1]) * factor


_WRITES = "Keystone writes elsewhere than through the site's writer listener: two writers, or none"
_READS = "tokens are not checked at the site's own database: each check crosses the WAN and fails with it"
_HANGS = "a request to a database that has vanished hangs for so long, and its thread with it"
_STALE = "a revocation made at another site is overlooked for so long"
_KIT = "without the site kit's driver this site cannot answer logins, wrong passwords or revocations while the writer is away"
_KEYS = "tokens are sealed with keys that no other site has: they are refused elsewhere, others' are refused here"
_ACCOUNT = "the service cannot log in at Keystone: it answers 503 to every request"
_MEMBERS = "the node cannot reach all members: the next loss may stop writes"
_ADDRESS = "the process listens or answers elsewhere than the others look for it"
_STREAM = (
    "replicas cannot follow or change their master by position: after a loss they need a new dump"
)
_TIMERS = "members disagree on when one is lost: a short break of a link may stop writes everywhere"
_FILTER = "changes are left out of the stream: sites differ in who exists and who may what, and nobody is told"
_FILES = "differs from the declaration; whoever looks after this host by the declaration looks in the wrong place"

_MEMBER = (
    Rule(
        r"mariadbd\.wsrep_(on|provider|cluster_name)",
        Unsafe.ANY,
        "the node is not part of the cluster: it takes writes that nobody else has",
    ),
    Rule(r"mariadbd\.wsrep_cluster_address", Unsafe.ANY, _MEMBERS),
    Rule(r"mariadbd\.wsrep_(node_address|sst_receive_address)", Unsafe.ANY, _ADDRESS),
    Rule(
        r"mariadbd\.wsrep_sst_\w+",
        Unsafe.ANY,
        "a node that was away too long cannot come back",
    ),
    Rule(r"mariadbd\.wsrep_gtid_\w+|mariadbd\.(server_id|gtid_domain_id)", Unsafe.ANY, _STREAM),
    Rule(r"mariadbd\.(log_bin|log_slave_updates|binlog_format)", Unsafe.ANY, _STREAM),
    Rule(
        r"mariadbd\.wsrep_dirty_reads",
        Unsafe.ANY,
        "without a majority this site cannot even check tokens",
    ),
    Rule(
        r"mariadbd\.innodb_autoinc_lock_mode",
        Unsafe.ANY,
        "Galera's appliers deadlock on inserts",
    ),
    Rule(
        r"mariadbd\.innodb_flush_log_at_trx_commit",
        Unsafe.ANY,
        "two nodes that crash at nearly the same time lose writes that were answered as done",
    ),
    Rule(
        r"mariadbd\.wsrep_(slave_threads|retry_autocommit)",
        Unsafe.NONE,
        "writes are applied or tried again otherwise than was tested",
    ),
    Rule(r"mariadbd\.wsrep_provider_options\.evs\..*", Unsafe.ANY, _TIMERS),
    Rule(
        r"mariadbd\.wsrep_provider_options\.gcache\..*",
        Unsafe.NONE,
        "a node that was away longer than this holds needs a full copy",
    ),
    Rule(
        r"mariadbd\.wsrep_provider_options\.gmcast\.segment",
        Unsafe.NONE,
        "every write crosses the WAN once per node, not once per site",
    ),
    Rule(r"mariadbd\.wsrep_provider_options\..*", Unsafe.ANY, _ADDRESS),
)

_NODE = (
    Rule(
        r"mariadbd\.wsrep_node_name",
        Unsafe.ANY,
        "the agent does not know its own node and never lets it take the writes",
    ),
    Rule(r"mariadbd\.(replicate|binlog)_(wild_)?(do|ignore)_\w+", Unsafe.ANY, _FILTER),
)

_FOLLOWER = (
    Rule(
        r"mariadbd\.wsrep_node_name",
        Unsafe.ANY,
        "the agent does not know its own node and never lets it be read",
    ),
)

_FOLLOWING = (
    Rule(
        r"mariadbd\.read_only",
        Unsafe.ANY,
        "somebody can write here: the replica breaks or keeps what no other site has",
    ),
    Rule(r"mariadbd\.replicate_wild_do_table", Unsafe.ANY, _FILTER),
    Rule(
        r"mariadbd\.(replicate|binlog)_(wild_)?(do|ignore)_\w+|mariadbd\.slave_skip_errors",
        Unsafe.ANY,
        _FILTER,
    ),
    Rule(r"mariadbd\.gtid_strict_mode", Unsafe.ANY, _STREAM),
    Rule(
        r"mariadbd\.slave_net_timeout",
        Unsafe.HIGHER,
        "a stream that went silent is noticed so late, and data grow old",
    ),
    Rule(
        r"mariadbd\.(slave_parallel_threads|relay_log)",
        Unsafe.NONE,
        "the stream is applied otherwise than was tested",
    ),
)

RULES: Mapping[Kind, Sequence[Rule]] = {
    Kind.KEYSTONE: (
        Rule(
            r"database\.(slave_)?connection\.(user|password)",
            Unsafe.ANY,
            "Keystone cannot log in at the database: it answers 503, or the account is not the one that is looked after",
        ),
        Rule(r"database\.connection\.(address|schema|scheme)", Unsafe.ANY, _WRITES),
        Rule(r"database\.slave_connection\.(address|schema|scheme)", Unsafe.ANY, _READS),
        Rule(r"database\.(slave_)?connection\.\w+_timeout", Unsafe.HIGHER, _HANGS),
        Rule(
            r"database\.(slave_)?connection\.\w+",
            Unsafe.NONE,
            "names with other letters are stored or compared otherwise",
        ),
        Rule(
            r"database\.connection_recycle_time",
            Unsafe.NOT_BETWEEN,
            "after a replica went stale its data are read for so long",
        ),
        Rule(
            r"database\.max_\w+",
            Unsafe.NONE,
            "too few connections make requests wait, too many exhaust the database",
        ),
        Rule(
            r"token\.provider",
            Unsafe.ANY,
            "tokens of this site are of another kind: other sites refuse them",
        ),
        Rule(
            r"token\.expiration",
            Unsafe.HIGHER,
            "tokens outlive the keys that check them, and a stolen one is good for longer",
        ),
        Rule(
            r"token\.allow_expired_window",
            Unsafe.HIGHER,
            "services still ask about tokens whose keys are gone: what takes long is refused in its middle",
        ),
        Rule(r"fernet_(tokens|receipts)\.key_repository", Unsafe.ANY, _KEYS),
        Rule(
            r"fernet_(tokens|receipts)\.max_active_keys",
            Unsafe.LOWER,
            "keys are dropped while tokens that they sealed are still good",
        ),
        Rule(
            r"jwt_tokens\.jws_(public|private)_key_repository",
            Unsafe.ANY,
            "Keystone signs with another key than is declared, or looks for others' keys where nobody looks after them",
        ),
        Rule(
            r"jwt_tokens\.jws_algorithm",
            Unsafe.ANY,
            "tokens are signed in a way that other sites do not accept",
        ),
        Rule(
            r"jwt_tokens\.jws_accepted_algorithms",
            Unsafe.ANY,
            "tokens are accepted with signatures that no site makes, or those of a site are refused",
        ),
        Rule(
            r"credential\.key_repository",
            Unsafe.ANY,
            "credentials sealed elsewhere cannot be read here",
        ),
        Rule(
            r"cache\.enabled",
            Unsafe.NONE,
            "without a cache, also inside one request, each check of a token costs several times as much",
        ),
        Rule(
            r"cache\.backend",
            Unsafe.ANY,
            "this backend is not known to treat a dead memcached as a miss, or keeps what others have revoked",
        ),
        Rule(
            r"cache\.memcache_servers",
            Unsafe.ANY,
            "the cache is not the site's own: checks cross the WAN or mix sites",
        ),
        Rule(r"cache\.memcache_\w+", Unsafe.NONE, "a dead memcached delays requests for longer"),
        Rule(r"cache\.expiration_time|\w+\.cache_time", Unsafe.NOT_BETWEEN, _STALE),
        Rule(r"(identity|revoke|shadow_users|trust)\.driver", Unsafe.ANY, _KIT),
        Rule(
            r"identity\.max_password_length",
            Unsafe.NONE,
            "bcrypt ignores what is beyond 72 bytes; each login warns of it",
        ),
        Rule(
            r"security_compliance\.lockout_failure_attempts",
            Unsafe.NOT_BETWEEN,
            "a guesser has more attempts, at every site",
        ),
        Rule(r"security_compliance\.lockout_duration", Unsafe.LOWER, "a guesser may go on sooner"),
        Rule(r"oslo_middleware\..*", Unsafe.NONE, "links in answers lead past the load balancer"),
        Rule(
            r"isthmus\.site",
            Unsafe.ANY,
            "two sites share a position of replay: entries of one are taken for replayed and lost",
        ),
        Rule(
            r"isthmus\.queue_path",
            Unsafe.ANY,
            "the agent does not see what waits for the writer; a shared disk would lose it",
        ),
        Rule(
            r"DEFAULT\.(insecure_)?debug",
            Unsafe.ANY,
            "requests and reasons of refusals are shown to whoever reads logs or asks",
        ),
        Rule(r"DEFAULT\..*", Unsafe.NONE, _FILES),
    ),
    Kind.PUBLIC_KEY: (
        Rule(
            r"public key",
            Unsafe.ANY,
            "tokens that the other half of this key has signed are refused at this site",
        ),
    ),
    Kind.AUTHTOKEN: (
        Rule(
            r"keystone_authtoken\.(auth_url|region_name)",
            Unsafe.ANY,
            "tokens are checked at another site: across the WAN, and not at all when it is cut",
        ),
        Rule(
            r"keystone_authtoken\.(auth_type|username|password|project_name|\w+_domain_id)",
            Unsafe.ANY,
            _ACCOUNT,
        ),
        Rule(
            r"keystone_authtoken\.www_authenticate_uri",
            Unsafe.NONE,
            "clients without a token are sent to another address",
        ),
        Rule(
            r"keystone_authtoken\.interface",
            Unsafe.NONE,
            "the service asks Keystone by another way, maybe the public one",
        ),
        Rule(
            r"keystone_authtoken\.memcached_servers",
            Unsafe.ANY,
            "tokens are kept in each process, or where another site keeps its own",
        ),
        Rule(
            r"keystone_authtoken\.token_cache_time",
            Unsafe.NOT_BETWEEN,
            "a revoked token is accepted for so long on top of Keystone's bound, by all that share the memcached; 0 is for ever",
        ),
        Rule(
            r"keystone_authtoken\.http_connect_timeout",
            Unsafe.NONE,
            "a Keystone that is silent holds up requests for so long",
        ),
        Rule(
            r"keystone_authtoken\.service_token_roles\w*",
            Unsafe.ANY,
            "tokens of users pass for those of services, which may use expired tokens",
        ),
        Rule(
            r"keystone_authtoken\.insecure",
            Unsafe.ANY,
            "whoever is on the way can say which tokens are valid",
        ),
    ),
    Kind.NODE: (*_NODE, *_MEMBER),
    Kind.FOLLOWER: (*_FOLLOWER, *_FOLLOWING, *_MEMBER),
    Kind.REPLICA: (
        *_FOLLOWING,
        Rule(
            r"mariadbd\.(server_id|gtid_domain_id|log_bin|log_slave_updates|binlog_format)",
            Unsafe.ANY,
            _STREAM,
        ),
    ),
    Kind.ARBITRATOR: (
        Rule(
            r"(group|address|name)",
            Unsafe.ANY,
            "a vote is missing: the loss of one site may stop writes",
        ),
        Rule(r"options\.evs\..*", Unsafe.ANY, _TIMERS),
        Rule(r"options\.gmcast\.segment", Unsafe.NONE, "every write crosses the WAN once more"),
        Rule(r"options\..*", Unsafe.ANY, _ADDRESS),
    ),
    Kind.HAPROXY: (
        Rule(
            r"backend writer(_alive)?\..*",
            Unsafe.ANY,
            "writes may go to a node that is not the writer: two writers, or none",
        ),
        Rule(
            r"backend writer_own(_alive)?\..*",
            Unsafe.ANY,
            "writes cross the WAN while the site's own node is in step, or go to one that is not",
        ),
        Rule(
            r"backend reader_\w+\..*",
            Unsafe.ANY,
            "Keystone may read data that are too old, or another site's while its own are good",
        ),
        Rule(
            r"frontend sql_\w+\..*",
            Unsafe.ANY,
            "the site's database listeners are open to others, or lead elsewhere",
        ),
        Rule(
            r"(frontend|backend) identity\..*",
            Unsafe.ANY,
            "requests for identity fail where another Keystone could answer, or are sent twice",
        ),
        Rule(r"frontend login\..*", Unsafe.ANY, "the login URL does not lead to every living site"),
        Rule(
            r"frontend health\..*",
            Unsafe.ANY,
            "other sites take this one for living or dead when it is not",
        ),
        Rule(
            r"(frontend|backend) (image|network)\..*",
            Unsafe.ANY,
            "the service does not answer at the site's front",
        ),
        Rule(
            r"global\.stats.*",
            Unsafe.ANY,
            "whoever reaches this socket can take servers out or put them in",
        ),
        Rule(
            r"(global|defaults)\..*",
            Unsafe.NONE,
            "failures are noticed sooner or later than was tested",
        ),
    ),
}

_DATABASE = (
    Rule(r"mariadbd\.(port|extra_port|bind_address)", Unsafe.ANY, _ADDRESS),
    Rule(
        r"mariadbd\.extra_max_connections",
        Unsafe.LOWER,
        "replication and health checks are refused when users take all connections",
    ),
    Rule(
        r"mariadbd\.(character_set_server|collation_server)",
        Unsafe.NONE,
        "names with other letters are stored or compared otherwise",
    ),
    Rule(
        r"mariadbd\.skip_name_resolve",
        Unsafe.ANY,
        "logins at the database wait for a resolver, which may be cut off",
    ),
    Rule(r"mariadbd\.(user|datadir|socket|pid_file|tmpdir)", Unsafe.NONE, _FILES),
)

DATABASES = (Kind.NODE, Kind.FOLLOWER, Kind.REPLICA)

STRANGER = (
    "whoever has the other half of this key issues tokens for anybody, and this site accepts them"
)
"""What a public key means that nobody has declared."""

UNLISTED = Rule(r".*", Unsafe.NONE, "differs from the declaration")
"""Sizes of a database: whoever deploys chooses them, in the declaration."""


def rule(kind: Kind, name: str) -> Rule | None:
    """The rule for a setting, None if there is none."""
    more = _DATABASE if kind in DATABASES else ()
    return next((each for each in (*RULES.get(kind, ()), *more) if each.matches(name)), None)
