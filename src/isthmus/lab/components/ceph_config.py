"""Renders what a site's one-node Ceph reads. Pure: values in, text out.

A comment says what breaks, or what it costs, without a line. Options are those of Ceph 16.2.
"""

from pathlib import Path

from isthmus.identity import config

CLUSTER = "ceph"
POOL = "volumes"
CLIENT = "cinder"  # the account of Cinder, Nova and libvirt

# Where clients see them.
CONF = f"/etc/ceph/{CLUSTER}.conf"
KEYRING = f"/etc/ceph/{CLUSTER}.client.{CLIENT}.keyring"

MON_PORT = 3300

_MEBI = 1 << 20
VOLUME_BYTES = 32 << 30  # of the sparse file that holds all volumes of a site


def server(*, folder: Path, fsid: str, address: str) -> str:
    """ceph.conf of the daemons. Everything of theirs lies in `folder`."""
    return config.ini(
        {
            "global": {
                "fsid": fsid,
                "mon_host": mon_host(address),
                "public_addr": address,
                "cluster_addr": address,
                "auth_cluster_required": "cephx",
                "auth_service_required": "cephx",
                "auth_client_required": "cephx",
                "keyring": f"{folder}/$name.keyring",
                "admin_socket": f"{folder}/$name.asok",
                "run_dir": folder.as_posix(),
                "crash_dir": f"{folder}/crash",
                "log_to_file": "false",
                "log_to_stderr": "true",
                "err_to_stderr": "true",
                "mon_cluster_log_to_file": "false",
                # One node: one copy, and nothing to complain about.
                "osd_pool_default_size": 1,
                "osd_pool_default_min_size": 1,
                "osd_pool_default_pg_num": 8,
                "osd_pool_default_pgp_num": 8,
                "osd_pool_default_pg_autoscale_mode": "off",
                "osd_crush_chooseleaf_type": 0,
                "mon_allow_pool_size_one": "true",
                "mon_warn_on_pool_no_redundancy": "false",
                "mon_data_avail_warn": 1,
                "auth_allow_insecure_global_id_reclaim": "false",
                # Exclusive locks, object maps and fast differences: what incremental exports and snapshots of used volumes want.
                "rbd_default_features": 61,
                "ms_async_op_threads": 2,
            },
            "mon": {"mon_data": f"{folder}/mon", "rocksdb_cache_size": 16 * _MEBI},
            "mgr": {
                "mgr_data": f"{folder}/mgr",
                # Health of disks that do not exist would make a pool of its own.
                "mgr_initial_modules": "",
                "mgr/devicehealth/enable_monitoring": "false",
            },
            "osd": {
                "osd_data": f"{folder}/osd",
                "osd_objectstore": "bluestore",
                "bluestore_block_size": VOLUME_BYTES,
                "bluestore_block_db_create": "false",
                "bluestore_block_wal_create": "false",
                # The smallest that is allowed; caches of fixed size and small tables keep it far below that.
                "osd_memory_target": 896 * _MEBI,
                "bluestore_cache_autotune": "false",
                "bluestore_cache_size": 48 * _MEBI,
                "bluestore_rocksdb_options_annex": f"write_buffer_size={16 * _MEBI},max_write_buffer_number=2",
                "osd_min_pg_log_entries": 50,
                "osd_max_pg_log_entries": 200,
                "osd_op_num_shards": 2,
                "osd_op_num_threads_per_shard": 1,
                # A scrub reads everything: never while somebody measures.
                "osd_scrub_begin_hour": 3,
                "osd_scrub_end_hour": 4,
            },
        }
    )


def client(*, fsid: str, address: str) -> str:
    """ceph.conf of clients, which find their keyring beside it in /etc/ceph."""
    keyring = f"/etc/ceph/{CLUSTER}.$name.keyring"
    return config.ini({"global": {"fsid": fsid, "mon_host": mon_host(address), "keyring": keyring}})


def mon_host(address: str) -> str:
    """Where the monitor answers, in the newer protocol only."""
    return f"[v2:{address}:{MON_PORT}/0]"
