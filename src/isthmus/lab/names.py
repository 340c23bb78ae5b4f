"""Names of what the lab makes on the machine beside its sites."""

WAN = "isthmus-wan"
LOGIN = "isthmus-login"
OBSERVER = "isthmus-observer"
BRIDGE = "isthmus-mgmt"
GUEST = "isthmus-guest-"  # what the namespaces of guests begin with
