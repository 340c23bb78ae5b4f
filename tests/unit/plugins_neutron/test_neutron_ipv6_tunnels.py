"""A site whose tunnels run over IPv6."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from neutron_site import Site, entry, running


class SiteWithIpv6Tunnels(Site):
    """The same with tunnels over IPv6."""

    overlay_ip_version = 6


@pytest.fixture(scope="module")
def started() -> Iterator[Site]:
    """See ``conftest``."""
    with running(SiteWithIpv6Tunnels) as site:
        yield site


def test_an_ipv6_vtep_is_one_vtep_however_it_is_spelled(site: Site) -> None:
    network = site.network()
    site.remote_port(network, "fd00:99::31")
    port = site.remote_port(network, "FD00:0099:0:0::0031")
    assert port["remote_vtep"] == port["vtep_ip"] == "fd00:99::31"
    assert port["status"] == "ACTIVE"
    assert site.rows().keys() == {"remote-vtep-fd00:99::31"}
    assert site.told()[-1].entries["fd00:99::31"][-1] == entry(port)


def test_an_ipv4_vtep_is_refused_where_tunnels_run_over_ipv6(site: Site) -> None:
    reply = site.ask("POST", "ports", site.remote_request(site.network(), "10.99.2.31"))
    assert reply.status == 400
    assert "the tunnels of this site are IPv6 ([ml2] overlay_ip_version)" in reply.words
