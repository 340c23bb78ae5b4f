"""The one tree of errors that a person may see.

It exists so that every part (the faces, the lab, the agent, the capabilities) fails in the same
words and with exit codes that scripts can rely on. It imports nothing of the rest, so that every
part may import it. It is not for errors that one function hands to its caller for control flow, and
not for what plugins raise inside OpenStack processes.

::

    IsthmusError             1   asked for, tried, not done
     ├─ UsageError          64   the command line asks for something that does not exist
     ├─ InputError          65   a document or an answer does not have the promised shape
     ├─ UnavailableError    69   a site or a service cannot be reached, or refuses
     ├─ HostError           71   this host lacks something: kernel feature, package, disk
     ├─ BusyError           75   somebody else is at it; the same command may work later
     ├─ PrivilegeError      77   more rights are needed
     └─ ConfigurationError  78   a configuration file is missing or wrong

The codes are those of ``sysexits.h``, because 0, 1 and 2 already mean OK, WARN and ERROR in
commands that judge (``isthmus status``). 70 is an error nobody foresaw, 130 an interrupt by the
person, 141 a reader that went away.
"""

from __future__ import annotations

from typing import ClassVar

UNEXPECTED = 70
INTERRUPTED = 130
BROKEN_PIPE = 141


class IsthmusError(Exception):
    """Something that was asked for was tried and not done.

    Parts, each a short phrase without a final stop: ``what`` failed; ``where`` (site, service,
    file, object); the ``cause``; what was changed and what is ``unchanged``; ``next_command``: what
    to do now (may have several lines). None of them may hold a secret: all of them reach terminals
    and logs.
    """

    exit_code: ClassVar[int] = 1

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        cause: str | None = None,
        unchanged: str | None = None,
        next_command: str | None = None,
    ) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.cause = cause
        self.unchanged = unchanged
        self.next_command = next_command

    def __str__(self) -> str:
        """One sentence for a log line or a table cell: what, where and cause."""
        place = f" ({self.where})" if self.where else ""
        cause = f": {self.cause}" if self.cause else ""
        return f"{self.what}{place}{cause}"

    def describe(self) -> str:
        """The whole error, one part a line, as the command line shows it."""
        parts = {
            "where": self.where,
            "cause": self.cause,
            "unchanged": self.unchanged,
            "try": self.next_command,
        }
        lines = [f"error: {self.what}"]
        lines += [_part(name, text) for name, text in parts.items() if text]
        return "\n".join(lines)


def _part(name: str, text: str) -> str:
    """One labelled part; further lines of the text are aligned below the first."""
    return f"  {name:<10} " + text.replace("\n", "\n" + " " * 13)


class UsageError(IsthmusError):
    """The command line asks for something that does not exist."""

    exit_code = 64


class InputError(IsthmusError):
    """A document or an answer from elsewhere does not have the shape it was promised to have."""

    exit_code = 65


class UnavailableError(IsthmusError):
    """A site or a service cannot be reached, or refuses to answer."""

    exit_code = 69


class HostError(IsthmusError):
    """This host lacks something: a kernel feature, a package, room on the disk."""

    exit_code = 71


class BusyError(IsthmusError):
    """Somebody else is at it; the same command may work later."""

    exit_code = 75


class PrivilegeError(IsthmusError):
    """More rights are needed than this user has."""

    exit_code = 77


class ConfigurationError(IsthmusError):
    """A configuration file is missing or wrong."""

    exit_code = 78
