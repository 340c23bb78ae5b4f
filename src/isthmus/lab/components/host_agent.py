"""The product's agent on one compute host: `HOST-agent`. It reports what the switch holds, probes, and holds service addresses."""

import json

import requests

from isthmus.identity import config
from isthmus.lab import errors, inside, processes
from isthmus.lab.components import debian_modules, libvirt
from isthmus.lab.components import host as hosting
from isthmus.lab.components.base import Context, script
from isthmus.lab.components.host import EXTERNAL, INTEGRATION, TUNNEL, HostComponent
from isthmus.sites import signing

PART = "agent"
SIGNING = "engines"  # the template's secret with which engines and host agents sign


class HostAgent(HostComponent):
    def needs(self, context: Context) -> list[str]:
        parts = (hosting.SWITCH, *([libvirt.PART] if _has_guests(context) else []))
        return [hosting.unit(context, part) for part in parts]

    def start(self, context: Context) -> None:
        secret = context.write("secret", context.template.secret(SIGNING))
        (context.directory / "state").mkdir(mode=0o700, exist_ok=True)
        document = _configuration(context, str(secret))
        path = context.write("agent.yaml", json.dumps(document, indent=1))
        argv, env = [script("isthmus-agent"), "--config", str(path)], {}
        if _has_guests(context):
            # It thaws guests through the host's libvirt or, when that is dead, through their own sockets.
            argv, env = libvirt.inside(context, argv), debian_modules.environment(context.home)
        daemon = self.spawn(context, argv, env=env)
        context.wait(daemon, lambda: _missing(context))

    def test(self, context: Context) -> str:
        if missing := _missing(context):
            raise errors.NotReady(
                what="the host's agent does not answer", where=context.unit, cause=missing
            )
        found = inside.within(context.site.namespace, lambda: _ports(context))
        return f"tells a caller who signs as the engine of {found} ports on the switch"


def _has_guests(context: Context) -> bool:
    """Whether libvirt runs on the host beside the agent."""
    return f"{hosting.of(context).name}-{libvirt.PART}" in context.site.every_component


def _ports(context: Context) -> int:
    """How many ports the agent tells the engine of; to be called inside the site."""
    host = hosting.of(context)
    secret = context.template.secret(SIGNING).encode()
    signer = signing.Signer(secret, signing.engine_name(host.site))
    headers = signer.headers("GET", "/ports", to=signing.host_name(host.site, host.name))
    try:
        answer = requests.get(f"http://{endpoint(host.address)}/ports", headers=headers, timeout=10)
        answer.raise_for_status()
        return len(answer.json()["ports"])
    except requests.RequestException as error:
        raise errors.NotReady(
            what="the host's agent refuses the engine", where=context.unit, cause=str(error)
        ) from error


def endpoint(address: str) -> str:
    """Where the agent of the host at `address` answers."""
    return f"{address}:{config.HOST_AGENT_PORT}"


def _missing(context: Context) -> str | None:
    host = hosting.of(context)
    # From the site, as the engine reaches it.
    return inside.missing(
        context.site.namespace, host.address, config.HOST_AGENT_PORT, "/healthcheck"
    )


def _configuration(context: Context, secret: str) -> dict[str, object]:
    host = hosting.of(context)
    # A fault that kills the agent leaves its watchdogs alone: they are what the guests rely on then.
    spared = {processes.UNIT_MARK: f"{context.site.name}/{host.name}-watchdogs"}
    freezing = {"watchdog_environment": spared} if _has_guests(context) else {"libvirt": None}
    return {
        "kind": "host",
        "site": context.site.name,
        "host": host.name,
        "listen": [endpoint(host.address)],
        "secret_file": secret,
        "ovsdb": hosting.ovsdb(context),
        "ovs_run": str(hosting.switch_directory(context)),
        "bridges": {"integration": INTEGRATION, "tunnel": TUNNEL, "external": EXTERNAL},
        "state": str(context.directory / "state"),
        "freezing": freezing,
    }
