"""Which namespaces of gateways belong to a lab."""

from pathlib import Path

from isthmus.agent.host import gateways as made
from isthmus.lab import environment, gateways
from isthmus.lab.home import Home

ADDRESS = "3f8f3c9c-6a8e-4b38-8a4d-0a6f7c0f1a11"


def _written(place: Home, unit: str) -> None:
    spec = made.Spec(
        id=ADDRESS,
        address="192.0.2.10",
        prefix=24,
        port_id="6a1c2f0e-1f6e-4f0c-9f35-9a3d9f0c7b22",
        mac="fa:16:3e:00:00:01",
        ip="10.0.0.9",
        ip_prefix=24,
        mtu=1400,
        target="10.0.0.5",
    )
    made.Book(place.unit_directory(unit) / "state" / "addresses").write(spec)


def test_a_gateway_is_the_labs_when_one_of_its_hosts_has_written_it_down(tmp_path: Path) -> None:
    place = Home(root=tmp_path)
    _, wanted = environment.load("network")
    assert gateways.namespaces(place, wanted) == set()
    _written(place, "paris/compute1-agent")
    _written(place, "lyon/compute1-agent")
    found = gateways.namespaces(place, wanted)
    assert len(found) == 2, "one per site: they may stand on one machine"
    assert all(name.startswith("isthmus-addr-") for name in found)
