"""The table of remote ports, in Neutron's own database."""
