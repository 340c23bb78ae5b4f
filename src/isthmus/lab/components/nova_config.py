"""Renders nova.conf and the pipeline of Nova's API. Pure: values in, text out.

A comment says what breaks without a line. Sections and options are those of Nova 34.
"""

from dataclasses import dataclass

from isthmus.identity import config
from isthmus.lab.components import service_config
from isthmus.lab.components.ceph_config import CLIENT
from isthmus.lab.components.service_config import Section

PRIVSEP = (
    "privsep",
    "nova_sys_admin",
    "privsep_osbrick",
    "vif_plug_ovs_privileged",
    "vif_plug_linux_bridge_privileged",
)

_FILTER = "isthmus_quiesce"


@dataclass(frozen=True, kw_only=True)
class Compute(service_config.Service):
    """What a process of a site's Nova is told."""

    host: str
    address: str
    # None on a compute host, which must not have them: it would look into all cells and fail.
    database: str | None
    api_database: str | None


def conf(told: Compute) -> str:
    """nova.conf, the same for the API, conductor, scheduler and a compute host."""
    site = told.site
    own = {**service_config.account(site, "nova", told.password), "valid_interfaces": "internal"}
    return config.ini(
        {
            "DEFAULT": _default(told),
            "api": {"auth_strategy": "keystone"},
            "wsgi": {"api_paste_config": told.paste},
            **_databases(told),
            "glance": {**own, "api_servers": f"http://{site.front}:{config.IMAGE_PORT}"},
            "cinder": {
                **service_config.account(site, "nova", told.password),
                "catalog_info": "block-storage::internalURL",
                "os_region_name": site.name,
            },
            "neutron": own,
            "placement": own,
            # New hosts are found by themselves.
            "scheduler": {"workers": 1, "discover_hosts_in_cells_interval": 5},
            "conductor": {"workers": 1},
            "vnc": {"enabled": "false"},
            "libvirt": {
                # Plain emulation; a smaller code cache saves nothing that lasts, a larger one costs at once.
                "virt_type": "qemu",
                "cpu_mode": "none",
                "tb_cache_size": 48,
                "images_type": "qcow2",
                "rbd_user": CLIENT,
                "rbd_secret_uuid": told.secret_uuid,
            },
            "os_vif_ovs": {"ovsdb_connection": "unix:/run/openvswitch/db.sock"},
            **told.sections("nova", PRIVSEP),
        }
    )


def _databases(told: Compute) -> dict[str, Section]:
    named = {"api_database": told.api_database, "database": told.database}
    return {name: {"connection": url, "max_pool_size": 5} for name, url in named.items() if url}


def _default(told: Compute) -> Section:
    return {
        "transport_url": told.transport,
        "host": told.host,
        "my_ip": told.address,
        "state_path": told.directory,
        "log_file": told.log_file,
        "use_stderr": "false",
        "compute_driver": "libvirt.LibvirtDriver",
        "osapi_compute_workers": 1,
        "report_interval": 10,
        "service_down_time": 40,
        # A small machine holds all hosts of all sites.
        "reserved_host_memory_mb": 0,
        "reserved_host_disk_mb": 0,
        "cpu_allocation_ratio": 16,
        "ram_allocation_ratio": 4,
        "disk_allocation_ratio": 16,
        # A guest runs only when its port has its flows; a busy machine takes its time.
        "vif_plugging_is_fatal": "true",
        "vif_plugging_timeout": 120,
        # Guests learn their part from it: there is no metadata service.
        "force_config_drive": "true",
        "force_raw_images": "false",
        # A volume from an image is made in tens of seconds when six are made at once.
        "block_device_allocate_retries": 120,
        "block_device_allocate_retries_interval": 1,
        # The guest ends in two seconds when its agent is asked; one whose agent is dead is not waited for.
        "shutdown_timeout": 15,
        # A compute service that was asked to end lives on for minutes by default, beside its successor.
        "manager_shutdown_timeout": 5,
        "graceful_shutdown_timeout": 10,
    }


def pipeline(stock: str, *, quiesce: bool) -> str:
    """api-paste.ini as Nova's distribution has it, with the product's filter after `keystonecontext`."""
    if not quiesce:
        return stock
    lines = [
        line.replace(" keystonecontext ", f" keystonecontext {_FILTER} ")
        if line.startswith("keystone = ")
        else line
        for line in stock.splitlines()
    ]
    factory = "isthmus.plugins.nova.middleware:Quiesce.factory"
    return "\n".join([*lines, "", f"[filter:{_FILTER}]", f"paste.filter_factory = {factory}", ""])
