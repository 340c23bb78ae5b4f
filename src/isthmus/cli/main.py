"""The `isthmus` command: finds what was asked for, runs it, and words every failure.

Commands are loaded by entry point (group ``isthmus.cli``), so that the lab adds its own without
being imported here. Modules that cost time to import (openstacksdk, rich, the capabilities) are
imported by the commands that use them: ``isthmus --help`` should answer at once. It is not a shell:
without a command it prints the help.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import traceback
from collections.abc import Sequence

import cliff.app
import cliff.command
import cliff.commandmanager
import cliff.help

import isthmus
from isthmus import errors

COMMANDS = "isthmus.cli"


class Commands(cliff.commandmanager.CommandManager):
    """The commands by name. cliff's own way would import every one of them at every start."""

    def load_commands(self, namespace: str) -> None:
        """Read the names of the commands; a command is imported when it is run."""
        from importlib import metadata

        self.group_list.append(namespace)
        for entry in metadata.entry_points(group=namespace):
            self.commands.setdefault(entry.name.replace("_", " "), entry)


class Application(cliff.app.App):
    """cliff's application with errors that propagate to :func:`main`, which alone words them."""

    NAME = "isthmus"

    def __init__(self) -> None:
        # cliff otherwise reads the file lists of all installed distributions (0.2 s and more) only
        # to say which of them a command comes from.
        cliff.command._dists_by_mods = {}  # type: ignore[assignment]
        super().__init__(
            description=isthmus.__doc__,
            version=version(),
            command_manager=Commands(COMMANDS),
            deferred_help=True,
        )

    def build_option_parser(
        self,
        description: str | None,
        version: str | None,
        argparse_kwargs: dict[str, object] | None = None,
    ) -> argparse.ArgumentParser:
        """Add the global options. They may stand before or after the command's words."""
        # Abbreviations are off, because a command's own --site would be taken for --sites.
        parser = super().build_option_parser(
            description,
            version,
            {"prog": self.NAME, "allow_abbrev": False},
        )
        parser.add_argument(
            "--sites",
            metavar="FILE",
            help="The sites file; otherwise the first of $ISTHMUS_SITES, ./sites.yaml, "
            "~/.config/isthmus/sites.yaml, /etc/isthmus/sites.yaml.",
        )
        return parser

    def run(self, argv: list[str]) -> int:
        """Run one command and return its exit code; exceptions are the caller's to word."""
        head, tail = _split_at_double_dash(argv)
        self.options, remainder = self.parser.parse_known_args(head)
        self.configure_logging()
        if self.options.deferred_help:
            self.options.deferred_help = False
            remainder.insert(0, "help")
        return self.run_subcommand([*remainder, *tail] or ["help"])

    def configure_logging(self) -> None:
        """Warnings and errors to standard error; -v adds information, -vv everything."""
        if self.options.log_file:
            self._log_to_file(self.options.log_file)
        root = logging.getLogger()
        root.setLevel(logging.DEBUG if self.options.log_file else logging.NOTSET)
        console = logging.StreamHandler(self.stderr)
        console.setLevel(self._console_level())
        console.setFormatter(logging.Formatter(self.CONSOLE_MESSAGE_FORMAT))
        root.addHandler(console)
        if not self.options.log_file:
            root.setLevel(console.level)
        if self.options.verbose_level <= self.DEFAULT_VERBOSE_LEVEL:
            # What goes wrong at a site is said in our own words, once.
            logging.getLogger("keystoneauth").setLevel(logging.ERROR)

    def _console_level(self) -> int:
        levels = {0: logging.ERROR, 1: logging.WARNING, 2: logging.INFO}
        return levels.get(self.options.verbose_level, logging.DEBUG)

    def _log_to_file(self, path: str) -> None:
        try:
            handler = logging.FileHandler(path)
        except OSError as error:
            raise errors.UsageError(
                "cannot write the log file", where=path, cause=error.strerror
            ) from error
        handler.setFormatter(logging.Formatter(self.LOG_FILE_MESSAGE_FORMAT))
        logging.getLogger().addHandler(handler)

    def run_subcommand(self, argv: list[str]) -> int:
        """Find the command and run it, without cliff's own catching of exceptions."""
        factory, name, rest = self._find(argv)
        command = factory(self, self.options, cmd_name=name)
        arguments = command.get_parser(f"{self.NAME} {name}").parse_args(rest)
        self.prepare_to_run_command(command)
        return command.run(arguments) or 0

    def _find(self, argv: list[str]) -> tuple[type[cliff.command.Command], str, list[str]]:
        try:
            return self.command_manager.find_command(argv)
        except ValueError as error:
            words = " ".join(argv)
            similar = [f"isthmus {match}" for match in self.get_fuzzy_matches(argv[0])[:8]]
            raise errors.UsageError(
                f"there is no command {words!r}",
                next_command="\n".join(similar) or "isthmus --help",
            ) from error


def _split_at_double_dash(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Words after ``--`` belong to the command: in `lab exec paris -- ls -h` the -h is for ls."""
    words = list(argv)
    if "--" not in words:
        return words, []
    at = words.index("--")
    return words[:at], words[at:]


def version() -> str:
    """The installed version of the distribution, `unknown` when run from a bare source tree."""
    from importlib import metadata

    try:
        return metadata.version("isthmus")
    except metadata.PackageNotFoundError:
        return "unknown"


def main(argv: Sequence[str] | None = None, application: Application | None = None) -> int:
    """Run the command line and return the exit code; every way out has its own, none raises."""
    words = sys.argv[1:] if argv is None else list(argv)
    try:
        code = (application or Application()).run(words)
        sys.stdout.flush()
    except cliff.help.HelpExit:
        return 0
    except SystemExit as leaving:
        return _usage_code(leaving)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return errors.INTERRUPTED
    except BrokenPipeError:
        _forget_standard_output()
        return errors.BROKEN_PIPE
    except errors.IsthmusError as error:
        _explain(error, debug="--debug" in words)
        return error.exit_code
    except Exception as error:  # the last net: a person gets one line, the trace is for developers
        _confess(error, debug="--debug" in words)
        return errors.UNEXPECTED
    return code


def _usage_code(leaving: SystemExit) -> int:
    """argparse leaves with 2, which would read as the verdict ERROR of `isthmus status`."""
    if leaving.code in (0, None):
        return 0
    return errors.UsageError.exit_code if leaving.code == 2 else int(leaving.code or 1)


def _forget_standard_output() -> None:
    """Point standard output elsewhere, or the interpreter complains when it flushes at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())


def _explain(error: errors.IsthmusError, *, debug: bool) -> None:
    if debug:
        traceback.print_exception(error)
    print(error.describe(), file=sys.stderr)


def _confess(error: Exception, *, debug: bool) -> None:
    if debug:
        traceback.print_exception(error)
        return
    text = " ".join(str(error).split()) or "no message"
    print(
        f"error: unexpected {type(error).__name__}: {text} (--debug shows the trace)",
        file=sys.stderr,
    )


if __name__ == "__main__":
    sys.exit(main())
