"""The inventory: what a site is, how to reach it, and how to ask several of them at once."""
