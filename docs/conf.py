"""Sphinx configuration. Build: make docs."""

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
