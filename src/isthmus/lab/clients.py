"""What stock clients need to use the lab: clouds.yaml, the sites file, the exports."""

import os

import yaml

from isthmus.identity.config import AGENT_PORT, ENGINE_PORT, IDENTITY_PORT
from isthmus.lab import template_compute
from isthmus.lab.environment import Environment, SiteSpec
from isthmus.lab.home import Home, replace
from isthmus.lab.templates import Template


def login_url(environment: Environment) -> str:
    """The one URL that any site answers."""
    return f"http://{environment.login_address}:{IDENTITY_PORT}/v3"


def write(home: Home, environment: Environment, template: Template) -> None:
    """Write clouds.yaml (0600, it holds passwords) and sites.yaml."""
    replace(home.clouds, yaml.safe_dump(clouds(environment, template), sort_keys=False), mode=0o600)
    replace(home.sites, yaml.safe_dump(sites(environment), sort_keys=False), mode=0o644)
    if template_compute.wanted(environment):
        text = yaml.safe_dump(approver(environment, template), sort_keys=False)
        replace(home.approver, text, mode=0o600)


def clouds(environment: Environment, template: Template) -> dict[str, object]:
    """A cloud per site (admin), `isthmus` (admin, the one login URL), and `demo` (a plain member, the one login URL)."""
    admin, demo = template.secret("admin"), template.secret("demo")
    entries = _each_site(environment, "admin", admin, project="admin")
    first = environment.sites[0].name
    entries["isthmus"] = _cloud(login_url(environment), "admin", admin, first)
    entries["demo"] = _cloud(login_url(environment), "demo", demo, first)
    return {"clouds": entries}


def approver(environment: Environment, template: Template) -> dict[str, object]:
    """The same clouds for the person who approves what admin asks for."""
    password = template.secret("approver")
    return {"clouds": _each_site(environment, "approver", password, project="demo")}


def _each_site(
    environment: Environment, user: str, password: str, *, project: str
) -> dict[str, dict[str, object]]:
    """A cloud per site, under its name."""
    return {
        site.name: _cloud(
            f"http://{site.management}:{IDENTITY_PORT}/v3",
            user,
            password,
            site.name,
            project=project,
        )
        for site in environment.sites
    }


def _cloud(
    auth_url: str, user: str, password: str, region: str, *, project: str | None = None
) -> dict[str, object]:
    return {
        "auth": {
            "auth_url": auth_url,
            "username": user,
            "password": password,
            "project_name": project or user,
            "user_domain_name": "Default",
            "project_domain_name": "Default",
        },
        "region_name": region,
        "interface": "public",
        "identity_api_version": 3,
    }


def sites(environment: Environment) -> dict[str, object]:
    """The inventory of the lab."""
    return {
        "topology": "star",
        "login_url": login_url(environment),
        "sites": [
            {
                "name": site.name,
                "region": site.name,
                "role": str(site.role),
                "cloud": site.name,
                "agent": f"http://{site.management}:{AGENT_PORT}",
                **_engine(site),
            }
            for site in environment.sites
        ],
    }


def _engine(site: SiteSpec) -> dict[str, str]:
    if "engine" not in site.components:
        return {}
    return {"engine": f"http://{site.management}:{ENGINE_PORT}"}


def exports(home: Home, environment: Environment, *, approver: bool = False) -> dict[str, str]:
    """Environment variables for stock clients and for `isthmus`, as admin or as the approver."""
    direct = [os.environ.get("no_proxy", ""), str(environment.management)]
    return {
        "OS_CLIENT_CONFIG_FILE": str(home.approver if approver else home.clouds),
        "ISTHMUS_SITES": str(home.sites),
        # A workstation's HTTP proxy knows nothing of the lab's addresses.
        "no_proxy": ",".join(filter(None, direct)),
    }
