"""What can go wrong in the lab, in the words of the product's error tree."""

from collections.abc import Sequence

from isthmus.errors import BusyError, ConfigurationError, HostError, IsthmusError, UsageError


class CommandFailed(IsthmusError):
    """An external command ended badly, took too long or is missing."""

    def __init__(self, argv: Sequence[str], *, cause: str) -> None:
        super().__init__(f"the command `{' '.join(argv)}` failed", cause=cause)
        self.argv = tuple(argv)


class NotReady(IsthmusError):
    """A condition did not come to hold before its deadline."""

    def __init__(self, *, what: str, where: str, cause: str) -> None:
        super().__init__(
            what,
            where=where,
            cause=cause,
            unchanged="what was started before goes on running",
            next_command="isthmus lab logs, then isthmus lab up (resumes) or isthmus lab down",
        )


class Refused(IsthmusError):
    """A service of the lab refused what the lab itself asked of it."""

    def __init__(self, *, what: str, where: str, cause: str) -> None:
        super().__init__(
            f"refused: {what}", where=where, cause=cause, next_command="isthmus lab test"
        )


class BadEnvironment(ConfigurationError):
    """An environment file is missing or wrong."""

    def __init__(self, *, source: str, cause: str) -> None:
        super().__init__(
            "the environment cannot be used",
            where=source,
            cause=cause,
            unchanged="nothing was started",
        )


class BadRequest(UsageError):
    """The command names something that the lab does not have."""

    def __init__(self, *, what: str, where: str, cause: str) -> None:
        super().__init__(
            what,
            where=where,
            cause=cause,
            unchanged="nothing was changed",
            next_command="isthmus lab status",
        )


class NoLab(IsthmusError):
    """No lab is up."""

    def __init__(self, home: object) -> None:
        super().__init__(
            "no lab is up",
            where=str(home),
            unchanged="nothing was changed",
            next_command="isthmus lab up",
        )


class Busy(BusyError):
    """Another lab command holds the lock."""

    def __init__(self, *, holder: str, home: object) -> None:
        super().__init__(
            "another lab command is at work",
            where=str(home),
            cause=holder,
            unchanged="nothing was changed",
            next_command="wait for it to end, then run this command again",
        )


class BadHost(HostError):
    """The machine lacks something that the lab needs."""

    def __init__(self, *, missing: Sequence[str], remedy: str) -> None:
        super().__init__(
            "this machine cannot hold the lab",
            cause="\n".join(missing),
            unchanged="nothing was started; everything that needs no lab works: isthmus status, isthmus site list, unit tests",
            next_command=remedy,
        )
