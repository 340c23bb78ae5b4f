"""Renders what Neutron's server and its Open vSwitch agents read. Pure: values in, text out.

A comment says what breaks without a line. Sections and options are those of Neutron 29.
"""

from collections.abc import Mapping, Sequence

from isthmus.identity import config
from isthmus.identity.config import Ini
from isthmus.lab.components import service_config
from isthmus.lab.environment import PHYSICAL_NETWORK, HostSpec, SiteSpec

OVERLAY_MTU_OF = 1500  # the underlay's; VXLAN takes 50 of it

# The network ids that each site gives out by itself. Stretched networks take theirs from a range that lies in none of these.
STRETCHED_VNIS = (4000, 4999)
_VNIS = 1000

# A host is called dead after three reports are missing.
_REPORT_SECONDS = 10
_DOWN_SECONDS = 30

# Neutron 29 keeps its privileged work in six helpers, each with a section of its own. Without a command of ours each calls
# sudo, and the agent goes on without ever connecting to the switch.
PRIVSEP = (
    "privsep",
    "privsep_conntrack",
    "privsep_dhcp_release",
    "privsep_link",
    "privsep_namespace",
    "privsep_ovs_vsctl",
)


def vnis(site: SiteSpec) -> tuple[int, int]:
    """First and last network id that the site's Neutron gives out by itself; never one of `STRETCHED_VNIS`."""
    number = site.number if site.number * _VNIS < STRETCHED_VNIS[0] else site.number + 1
    return number * _VNIS, number * _VNIS + _VNIS - 1


def base_mac(site: SiteSpec) -> str:
    """What the MAC addresses of a site's ports begin with: never those of another site on the same stretched network."""
    return f"fa:16:3e:{site.number:02x}:00:00"


def server(
    *,
    site: SiteSpec,
    peers: Sequence[SiteSpec],
    database: str,
    transport: str,
    password: str,
    memcached: str,
    directory: str,
    paste: str,
    log_file: str,
    external: bool,
    remote_ports: bool,
    nova_password: str | None = None,
) -> str:
    """neutron.conf of one site, for the API, the RPC server and the periodic workers alike.

    `database` and `transport` are URLs with passwords; `peers` are the sites whose hosts may be tunnel ends of remote ports.
    `nova_password` is that of Nova's account if the site has Nova, which is then told when ports are wired.
    """
    own = ["remote_port"] if remote_ports else []
    sections: dict[str, Mapping[str, str | int]] = {
        "DEFAULT": {
            "core_plugin": "ml2",
            "service_plugins": "",
            "auth_strategy": "keystone",
            "transport_url": transport,
            "state_path": directory,
            "api_paste_config": paste,
            "log_file": log_file,
            "use_stderr": "false",
            "rpc_workers": 1,
            "rpc_state_report_workers": 0,
            "base_mac": base_mac(site),
            "global_physnet_mtu": OVERLAY_MTU_OF,
            "agent_down_time": _DOWN_SECONDS,
            "max_allowed_address_pair": 20,
            # No lab has a server of DHCP. Where guests take leases, the agents of their hosts answer.
            "enable_traditional_dhcp": "false",
            "notify_nova_on_port_status_changes": str(nova_password is not None).lower(),
            "notify_nova_on_port_data_changes": str(nova_password is not None).lower(),
        },
        "database": {"connection": database, "max_pool_size": 4, "max_overflow": 8},
        "oslo_concurrency": {"lock_path": f"{directory}/lock"},
        # The engine of the site listens to what has changed.
        "oslo_messaging_notifications": {"driver": "messagingv2", "topics": "notifications"},
        "oslo_middleware": {"enable_proxy_headers_parsing": "true"},
        "keystone_authtoken": service_config.checks_tokens(site, "neutron", password, memcached),
        "quotas": dict.fromkeys(("quota_network", "quota_subnet", "quota_port"), -1),
        "ml2": {
            "type_drivers": "vxlan,flat",
            "tenant_network_types": "vxlan",
            # Ours comes first: it binds the ports of other sites, and leaves all others alone.
            "mechanism_drivers": ",".join([*own, "openvswitch", "l2population"]),
            "extension_drivers": ",".join(["port_security", *own]),
            "path_mtu": OVERLAY_MTU_OF,
            "overlay_ip_version": 4,
        },
        "ml2_type_vxlan": {"vni_ranges": "{}:{}".format(*vnis(site))},
        "securitygroup": {"enable_security_group": "true", "firewall_driver": "openvswitch"},
    }
    if nova_password is not None:
        sections["nova"] = service_config.account(site, "nova", nova_password)
    if external:
        sections["ml2_type_flat"] = {"flat_networks": PHYSICAL_NETWORK}
    if remote_ports:
        # Whoever may set a port's tunnel end could aim a hypervisor anywhere: only at peers' hosts.
        sections["remote_port"] = {"allowed_vteps": ",".join(peer.subnet for peer in peers)}
    return config.ini(sections)


def agent(
    *,
    host: HostSpec,
    transport: str,
    directory: str,
    path: str,
    ovsdb: str,
    privsep_helper: str,
    log_file: str,
    external_bridge: str | None,
    dhcp: bool = False,
) -> str:
    """The configuration of one host's Open vSwitch agent, to be written at `path`; with `dhcp` it gives its ports their leases."""
    switch: dict[str, str | int] = {
        "local_ip": host.address,
        "datapath_type": "netdev",
        "ovsdb_connection": ovsdb,
        "of_listen_address": "127.0.0.1",
    }
    if external_bridge:
        switch["bridge_mappings"] = f"{PHYSICAL_NETWORK}:{external_bridge}"
    sections: Ini = {
        "DEFAULT": {
            "host": host.name,
            "transport_url": transport,
            "state_path": directory,
            "log_file": log_file,
            "use_stderr": "false",
        },
        "oslo_concurrency": {"lock_path": f"{directory}/lock"},
        "ovs": switch,
        "agent": {
            "tunnel_types": "vxlan",
            "l2_population": "true",
            "arp_responder": "true",
            "report_interval": _REPORT_SECONDS,
            "polling_interval": 1,
            # The agent runs as root already.
            "root_helper": "",
            # A restarted agent must not interrupt traffic that flows.
            "drop_flows_on_start": "false",
        },
        "securitygroup": {"enable_security_group": "true", "firewall_driver": "openvswitch"},
    }
    if dhcp:
        sections = {
            **sections,
            "agent": {**sections["agent"], "extensions": "dhcp"},
            "dhcp": {"enable_ipv6": "false"},
        }
    return config.ini({**sections, **service_config.helpers(privsep_helper, path, PRIVSEP)})
