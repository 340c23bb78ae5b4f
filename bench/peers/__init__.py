"""Simulated peer sites: what an engine asks of other sites, answered by one process for fifty of them.

They exist because the cost of many sites is to be measured where there is room for one. A simulated site has a Neutron that
answers as Neutron does (lists with filters, fields and pages), an engine that answers signed requests, and an entry in the
service catalog. All of it is made from a seed, so that two runs meet the same ports. They carry no packets, they cannot be
written to, and they promise nothing about service addresses.

Who knows whom::

    __main__      the process: a file says who there is, `app` answers
    app           requests by address: which site, which API
    ├─ neutrons   lists of one site's Neutron        engines    what one site's engine says
    ├─ catalogs   the catalog of a real Keystone with the simulated sites in it
    └─ generating the sites and their ports, from a seed; pure
"""
