"""Sphinx configuration. Build: make docs."""

import collections
import itertools
import re
from collections.abc import Iterator

from isthmus.checks import registry as _registry
from isthmus.checks.values import Check as _Check
from isthmus.cli.main import version as _version

project = "Isthmus"
author = "The Isthmus developers"
version = release = _version()

extensions = ["cliff.sphinxext"]
exclude_patterns = ["_build"]
nitpicky = True

html_theme = "furo"
html_title = "Isthmus"
html_static_path: list[str] = []
html_copy_source = False

# The formatter options are the same for all commands that show something; the page says so once.
autoprogram_cliff_ignored = [
    "-h",
    "-f",
    "-c",
    "--quote",
    "--noindent",
    "--max-width",
    "--fit-width",
    "--print-empty",
    "--prefix",
    "--sort-column",
    "--sort-ascending",
    "--sort-descending",
]


class _Upper(collections.UserDict):
    """What stands in the braces of a remedy, as a word to be replaced."""

    def __missing__(self, name: str) -> str:
        return name.upper()


def _described(check: _Check) -> Iterator[str]:
    """A check as an entry of a definition list."""
    where = "at each site" if check.of_site else "over all sites"
    role = f" ({check.role} sites only)" if check.role else ""
    words = _Upper()
    remedy = re.sub(r"`([^`]+)`", r"``\1``", check.remedy.format_map(words))
    yield f"``{check.id}``"
    yield f"   **{check.title}.** {check.severity}, {where}{role}."
    yield ""
    yield f"   If not: {check.consequence}."
    yield ""
    yield f"   Remedy: {remedy}. ``{check.command.format_map(words)}``"
    yield ""
    if check.needs:
        yield f"   Needs: {', '.join(f'``{need}``' for need in check.needs)}."
        yield ""


def _catalogue() -> Iterator[str]:
    """All checks by category."""
    for category, checks in itertools.groupby(_registry.CHECKS, lambda each: each.category):
        title = category.capitalize()
        yield from (title, "~" * len(title), "")
        for check in checks:
            yield from _described(check)


def _fill(_app: object, name: str, source: list[str]) -> None:
    """Put the registry's checks into their page."""
    if name == "check-catalogue":
        source[0] = source[0].replace(".. the checks stand here", "\n".join(_catalogue()))


def setup(app: object) -> None:
    """Called by Sphinx."""
    app.connect("source-read", _fill)  # type: ignore[attr-defined]
