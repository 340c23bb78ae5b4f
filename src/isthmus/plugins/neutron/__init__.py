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
already); ``remote_vtep``; ``mac_address``, ``fixed_ips`` and ``security_groups``. And **no**
``project_id``: a remote port belongs to the project of the service that makes it, not to the
tenant. So it costs no tenant's quota, and the tenant cannot change it. Security groups of other
projects are accepted because the service acts as administrator; with an empty list none are set
(without the key, Neutron makes and sets the default group of the service's project). The service's
project needs ``openstack quota set --ports -1``.
"""
