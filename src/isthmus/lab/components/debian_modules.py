"""Python modules that Debian builds with its libraries and PyPI does not offer whole: libvirt, rados, rbd.

They are for the same Python version as the locked environment. A directory with links to just these is put on PYTHONPATH of
the services that need them; Debian's whole directory there would hide half of the locked packages.
"""

from pathlib import Path

from isthmus.lab import errors
from isthmus.lab.home import Home

_SOURCE = Path("/usr/lib/python3/dist-packages")
_MODULES = {
    "libvirt.py": "python3-libvirt",
    "libvirt_qemu.py": "python3-libvirt",
    "libvirtmod.*.so": "python3-libvirt",
    "libvirtmod_qemu.*.so": "python3-libvirt",
    "rados.*.so": "python3-rados",
    "rbd.*.so": "python3-rbd",
}


def environment(home: Home) -> dict[str, str]:
    """What a service's environment needs to import them. Raises `errors.BadHost` when a package is missing."""
    return {"PYTHONPATH": str(link(home.lab / "python"))}


def link(folder: Path, source: Path = _SOURCE) -> Path:
    """Put the links into `folder` and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    for pattern, package in _MODULES.items():
        found = sorted(source.glob(pattern))
        if not found:
            raise errors.BadHost(
                missing=[f"{source}/{pattern}: package {package}"], remedy="make setup"
            )
        target = folder / found[0].name
        if not target.is_symlink():
            target.symlink_to(found[0])
    return folder
