"""What runs on a compute host: tells what its Open vSwitch holds, and plugs probes into it.

One process per host, `isthmus-agent --config FILE` with `kind: host`, in the network namespace of
the host and as root. It answers signed HTTP requests of its site's engine and decides nothing: what
an FDB should hold and what a fault means is judged by `isthmus.network`. It needs no OpenStack
library and no message bus, so that it still answers when the host's Neutron agent is dead.
"""
