"""`isthmus-engine`: one per site; makes its own site's Neutron match the declarations and speaks for the site."""
