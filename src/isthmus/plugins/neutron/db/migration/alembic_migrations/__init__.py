"""The environment of alembic and the revisions, laid out as Neutron's migration tool expects."""
