"""libvirt of one compute host: `HOST-libvirt`. Its guests are processes of their own, which outlive it: `HOST-guests`."""

from pathlib import Path

from isthmus.lab import errors, processes
from isthmus.lab.components import ceph, ceph_cluster, libvirt_config, room
from isthmus.lab.components import host as hosting
from isthmus.lab.components.base import LONG_START_DEADLINE, Context
from isthmus.lab.components.host import HostComponent
from isthmus.lab.home import replace
from isthmus.lab.running import Completed, run

PART = "libvirt"
GUESTS = "guests"  # the unit that the guests' processes are counted to

_QEMU = Path("/usr/bin/qemu-system-x86_64")


class Libvirt(HostComponent):
    def needs(self, context: Context) -> list[str]:
        return [hosting.unit(context, hosting.SWITCH), f"{context.site.name}/{ceph.NAME}"]

    def start(self, context: Context) -> None:
        folder = home(context)
        marks = {
            processes.HOME_MARK: str(context.home.lab),
            processes.UNIT_MARK: hosting.unit(context, GUESTS),
        }
        host = hosting.of(context)
        configure(folder, libvirt_config.host_uuid(host.site, host.name), marks)
        cluster = ceph.cluster(context)
        own = libvirt_config.secret_uuid(cluster.fsid)
        write_secret(folder, own, ceph_cluster.client_key(cluster.etc))
        daemon = self.spawn(context, inside(context, command()))
        context.wait(daemon, lambda: _silent(context), deadline=LONG_START_DEADLINE, interval=0.5)

    def test(self, context: Context) -> str:
        if missing := _silent(context):
            raise errors.NotReady(what="libvirt does not answer", where=context.unit, cause=missing)
        names = virsh(context, "list", "--name").stdout.split()
        virsh(context, "domcapabilities", "--virttype", "qemu")
        return f"can emulate; {len(names)} guests run"


def home(context: Context) -> Path:
    """Where libvirt of the context's host has its sockets and its settings."""
    return context.of(context.site, f"{hosting.of(context).name}-{PART}").directory


def mounts(folder: Path) -> dict[Path, Path]:
    """What libvirt and all who talk to it see in the usual places."""
    return {
        folder / "run": Path("/run/libvirt"),
        folder / "lib": Path("/var/lib/libvirt"),
        folder / "log": Path("/var/log/libvirt"),
        folder / "etc": Path("/etc/libvirt"),
        folder / "passwd": Path("/etc/passwd"),
        folder / "group": Path("/etc/group"),
        _QEMU: folder / "qemu/bin/qemu-real",
        folder / "qemu/bin/wrapper": _QEMU,
    }


def inside(context: Context, argv: list[str]) -> list[str]:
    """The words that run `argv` on the host as its services see it: libvirt, switch, Ceph, the host's name."""
    seen = {
        **mounts(home(context)),
        hosting.switch_directory(context): Path("/run/openvswitch"),
        ceph.cluster(context).etc: Path("/etc/ceph"),
    }
    room.prepare(seen)
    return room.enter(argv, mounts=seen, hostname=hosting.of(context).name)


def command() -> list[str]:
    """libvirtd in the foreground; by itself it would keep its process number where other hosts' daemons keep theirs."""
    return ["libvirtd", "-p", "/run/libvirt/libvirtd.pid"]


def configure(folder: Path, host_uuid: str, marks: dict[str, str]) -> None:
    """Write what libvirtd and QEMU read, and the program that stands in QEMU's place."""
    for name in ("run", "lib/qemu", "log", "etc/secrets", "qemu/bin"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    replace(folder / "etc/qemu.conf", libvirt_config.QEMU, mode=0o600)
    log = "/var/log/libvirt/libvirtd.log"
    text = libvirt_config.daemon(host_uuid=host_uuid, log_file=log)
    replace(folder / "etc/libvirtd.conf", text, mode=0o600)
    _accounts(folder)
    program = folder / "qemu/bin/qemu-real"
    program.touch()
    for name in ("lib", "share"):
        if not (link := folder / "qemu" / name).is_symlink():
            link.symlink_to(f"/usr/{name}")
    script = libvirt_config.wrapper(program=str(program), marks=marks)
    # Written in place: a running libvirt has this very file mounted.
    wrapper = folder / "qemu/bin/wrapper"
    wrapper.write_text(script)
    wrapper.chmod(0o755)
    for left in (folder / "run").glob("libvirtd.pid"):
        left.unlink()


def _accounts(folder: Path) -> None:
    """Show libvirt the account that it looks for in any case, and never uses here, without making it on this machine."""
    lines = {"passwd": "libvirt-qemu:x:64055:64055::/nonexistent:/usr/sbin/nologin\n"}
    lines["group"] = "libvirt-qemu:x:64055:\n"
    for name, line in lines.items():
        text = (Path("/etc") / name).read_text()
        (folder / name).write_text(text if "libvirt-qemu:" in text else text + line)


def write_secret(folder: Path, uuid: str, key: str) -> None:
    """Give libvirt the key of the site's Ceph before it starts, in files that nobody else reads."""
    (folder / "etc/secrets").chmod(0o700)
    replace(folder / f"etc/secrets/{uuid}.xml", libvirt_config.secret(uuid), mode=0o600)
    replace(folder / f"etc/secrets/{uuid}.base64", key, mode=0o600)


def virsh(context: Context, *words: str, check: bool = True) -> Completed:
    """Ask the host's libvirt."""
    argv = inside(context, ["virsh", "-q", "-c", "qemu:///system", *words])
    return run(argv, namespace=hosting.of(context).namespace, check=check)


def _silent(context: Context) -> str | None:
    done = virsh(context, "list", check=False)
    return None if done.code == 0 else done.stderr.strip()[-300:]
