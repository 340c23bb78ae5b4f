"""Migrations, run by ``neutron-db-manage --subproject isthmus upgrade heads``."""
