"""Service addresses: one address of a network function, answered by one site at a time.

Two kinds. A `vrrp` address belongs to the function, which runs VRRP itself; Isthmus prepares the
networks for it and checks them (`vrrp`). A `moved` address is on a provider network that all sites
share; Isthmus holds it in one site and moves it (`lease`, `policy`, `service`).

Who knows whom::

    api, service        the rim: HTTP, threads
    ├─ policy           who should hold an address: pure
    ├─ lease            who may hold it: voters and claimants, pure
    ├─ gate             until when a host may answer for it, pure
    ├─ health           what probes of a target say, pure
    ├─ vrrp             what a function's own VRRP needs, pure
    └─ declarations     what an address is
"""
