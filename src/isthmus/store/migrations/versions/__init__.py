"""Alembic's migrations of the schema `isthmus_recovery`; run by `isthmus.store.schema.upgrade`."""
