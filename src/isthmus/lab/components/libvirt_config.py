"""Renders what libvirt and QEMU of one compute host read. Pure: values in, text out."""

import uuid

from isthmus.lab.components.ceph_config import CLIENT

# No services of the machine stand behind it: no security driver, no user of QEMU's own, no control groups, no log daemon.
QEMU = """\
security_driver = "none"
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
cgroup_controllers = [ ]
namespaces = [ ]
stdio_handler = "file"
max_core = 0
"""

# QEMU finds its modules and firmware relative to where its program lies.
_WRAPPER = """\
#!/bin/sh
# Guests send frames with whole checksums: the user-space switch adds none, and without them ping works and TCP stands still.
{marks}exec {program} -global virtio-net-pci.csum=off "$@"
"""


def daemon(*, host_uuid: str, log_file: str) -> str:
    """libvirtd.conf: reached by root over its Unix socket alone."""
    return (
        'auth_unix_rw = "none"\nunix_sock_group = "root"\n'
        f'host_uuid = "{host_uuid}"\nlog_outputs = "3:file:{log_file}"\n'
    )


def wrapper(*, program: str, marks: dict[str, str]) -> str:
    """The program that stands in QEMU's place. `marks` are set in the environment that libvirt has emptied."""
    exports = "".join(f"export {name}='{value}'\n" for name, value in marks.items())
    return _WRAPPER.format(marks=exports, program=program)


def host_uuid(site: str, host: str) -> str:
    """The same host has the same identity in every lab."""
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{host}.{site}.isthmus"))


def secret_uuid(fsid: str) -> str:
    """The name under which Nova and libvirt know the key of a cluster."""
    return str(uuid.uuid5(uuid.UUID(fsid), CLIENT))


def secret(uuid_: str) -> str:
    """The definition of the cluster's key; its value lies beside it."""
    usage = f"<usage type='ceph'><name>client.{CLIENT} of this site</name></usage>"
    return f"<secret ephemeral='no' private='no'><uuid>{uuid_}</uuid>{usage}</secret>\n"
