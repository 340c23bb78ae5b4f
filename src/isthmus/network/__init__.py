"""Layer 2 networks over the Neutrons of several sites, and addresses that move between sites."""
