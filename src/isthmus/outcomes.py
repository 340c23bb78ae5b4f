"""How bad a finding is. One scale for the findings of all capabilities that do not know each other, and for what shows them."""

import enum
from collections.abc import Iterable


class Outcome(enum.StrEnum):
    """How bad it is; `exit_code` orders them."""

    INFO = "INFO"  # harmless here, but worth knowing
    WARN = "WARN"  # not as it should be, or as it was
    ERROR = "ERROR"  # somebody cannot be reached, something was not done or does not come back

    @property
    def exit_code(self) -> int:
        """What a command leaves with that found it."""
        return list(Outcome).index(self)


def exit_code(word: str) -> int:
    """That of an outcome in an answer; a word of a newer release is taken for the worst."""
    return Outcome(word).exit_code if word in set(Outcome) else Outcome.ERROR.exit_code


def worst_exit_code(words: Iterable[str]) -> int:
    """That of the worst of these outcomes, 0 without any."""
    return max((exit_code(word) for word in words), default=0)
