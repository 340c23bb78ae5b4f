"""Fills an empty Keystone database: schema, bootstrap, one region per site, service and demo accounts.

Runs as its own process (`OS_KEYSTONE_CONFIG_DIR` names the configuration) and reads one JSON object on standard input:
`{"passwords": {"admin", "glance", "demo", ...}, "regions": {region: {service type: {interface: url}}}}`. One process instead of
`keystone-manage` three times: most of each call is importing Keystone.
"""

import json
import os
import sys
import uuid
from typing import Any

from keystone import server
from keystone.cmd import bootstrap
from keystone.common import provider_api, sql
from keystone.common.sql import upgrades

DOMAIN = "default"
SERVICES = {
    "identity": "keystone",
    "image": "glance",
    "network": "neutron",
    "placement": "placement",
    "compute": "nova",
    "block-storage": "cinder",
    "object-store": "swift",
}

api = provider_api.ProviderAPIs


def main() -> None:
    """Entry point."""
    request = json.load(sys.stdin)
    server.configure(config_files=[f"{os.environ['OS_KEYSTONE_CONFIG_DIR']}/keystone.conf"])
    sql.initialize()
    upgrades.offline_sync_database_to_version()
    boot = _bootstrap(request["passwords"]["admin"])
    _catalog(request["regions"])
    _accounts(request["passwords"], boot)


def _bootstrap(password: str) -> bootstrap.Bootstrapper:
    boot = bootstrap.Bootstrapper()
    boot.admin_username, boot.admin_password = "admin", password
    boot.project_name, boot.admin_role_name = "admin", "admin"
    boot.immutable_roles = True
    boot.bootstrap()
    return boot


def _catalog(regions: dict[str, dict[str, dict[str, str]]]) -> None:
    offered = {kind for kinds in regions.values() for kind in kinds}
    services = {
        kind: _new(id=uuid.uuid4().hex, type=kind, name=name)
        for kind, name in SERVICES.items()
        if kind in offered
    }
    for service in services.values():
        api.catalog_api.create_service(service["id"], dict(service))
    for region, kinds in regions.items():
        api.catalog_api.create_region({"id": region, "description": f"site {region}"})
        for kind, urls in kinds.items():
            for interface, url in urls.items():
                endpoint = _new(
                    id=uuid.uuid4().hex,
                    service_id=services[kind]["id"],
                    region_id=region,
                    interface=interface,
                    url=url,
                )
                api.catalog_api.create_endpoint(endpoint["id"], endpoint)


def _accounts(passwords: dict[str, str], boot: bootstrap.Bootstrapper) -> None:
    """Project `service` with the users of the services, project `demo` with user `demo`."""
    service, demo = _project("service"), _project("demo")
    roles = {
        "glance": (service, [boot.service_role_id]),
        "neutron": (service, [boot.service_role_id]),
        # The engine acts for operators in every project of its site's Neutron.
        "isthmus": (service, [boot.service_role_id, boot.admin_role_id]),
        # They act for each other: Nova makes ports and attaches volumes, Cinder takes images.
        "nova": (service, [boot.service_role_id, boot.admin_role_id]),
        "cinder": (service, [boot.service_role_id, boot.admin_role_id]),
        "placement": (service, [boot.service_role_id]),
        "swift": (service, [boot.service_role_id]),
        "demo": (demo, [boot.member_role_id]),
    }
    for user, (project, role_ids) in roles.items():
        if user in passwords:
            _account(user, project, passwords[user], role_ids)
    if "approver" in passwords:
        _recovery(passwords["approver"], boot, demo)


def _recovery(password: str, boot: bootstrap.Bootstrapper, demo: str) -> None:
    """Who asks for operations (user `admin`) and who approves them (user `approver`) are two people, with a role each.

    The engine acts in the project whose groups it protects.
    """
    operator, drill, failover = (
        _role(f"recovery_{name}") for name in ("operator", "drill", "failover")
    )
    api.assignment_api.add_role_to_user_and_project(boot.admin_user_id, boot.project_id, operator)
    _account("approver", demo, password, [boot.reader_role_id, drill, failover])
    engine = api.identity_api.get_user_by_name("isthmus", DOMAIN)
    api.assignment_api.add_role_to_user_and_project(engine["id"], demo, boot.admin_role_id)


def _role(name: str) -> str:
    role_id = uuid.uuid4().hex
    api.role_api.create_role(role_id, {"id": role_id, "name": name})
    return role_id


def _project(name: str) -> str:
    project_id = uuid.uuid4().hex
    api.resource_api.create_project(project_id, _new(id=project_id, name=name, domain_id=DOMAIN))
    return project_id


def _account(user: str, project: str, password: str, roles: list[str]) -> None:
    made = api.identity_api.create_user(_new(name=user, domain_id=DOMAIN, password=password))
    for role in roles:
        api.assignment_api.add_role_to_user_and_project(made["id"], project, role)


def _new(**fields: Any) -> dict[str, Any]:
    return {"enabled": True, **fields}


if __name__ == "__main__":
    main()
