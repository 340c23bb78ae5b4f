"""Backups of snapshots to the remote store: which parent, how long kept, carried out in parallel."""
