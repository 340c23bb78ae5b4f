"""What runs beside a site's identity databases: watches, answers health checks, re-points.

One process per site, `isthmus-agent --config FILE`. It decides with `isthmus.identity` and carries
out here. It stays small: no OpenStack library is imported.
"""
