"""What Neutron's extension manager scans: one module per API extension, named like its class."""
