"""Open vSwitch of one compute host, with its datapath in user space: `HOST-ovs`.

The uplink hangs on a bridge of its own, `br-phy`, and the host's address is that bridge's: a switch in user space looks up
routes and neighbours for its tunnels by itself, and finds only what lies on one of its bridges. With the address on the plain
interface all flows look right and every packet vanishes. The bridge is a device of the switch's process: when the process
dies, the host falls silent, and a start has to give the address again.
"""

import json

from isthmus.lab import errors, hosts, inside, kernel
from isthmus.lab.components import host as hosting
from isthmus.lab.components import memcached
from isthmus.lab.components.base import Context
from isthmus.lab.components.host import EXTERNAL, UNDERLAY, HostComponent
from isthmus.lab.running import run

SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"
_QUIET = ["-vconsole:info", "-vsyslog:off", "-vfile:off"]


class OpenVSwitch(HostComponent):
    def needs(self, context: Context) -> list[str]:
        return []

    def start(self, context: Context) -> None:
        folder = context.directory
        folder.mkdir(parents=True, exist_ok=True)
        database = folder / "conf.db"
        if not database.exists():
            run(["ovsdb-tool", "create", str(database), SCHEMA])
        remotes = [f"--remote=punix:{folder}/db.sock", f"--unixctl={folder}/ovsdb-server.ctl"]
        daemon = self.spawn(context, ["ovsdb-server", str(database), *remotes, *_QUIET])
        context.wait(daemon, lambda: _refused(context))
        vsctl(context, "--no-wait", "init", "--", *_identity(context))
        control = f"--unixctl={folder}/ovs-vswitchd.ctl"
        self.spawn(context, ["ovs-vswitchd", f"unix:{folder}/db.sock", control, *_QUIET])
        vsctl(context, *_bridges(context))
        _address(context)
        context.wait(None, lambda: _isolated(context))

    def test(self, context: Context) -> str:
        if missing := _isolated(context):
            raise errors.NotReady(
                what="the host does not reach its site", where=context.unit, cause=missing
            )
        return f"reaches the site through {UNDERLAY}"


def vsctl(context: Context, *words: str) -> str:
    """Run `ovs-vsctl` against the host's switch (of any unit of the host); without `--no-wait` it waits for the switch."""
    done = run(
        ["ovs-vsctl", f"--db={hosting.ovsdb(context)}", "--timeout=20", *words],
        namespace=hosting.of(context).namespace,
    )
    return done.stdout.strip()


def _refused(context: Context) -> str | None:
    if not (context.directory / "db.sock").exists():
        return "the switch database has no socket yet"
    done = run(
        ["ovs-vsctl", f"--db={hosting.ovsdb(context)}", "--timeout=5", "--no-wait", "show"],
        check=False,
    )
    return None if done.code == 0 else done.stderr.strip()


def _identity(context: Context) -> list[str]:
    name = hosting.of(context).name
    ids = [f"external_ids:system-id={context.site.name}-{name}", f"external_ids:hostname={name}"]
    return ["set", "Open_vSwitch", ".", *ids]


def _bridges(context: Context) -> list[str]:
    """One transaction: the underlay's bridge with the uplink and its MAC address, and the provider network's."""
    words = _bridge(UNDERLAY, hosts.UPLINK)
    # Other hosts keep what they have learned of this one over a restart of the switch.
    mac = _mac(hosting.of(context).namespace, hosts.UPLINK)
    words += ["--", "set", "Bridge", UNDERLAY, f'other-config:hwaddr="{mac}"']
    if context.environment.external is not None:
        words += ["--", *_bridge(EXTERNAL, hosts.EXTERNAL)]
    return words


def _bridge(name: str, port: str) -> list[str]:
    return [
        *("--may-exist", "add-br", name),
        *("--", "set", "Bridge", name, "datapath_type=netdev", "fail_mode=standalone"),
        *("--", "--may-exist", "add-port", name, port),
    ]


def _mac(namespace: str, interface: str) -> str:
    shown = run(["ip", "-n", namespace, "-json", "link", "show", "dev", interface]).stdout
    return str(json.loads(shown)[0]["address"])


def _address(context: Context) -> None:
    host = hosting.of(context)
    lines = [
        f"addr replace {host.address}/24 dev {UNDERLAY}",
        f"link set {UNDERLAY} up",
        f"route replace {context.environment.wan} via {context.site.front} dev {UNDERLAY}",
    ]
    kernel.batch(host.namespace, lines)
    kernel.plain_frames(host.namespace, UNDERLAY)


def _isolated(context: Context) -> str | None:
    """None if a TCP connection through the switch to the site's memcached comes to stand."""
    try:
        inside.connect(
            hosting.of(context).namespace,
            context.site.address(memcached.HOST),
            memcached.PORT,
            timeout=2.0,
        ).close()
    except OSError as error:
        return f"no connection to the site's memcached: {error}"
    return None
