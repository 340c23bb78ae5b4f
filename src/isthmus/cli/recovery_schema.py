"""`isthmus recovery schema upgrade`: the tables of a site's recovery controller, made by an account that may make tables.

The engine's own account may not: it could take away what it must only add to, the audit trail.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

from cliff.command import Command

from isthmus.recovery.signatures import secret_bytes


class Upgrade(Command):
    """Make the tables of recovery in a site's own database, or bring them to this version.

    Running it again changes nothing. With --engine-user, that account gets the rights that it needs
    and no others; it must exist.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument(
            "--url-file",
            required=True,
            type=Path,
            metavar="FILE",
            help="Holds the SQLAlchemy URL of the schema, with an account that may make tables "
            "(mysql+pymysql://USER:PASSWORD@HOST/isthmus_recovery); readable by its owner only.",
        )
        parser.add_argument("--engine-user", metavar="USER", help="The account of the engine.")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        with warnings.catch_warnings():
            # What TaskFlow may use announces its own end; nobody who runs this can do anything about it.
            warnings.simplefilter("ignore", DeprecationWarning)
            from isthmus.store import databases, schema

            database = databases.connect(secret_bytes(parsed_args.url_file).decode().strip())
            schema.upgrade(database)
        if parsed_args.engine_user:
            schema.grant(database, parsed_args.engine_user)
        database.close()
        self.app.stdout.write("the schema isthmus_recovery is up to date\n")
