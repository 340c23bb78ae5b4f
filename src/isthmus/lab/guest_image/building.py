"""Builds the guest's image, once for each content: the files beside this module and the packages' checksums name it.

Only the boot loader's installer needs a mounted file system. It gets one in a mount namespace of its own: an image that is
mounted while some other namespace is made stays mounted there, and what was written never reaches the file.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from isthmus.lab import errors
from isthmus.lab.guest_image import packages
from isthmus.lab.guest_image.packages import Package
from isthmus.lab.running import run

# Below the lab's templates, which are pruned of all that is not named in `templates.OTHERS`.
FOLDER = "guest-image"

IMAGE_MIB = 96
# Where the one partition begins. Without a partition table Glance takes the boot loader's sector for a disguised image.
PARTITION_OFFSET = 1 << 20

# What Nova has to know of the image: without the first it refuses to freeze its guests. A flavor needs MEMORY_MIB.
PROPERTIES = {
    "hw_qemu_guest_agent": "yes",
    "hw_disk_bus": "virtio",
    "hw_vif_model": "virtio",
    "hw_machine_type": "pc",
}
MEMORY_MIB = 128

_MASTER_BOOT_CODE = Path("/usr/lib/EXTLINUX/mbr.bin")

# Drivers, each with whatever it depends on: the disk, the agent's port, the network, a configuration drive.
_DRIVERS = (
    "virtio_pci",
    "virtio_blk",
    "virtio_console",
    "virtio_net",
    "ata_piix",
    "sr_mod",
    "isofs",
)

# Loaded first although nothing names it: without it the host's devices of the older kind are not found.
_FIRST = ("virtio_pci_modern_dev", "virtio_pci_legacy_dev")

_AT = {
    "extlinux.conf": "boot/extlinux/extlinux.conf",
    "init": "sbin/init",
    "shutdown": "sbin/shutdown",
}
_GUEST_LIBRARY = "lib/guest"

_INSTALL = (
    'mount --make-rprivate / && mount -t ext4 -o loop,offset="$1" "$0" "$2" '
    '&& { extlinux --install "$2/boot/extlinux"; code=$?; umount "$2"; exit $code; }'
)


@dataclass(frozen=True, kw_only=True)
class GuestImage:
    """A finished image: a raw disk, and the kernel that is inside."""

    path: Path
    key: str
    sha256: str
    kernel: str


def cached(templates: Path) -> GuestImage:
    """The image for today's packages, taken from `templates` or built there. Raises `errors.BadHost`, `errors.CommandFailed`."""
    wanted = packages.wanted(templates / FOLDER / "packages.json")
    folder = templates / FOLDER / key(wanted)
    return load(folder) or build(folder, wanted)


def key(wanted: Sequence[Package]) -> str:
    """Names the image's content: 16 hexadecimal digits."""
    here = Path(__file__).parent
    own = [Path(__file__), *sorted((here / "files").iterdir())]
    parts = [f"{p.name} {p.version} {p.sha256}" for p in wanted]
    parts += [f"{path.name}\0{path.read_text()}" for path in own]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def load(folder: Path) -> GuestImage | None:
    """The finished image in `folder`, or None."""
    try:
        said = json.loads((folder / "image.json").read_text())
    except FileNotFoundError:
        return None
    return GuestImage(
        path=folder / "guest.raw", key=folder.name, sha256=said["sha256"], kernel=said["kernel"]
    )


def build(folder: Path, wanted: Sequence[Package]) -> GuestImage:
    """Build into a directory beside `folder` and rename: a build that is killed leaves nothing that looks finished."""
    partial = folder.with_name(f"{folder.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    unpacked, root, image = partial / "unpacked", partial / "root", partial / "guest.raw"
    unpacked.mkdir(parents=True)
    try:
        for package in wanted:
            packages.unpack(package, unpacked)
        kernel = _fill(unpacked, root)
        _write(image, root, partial / "mounted")
        digest = hashlib.sha256(image.read_bytes()).hexdigest()
        said = {"sha256": digest, "kernel": kernel, "packages": [p.__dict__ for p in wanted]}
        (partial / "image.json").write_text(json.dumps(said, indent=1))
        for scaffold in (unpacked, root, partial / "mounted"):
            shutil.rmtree(scaffold)
        _put(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return GuestImage(path=folder / "guest.raw", key=folder.name, sha256=digest, kernel=kernel)


def _put(partial: Path, folder: Path) -> None:
    """Put the finished directory in place; another builder of the same content may have been faster."""
    try:
        partial.rename(folder)
    except OSError:
        if load(folder) is None:
            raise


def _fill(unpacked: Path, root: Path) -> str:
    """Make the root file system's tree and return the kernel's release."""
    for name in (
        "bin",
        "sbin",
        "boot/extlinux",
        "data",
        "dev",
        "etc",
        "proc",
        "root",
        "run",
        "sys",
        "tmp",
        "var",
    ):
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "var/run").symlink_to("/run")
    release = next((unpacked / "lib/modules").iterdir()).name
    shutil.copy(unpacked / f"boot/vmlinuz-{release}", root / "boot/vmlinuz")
    box = unpacked / "bin/busybox"
    _initial(
        box, unpacked / "lib/modules" / release, unpacked.parent / "initrd", root / "boot/initrd"
    )
    shutil.copy(box, root / "bin/busybox")
    for name in run([str(box), "--list"]).stdout.split():
        if name != "busybox":
            (root / "bin" / name).symlink_to("busybox")
    for program in (unpacked / "usr/sbin/qemu-ga", Path("/sbin/mke2fs")):
        _program(program, root)
    _own_files(root)
    return release


def _own_files(root: Path) -> None:
    (root / _GUEST_LIBRARY).mkdir(parents=True)
    for source in sorted((Path(__file__).parent / "files").iterdir()):
        if source.name != "initrd-init":
            target = root / _AT.get(source.name, f"{_GUEST_LIBRARY}/{source.name}")
            shutil.copyfile(source, target)
            target.chmod(0o755)
    # mke2fs wants to know what a file system is to look like.
    shutil.copy("/etc/mke2fs.conf", root / "etc/mke2fs.conf")


def _program(path: Path, root: Path) -> None:
    """Copy a program and the libraries that it loads on this machine."""
    shutil.copy(path, root / "sbin" / path.name)
    shown = run(["ldd", str(path)]).stdout
    if lost := re.findall(r"(\S+) => not found", shown):
        raise errors.BadHost(
            missing=[f"{path.name} needs {name}" for name in lost], remedy="make setup"
        )
    for library in re.findall(r"(/\S+) \(0x", shown):
        target = root / library.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, target)


def _initial(box: Path, modules: Path, folder: Path, target: Path) -> None:
    """Make the initial RAM disk: busybox, the drivers, the order to load them in."""
    for name in ("bin", "dev", "modules", "proc", "root"):
        (folder / name).mkdir(parents=True)
    shutil.copy(box, folder / "bin/busybox")
    shutil.copyfile(Path(__file__).parent / "files/initrd-init", folder / "init")
    (folder / "init").chmod(0o755)
    found = {path.stem.replace("-", "_"): path for path in modules.rglob("*.ko")}
    needs = {name: depends(path.read_bytes()) for name, path in found.items()}
    order = load_order((*_FIRST, *_DRIVERS), needs)
    for name in order:
        shutil.copy(found[name], folder / "modules" / f"{name}.ko")
    (folder / "modules/order").write_text("".join(f"{name}.ko\n" for name in order))
    script = 'cd "$0" && find . | "$1" cpio -o -H newc 2>/dev/null | gzip -1n > "$2"'
    run(["sh", "-c", script, str(folder), str(box), str(target)])
    shutil.rmtree(folder)


def depends(module: bytes) -> tuple[str, ...]:
    """What a kernel module says that it needs."""
    found = re.search(rb"\0depends=([^\0]*)\0", module)
    names = found.group(1).decode() if found else ""
    return tuple(name.replace("-", "_") for name in names.split(",") if name)


def load_order(wanted: Sequence[str], needs: dict[str, tuple[str, ...]]) -> list[str]:
    """`wanted` and all that they need, each after what it needs. A module that does not exist is built in."""
    order: list[str] = []

    def place(name: str) -> None:
        if name in order or name not in needs:
            return
        for other in needs[name]:
            place(other)
        order.append(name)

    for name in wanted:
        place(name)
    return order


def _write(image: Path, root: Path, mounted: Path) -> None:
    """Write boot code, partition table, file system and boot loader into the image."""
    with image.open("wb") as stream:
        stream.truncate(IMAGE_MIB << 20)
    table = f"label: dos\nstart={PARTITION_OFFSET // 512}, type=83, bootable\n"
    run(["sfdisk", "-q", str(image)], stdin=table)
    size_kib = (IMAGE_MIB << 10) - (PARTITION_OFFSET >> 10)
    run(
        [
            # The boot loader reads blocks of this size well and stands still over smaller ones.
            *("mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-O", "^64bit,^metadata_csum"),
            *(
                "-E",
                f"offset={PARTITION_OFFSET},root_owner=0:0,lazy_itable_init=0",
                "-d",
                str(root),
            ),
            *(str(image), f"{size_kib}k"),
        ],
        timeout=120.0,
    )
    mounted.mkdir()
    run(
        ["unshare", "-m", "sh", "-c", _INSTALL, str(image), str(PARTITION_OFFSET), str(mounted)],
        timeout=120.0,
    )
    with image.open("r+b") as stream:
        stream.write(_MASTER_BOOT_CODE.read_bytes())
