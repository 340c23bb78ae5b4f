"""Makes the rings of a Swift with one device, in a process of its own: importing Swift is not for the lab's commands.

`python -m isthmus.lab.components.swift_rings FOLDER ADDRESS`
"""

import sys
from pathlib import Path

from isthmus.lab.components.swift_config import SERVERS

DEVICE = "d1"

_PART_POWER = 6


def main() -> None:
    """Write account, container and object rings into the folder."""
    # Swift is not typed and large.
    from swift.common.ring import RingBuilder

    folder, address = Path(sys.argv[1]), sys.argv[2]
    for kind, port in SERVERS.items():
        builder = RingBuilder(_PART_POWER, 1, 1)
        where = {"ip": address, "port": port, "replication_ip": address, "replication_port": port}
        builder.add_dev(
            {
                "id": 0,
                "region": 1,
                "zone": 1,
                "weight": 100.0,
                "device": DEVICE,
                "meta": "",
                **where,
            }
        )
        builder.rebalance(seed=1)
        builder.get_ring().save(str(folder / f"{kind}.ring.gz"))


if __name__ == "__main__":
    main()
