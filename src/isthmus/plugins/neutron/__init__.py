"""Remote ports: ports of a Neutron whose machine runs behind another Neutron.

A remote port is an ordinary port (address, MAC, security groups) that is bound to a tunnel endpoint
(VTEP) in another site instead of to a host of this one. Stock l2population then tells this site's
agents where to send packets, and stock security groups count it as a member. Nothing here patches
Neutron; everything is loaded through its entry points.

The parts and who knows whom::

    extension        ML2 extension driver: the two attributes of the API, creation and update
    ├─ acceptance    why a request about a remote port is refused (pure)
    └─ tunnels       where a port is: the tunnel address of its host
    mechanism        ML2 mechanism driver: binds; guards the rows of VTEPs
    └─ housekeeping  the periodic worker that refreshes and collects these rows
    vteps            one agent row per VTEP: made, counted, refreshed, collected
    db               the table of remote ports and its migrations
    api_definition, extensions, policies, options, errors
                     what Neutron's API, policy and configuration have to know

What a client sends for a remote port: ``device_owner`` = ``isthmus:remote``; ``device_id`` = what
the port stands for (Isthmus: ``<site>/<port id>``, its key; an attribute of its own would need a
second indexed column and filter to say the same, while ``device_id`` is indexed and filterable
already); ``remote_vtep``; ``mac_address``, ``fixed_ips`` and ``security_groups`` (always named:
without the key Neutron makes and sets the default group of the port's project).

Whose a remote port is, the client decides by ``project_id``; docs/neutron-driver.rst says what
follows from either. An administrator may give it security groups of any project.
"""
