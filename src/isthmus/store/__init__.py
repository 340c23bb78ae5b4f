"""What a site's recovery controller remembers, in the site's own database: schema `isthmus_recovery`.

It exists so that an operation survives its engine and so that every change of it is one transaction.
It knows tables and documents, not what they mean: that is `isthmus.operations` and `isthmus.recovery`.
Nothing here is the only copy of what a disaster must leave behind; that is in the manifests of the
remote store. MariaDB in production, SQLite in tests.
"""

SCHEMA = "isthmus_recovery"
"""The name of the schema, for whoever only speaks of it: what works with it is slow to import."""
