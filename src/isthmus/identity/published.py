"""What an agent tells of its site's settings: names of variables and options that may leave the site. Pure.

It exists so that the agents, which answer over HTTP without authentication, and the checks, which judge what they say, go by one
list. Nothing here may hold a password, a key, or the address of something that only a site knows of itself: addresses are told
only of what every client of the site knows (`auth_url`), or to see whether two sites share something (memcached).
"""

from __future__ import annotations

from collections.abc import Mapping

from isthmus.identity import comparing
from isthmus.identity.rendering import Kind

KEYSTONE = "keystone"
"""The name of Keystone's own file; all others are those of services that check tokens."""

FILTERS = (
    "replicate_do_db",
    "replicate_do_table",
    "replicate_ignore_db",
    "replicate_ignore_table",
    "replicate_wild_do_table",
    "replicate_wild_ignore_table",
)
"""What a replica takes of the stream."""

VARIABLES = (
    "version",
    "server_id",
    "read_only",
    "log_bin",
    "log_slave_updates",
    "binlog_format",
    "gtid_domain_id",
    "gtid_strict_mode",
    "innodb_autoinc_lock_mode",
    "innodb_doublewrite",
    "innodb_flush_log_at_trx_commit",
    "slave_net_timeout",
    "slave_skip_errors",
    "wsrep_dirty_reads",
    "wsrep_gtid_domain_id",
    "wsrep_gtid_mode",
    "wsrep_notify_cmd",
    "wsrep_on",
    *FILTERS,
)
"""Global variables of MariaDB."""

STATUSES = ("wsrep_provider_version",)
"""Global status of MariaDB, told among the variables."""

PROVIDER = "wsrep_provider_options"
PROVIDER_OPTIONS = (
    "evs.inactive_timeout",
    "evs.install_timeout",
    "evs.keepalive_period",
    "evs.suspect_timeout",
    "gmcast.segment",
    "pc.weight",
)
"""Of Galera's options, which also name files of keys, these are told: `wsrep_provider_options.evs.suspect_timeout`."""

OPTIONS = {
    Kind.KEYSTONE: (
        "DEFAULT.debug",
        "DEFAULT.insecure_debug",
        "cache.backend",
        "cache.enabled",
        "cache.expiration_time",
        "cache.memcache_servers",
        "fernet_tokens.max_active_keys",
        "identity.cache_time",
        "identity.driver",
        "revoke.cache_time",
        "revoke.driver",
        "security_compliance.lockout_failure_attempts",
        "shadow_users.driver",
        "token.allow_expired_window",
        "token.cache_time",
        "token.expiration",
        "token.provider",
        "trust.driver",
    ),
    Kind.AUTHTOKEN: (
        "keystone_authtoken.auth_url",
        "keystone_authtoken.insecure",
        "keystone_authtoken.memcached_servers",
        "keystone_authtoken.region_name",
        "keystone_authtoken.service_token_roles_required",
        "keystone_authtoken.token_cache_time",
    ),
}

PACKAGES = ("keystone", "keystonemiddleware")
"""Distributions whose releases are told, as far as the agent's own environment has them."""


def options(name: str, text: str) -> dict[str, str]:
    """Of a configuration file the options that may be told, by `section.key`. `name`: `keystone` or a service's."""
    kind = Kind.KEYSTONE if name == KEYSTONE else Kind.AUTHTOKEN
    found = comparing.settings(kind, text)
    return {each: found[each].shown for each in OPTIONS[kind] if each in found}


def variables(rows: Mapping[str, str]) -> dict[str, str]:
    """Of a server's global variables and status those that may be told; Galera's options as names of their own."""
    told = {name: rows[name] for name in (*VARIABLES, *STATUSES) if name in rows}
    for option in rows.get(PROVIDER, "").split(";"):
        key, _, value = (part.strip() for part in option.partition("="))
        if key in PROVIDER_OPTIONS:
            told[f"{PROVIDER}.{key}"] = value
    return told
