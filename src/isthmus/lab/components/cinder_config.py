"""Renders cinder.conf of one site, the same for all four processes. Pure: values in, text out.

A comment says what breaks without a line. Sections and options are those of Cinder 29.
"""

from dataclasses import dataclass

from isthmus.identity import config
from isthmus.lab.components import service_config
from isthmus.lab.components.ceph_config import CLIENT, CLUSTER, CONF, POOL

BACKEND = "rbd"

# Objects of a backup. Each costs requests to the store and a look at the database, also where a volume is empty; an increment holds
# the blocks that have changed, however large objects may be. The service holds one in memory for each volume at a time.
_OBJECT_BYTES = 64 << 20
_BLOCK_BYTES = 128 << 10

PRIVSEP = ("cinder_sys_admin", "privsep_osbrick")


@dataclass(frozen=True, kw_only=True)
class Volumes(service_config.Service):
    """What the processes of a site's Cinder are told."""

    database: str
    # The remote store up to the project's id, or None if no site has one.
    store: str | None
    nova_password: str
    filters: str  # the path of what users may search for


def conf(told: Volumes) -> str:
    """cinder.conf."""
    return config.ini(
        {
            "DEFAULT": {**_default(told), **(_backup(told.store) if told.store else {})},
            BACKEND: {
                "volume_driver": "cinder.volume.drivers.rbd.RBDDriver",
                "volume_backend_name": BACKEND,
                "rbd_cluster_name": CLUSTER,
                "rbd_ceph_conf": CONF,
                "rbd_user": CLIENT,
                "rbd_pool": POOL,
                "rbd_secret_uuid": told.secret_uuid,
                "rbd_flatten_volume_from_snapshot": "false",
                # Free space is what the pool says, not the sum of all volumes read one by one.
                "rbd_exclusive_cinder_pool": "true",
                "report_dynamic_total_capacity": "false",
                "backend_availability_zone": "nova",
            },
            "database": {"connection": told.database, "max_pool_size": 5, "max_overflow": 10},
            "coordination": {"backend_url": f"file://{told.directory}/coordination"},
            "nova": {
                **service_config.account(told.site, "nova", told.nova_password),
                "interface": "internal",
            },
            **told.sections("cinder", PRIVSEP),
        }
    )


def _default(told: Volumes) -> service_config.Section:
    site, folder = told.site, told.directory
    return {
        "transport_url": told.transport,
        "auth_strategy": "keystone",
        "host": site.name,
        "my_ip": site.front,
        "state_path": folder,
        "api_paste_config": told.paste,
        # Without it nobody but an administrator may search for a volume by its name.
        "resource_query_filters_file": told.filters,
        "log_file": told.log_file,
        "use_stderr": "false",
        "glance_api_servers": f"http://{site.front}:{config.IMAGE_PORT}",
        "enabled_backends": BACKEND,
        "storage_availability_zone": "nova",
        "image_conversion_dir": f"{folder}/conversion",
        "osapi_volume_workers": 1,
        "report_interval": 10,
        "periodic_interval": 20,
        # A process that is asked to end must not be there when its successor starts.
        "graceful_shutdown_timeout": 5,
    }


def _backup(store: str) -> service_config.Section:
    return {
        # The stock driver looks for zeros item by item, seconds of a core for each GiB that a failover restores.
        "backup_driver": "isthmus.plugins.cinder.swift.SwiftBackupDriver",
        "backup_swift_url": store,
        # With the token of whoever asked: the same account in the store at whatever site the backup is read.
        "backup_swift_auth": "per_user",
        "backup_swift_object_size": _OBJECT_BYTES,
        "backup_swift_block_size": _BLOCK_BYTES,
        "backup_swift_retry_attempts": 3,
        "backup_swift_retry_backoff": 2,
        "backup_swift_enable_progress_timer": "false",
        "backup_compression_algorithm": "zstd",
        "backup_driver_init_check_interval": 5,
        "backup_workers": 1,
        "backup_max_operations": 6,
        # Backups are made of snapshots through a volume that the service makes of them.
        "backup_use_same_host": "true",
    }
