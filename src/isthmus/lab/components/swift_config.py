"""Renders what a small Swift reads: one zone, one device, one copy. Pure: values in, text out."""

from pathlib import Path

from isthmus.identity import config

PORT = 8080
SERVERS = {"account": 6202, "container": 6201, "object": 6200}

# Who may use the store within a project: whoever may use the project.
_OPERATORS = "admin,member"


def hashes(suffix: str) -> str:
    """swift.conf: where an object lies depends on this suffix; a store whose suffix changes is lost."""
    return config.ini({"swift-hash": {"swift_hash_path_suffix": suffix}})


def server(kind: str, *, folder: Path, address: str) -> str:
    """The configuration of the account, container or object server."""
    return config.ini(
        {
            "DEFAULT": {
                **_common(folder),
                "bind_ip": address,
                "bind_port": SERVERS[kind],
                "devices": f"{folder}/devices",
                # The device is a directory.
                "mount_check": "false",
            },
            "pipeline:main": {"pipeline": f"healthcheck {kind}-server"},
            f"app:{kind}-server": {"use": f"egg:swift#{kind}"},
            "filter:healthcheck": {"use": "egg:swift#healthcheck"},
        }
    )


def proxy(
    *,
    folder: Path,
    address: str,
    memcached: str,
    identity: str,
    public_identity: str,
    region: str,
    password: str,
) -> str:
    """The configuration of the proxy; `identity` and `public_identity` are URLs of Keystone."""
    pipeline = "catch_errors gatekeeper healthcheck cache authtoken keystoneauth copy slo dlo"
    return config.ini(
        {
            "DEFAULT": {**_common(folder), "bind_ip": address, "bind_port": PORT},
            "pipeline:main": {"pipeline": f"{pipeline} proxy-server"},
            "app:proxy-server": {
                "use": "egg:swift#proxy",
                "account_autocreate": "true",
                "allow_account_management": "false",
            },
            "filter:catch_errors": {"use": "egg:swift#catch_errors"},
            "filter:gatekeeper": {"use": "egg:swift#gatekeeper"},
            "filter:healthcheck": {"use": "egg:swift#healthcheck"},
            "filter:cache": {"use": "egg:swift#memcache", "memcache_servers": memcached},
            "filter:copy": {"use": "egg:swift#copy"},
            "filter:slo": {"use": "egg:swift#slo"},
            "filter:dlo": {"use": "egg:swift#dlo"},
            "filter:keystoneauth": {"use": "egg:swift#keystoneauth", "operator_roles": _OPERATORS},
            "filter:authtoken": {
                "paste.filter_factory": "keystonemiddleware.auth_token:filter_factory",
                "www_authenticate_uri": public_identity,
                "auth_url": identity,
                "auth_type": "password",
                "username": "swift",
                "password": password,
                "project_name": "service",
                "user_domain_id": "default",
                "project_domain_id": "default",
                "region_name": region,
                "interface": "internal",
                "delay_auth_decision": "true",
                "cache": "swift.cache",
                "include_service_catalog": "false",
                "service_token_roles_required": "true",
            },
        }
    )


def _common(folder: Path) -> dict[str, str | int]:
    return {
        "user": "root",
        "swift_dir": str(folder),
        # Serve from the first process: four of them are enough for a lab.
        "workers": 0,
        "log_level": "WARNING",
        "client_timeout": 60,
    }
