"""`isthmus identity config ...`: write the configuration of every site, and hold what is deployed against it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from isthmus import errors
from isthmus.cli import configuration_files, reports, screens
from isthmus.cli.reports import Columns
from isthmus.identity import comparing, deployment, rendering
from isthmus.identity.config import Provider
from isthmus.identity.findings import Outcome
from isthmus.identity.places import Deployment
from isthmus.sites import inventory

COLUMNS = ("outcome", "site", "file", "setting", "expected", "actual", "consequence", "remedy")


def _add_declared(parser: argparse.ArgumentParser) -> None:
    """What both commands are told."""
    parser.add_argument(
        "--topology",
        required=True,
        choices=[str(each) for each in inventory.Topology],
        help="How the identity databases are joined. Federated sites share none, and are refused.",
    )
    parser.add_argument(
        "--provider",
        default=str(Provider.FERNET),
        choices=[str(each) for each in Provider],
        help="The kind of tokens: one secret key for all sites, or a key pair for each.",
    )
    parser.add_argument(
        "--deployment",
        required=True,
        type=Path,
        metavar="FILE",
        help="Addresses and paths of every site (YAML).",
    )


def _declared(topology: str, provider: str, path: Path, sites: str | None) -> Deployment:
    known = inventory.load(sites)
    deployment.refuse_topology(topology, known)
    return deployment.parse(
        configuration_files.read(path),
        source=str(path),
        inventory=known,
        provider=Provider(provider),
    )


class Render(reports.Rows):
    """Write the configuration files of every site and service.

    Below DIR, one directory per site. A file that is there and differs is left alone, and then none is written, unless --replace is
    given. Files with passwords have mode 0600, others 0640.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        _add_declared(parser)
        parser.add_argument(
            "--secrets",
            required=True,
            type=Path,
            metavar="FILE",
            help="Passwords by name (YAML), with mode 0600.",
        )
        parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="Where to.")
        parser.add_argument(
            "--replace", action="store_true", help="Also replace files that are there and differ."
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Columns:
        """Render everything, then write it."""
        asked = parsed_args
        declared = _declared(
            asked.topology, asked.provider, asked.deployment, self.app.options.sites
        )
        secrets = deployment.secrets(
            configuration_files.read_secrets(asked.secrets),
            source=str(asked.secrets),
            needed=deployment.needed_secrets(declared),
        )
        files = rendering.files(declared, secrets)
        states = configuration_files.write(asked.out, files, replace=asked.replace)
        rows = [
            (file.path, f"{file.mode:04o}", str(state))
            for file, state in zip(files, states, strict=True)
        ]
        return ("file", "mode", "state"), rows


class Check(reports.Documented):
    """Hold deployed files against what would be rendered, and name each difference with its consequence.

    Leaves with 0 when there is none, 1 when there are differences, 2 when one of them is unsafe. Passwords are compared only if
    --secrets is given, and never shown.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        _add_declared(parser)
        parser.add_argument(
            "--secrets", type=Path, metavar="FILE", help="Passwords by name, to be compared too."
        )
        where = parser.add_mutually_exclusive_group(required=True)
        where.add_argument(
            "--deployed",
            type=Path,
            metavar="DIR",
            help="Files of the hosts, gathered in the layout of `render`.",
        )
        where.add_argument(
            "--file",
            action="append",
            type=_pair,
            metavar="NAME=PATH",
            help="One file where it is deployed, for example "
            "paris/keystone/keystone.conf=/etc/keystone/keystone.conf. May be repeated.",
        )
        parser.add_argument("--site", metavar="SITE", help="Only the files of this site.")
        return parser

    def run(self, parsed_args: argparse.Namespace) -> int:
        """Print the differences and return the verdict."""
        super().run(parsed_args)
        return self._outcome.exit_code

    def take_action(self, parsed_args: argparse.Namespace) -> Columns:
        """Render, read what is deployed, compare."""
        asked = parsed_args
        declared = _declared(
            asked.topology, asked.provider, asked.deployment, self.app.options.sites
        )
        needed = deployment.needed_secrets(declared)
        self._with_secrets = asked.secrets is not None
        secrets = dict.fromkeys(needed, "not compared")
        if asked.secrets:
            text = configuration_files.read_secrets(asked.secrets)
            secrets = deployment.secrets(text, source=str(asked.secrets), needed=needed)
        files = _chosen(rendering.files(declared, secrets), asked.site, asked.file)
        self._files = len(files)
        if asked.deployed:
            self._found = configuration_files.differences(
                asked.deployed, files, with_secrets=self._with_secrets
            )
        else:
            places = dict(asked.file)
            self._found = [
                difference
                for file in files
                for difference in comparing.compare(
                    file,
                    configuration_files.look(places[file.path]),
                    with_secrets=self._with_secrets,
                )
            ]
        self._found.sort(key=lambda each: -each.outcome.exit_code)
        self._outcome = max(
            (each.outcome for each in self._found), key=lambda o: o.exit_code, default=Outcome.OK
        )
        return COLUMNS, [tuple(_row(each)) for each in self._found]

    def document(self) -> Any:
        """All that was found."""
        return {
            "outcome": str(self._outcome),
            "files": self._files,
            "secrets_compared": self._with_secrets,
            "differences": [dict(zip(COLUMNS, _row(each), strict=True)) for each in self._found],
        }

    def drawn(self, *, colour: bool) -> str:
        """A headline and each difference."""
        verdict = screens.coloured(self._outcome, colour)
        files = screens.number_of(self._files, "file")
        differences = screens.number_of(len(self._found), "difference")
        compared = "passwords compared" if self._with_secrets else "passwords not compared"
        described = [_described(each, colour=colour) for each in self._found]
        return (
            "\n\n".join(
                [f"identity config: {verdict}   {files}, {differences}, {compared}", *described]
            )
            + "\n"
        )


def _pair(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=PATH")
    return name, Path(path)


def _chosen(
    files: tuple[rendering.File, ...], site: str | None, named: list[tuple[str, Path]] | None
) -> list[rendering.File]:
    """The files to compare. Raises UsageError for a site or a name that there is not."""
    compared = [file for file in files if file.kind is not rendering.Kind.FIREWALL]
    known = {file.path for file in compared}
    for name, _path in named or ():
        if name not in known:
            raise errors.UsageError(
                f"there is no rendered file {name!r}",
                cause=f"there are: {', '.join(sorted(known))}",
            )
    if site is not None and site not in {file.site for file in compared}:
        raise errors.UsageError(
            f"there are no files of a site {site!r}", next_command="isthmus site list"
        )
    wanted = {name for name, _ in named or ()} or known
    return [file for file in compared if file.path in wanted and site in (None, file.site)]


def _row(difference: comparing.Difference) -> Iterator[str | None]:
    for name in COLUMNS:
        value = getattr(difference, name)
        yield None if value is None else str(value)


def _described(difference: comparing.Difference, *, colour: bool) -> str:
    pad = " " * (len(difference.outcome) + 1)
    place = f"{difference.file}  {difference.setting}".rstrip()
    return "\n".join(
        [
            f"{screens.coloured(difference.outcome, colour)} {place}",
            f"{pad}is      {_value(difference.actual)}; rendered is {_value(difference.expected)}",
            f"{pad}so      {difference.consequence}",
            f"{pad}try     {difference.remedy}",
        ]
    )


def _value(text: str | None) -> str:
    return "nothing" if text is None else text or "empty"
