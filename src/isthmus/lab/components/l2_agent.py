"""Neutron's Open vSwitch agent of one compute host: `HOST-l2`."""

from pathlib import Path

from isthmus.lab import errors, processes
from isthmus.lab.components import host as hosting
from isthmus.lab.components import local_db, mariadb, neutron, neutron_config, ovs, rabbitmq
from isthmus.lab.components.base import LONG_START_DEADLINE, Context, script
from isthmus.lab.components.host import EXTERNAL, INTEGRATION, TUNNEL, HostComponent
from isthmus.lab.running import run

PART = "l2"

_FIRST_ROUND = "Agent rpc_loop - iteration:0 completed"

_ROW = (
    "SELECT heartbeat_timestamp >= UTC_TIMESTAMP() - INTERVAL %s SECOND AS fresh FROM neutron.agents"
    " WHERE host = %s AND agent_type = 'Open vSwitch agent'"
)


class L2Agent(HostComponent):
    def needs(self, context: Context) -> list[str]:
        return [hosting.unit(context, hosting.SWITCH), f"{context.site.name}/{neutron.RPC}"]

    def start(self, context: Context) -> None:
        context.directory.mkdir(parents=True, exist_ok=True)
        path = context.directory / "agent.ini"
        log = context.home.log(f"{context.unit}-service")
        told = log.stat().st_size if log.exists() else 0
        text = neutron_config.agent(
            host=hosting.of(context),
            transport=rabbitmq.url(context),
            directory=str(context.directory),
            path=str(path),
            ovsdb=hosting.ovsdb(context),
            privsep_helper=script("privsep-helper"),
            log_file=str(log),
            external_bridge=EXTERNAL if context.environment.external else None,
            dhcp="nova" in context.site.components,
        )
        context.write(path.name, text)
        began = processes.uptime()
        daemon = self.spawn(
            context,
            [script("neutron-openvswitch-agent"), "--config-file", str(path)],
            # A killed agent leaves the sockets of its helpers behind: where the lab takes them away.
            env={"TMPDIR": str(context.directory)},
        )
        context.wait(
            daemon,
            # The log is cheap to ask, and tells the last thing to come.
            lambda: _unwired(log, told) or _unready(context, began),
            deadline=LONG_START_DEADLINE,
            interval=0.5,
        )

    def test(self, context: Context) -> str:
        began = min((p.started for p in context.processes()), default=processes.uptime())
        if missing := _unready(context, began):
            raise errors.NotReady(
                what="the agent does not program the switch", where=context.unit, cause=missing
            )
        flows = run(
            ["ovs-ofctl", "-O", "OpenFlow13", "dump-flows", _management(context, TUNNEL)]
        ).stdout.count("cookie=")
        return f"reports to Neutron and has programmed {flows} flows into {TUNNEL}"

    def stop(self, context: Context) -> None:
        """SIGTERM does not end it, and a second agent beside it never gets its listener."""
        processes.kill(context.home.lab, units=[context.unit])


def _management(context: Context, bridge: str) -> str:
    return f"unix:{hosting.switch_directory(context)}/{bridge}.mgmt"


def _unwired(log: Path, told: int) -> str | None:
    """None once the agent has gone through all ports for the first time; `told` is the size that its log had before.

    Only its log tells that: it reports and holds its bridges some seconds earlier.
    """
    try:
        with log.open(errors="replace") as stream:
            stream.seek(told)
            return None if _FIRST_ROUND in stream.read() else "it has not gone through its ports"
    except FileNotFoundError:
        return "it has no log yet"


def _unready(context: Context, began: float) -> str | None:
    """None if the agent has reported since `began` (seconds since boot) and holds its bridges."""
    age = max(1, int(processes.uptime() - began))
    host = hosting.of(context).name
    rows = mariadb.query(context.of(context.site, local_db.NAME), _ROW, (age, host))
    if not rows or not rows[0]["fresh"]:
        return "it has not reported to Neutron"
    for bridge in (INTEGRATION, TUNNEL):
        held = ovs.vsctl(
            context, "--if-exists", "--columns=is_connected", "list", "Controller", bridge
        )
        if "true" not in held:
            return f"it does not hold {bridge}"
    return None
