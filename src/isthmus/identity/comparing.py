"""Holds configuration files against what is rendered: every difference with its consequence and remedy. Pure: texts in, values out.

Files are compared by what they mean, not by their letters: order, blanks, comments and other spellings of a value are no
difference. A setting that is not rendered is the operator's own, unless it is known to be unsafe. Secrets appear in
no difference; of a database's URL the parts around the password do.
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import re
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping

from isthmus.identity import consequences
from isthmus.identity.findings import Outcome
from isthmus.identity.rendering import File, Kind

_MARIADB_GROUP = re.compile(r"(mysqld|server|mariadb|mariadbd|galera)(-\d+(\.\d+)?)?")
"""mariadbd reads all of these groups as one."""

_UNSAFE_WHEN_SET: Mapping[Kind, Mapping[str, str | None]] = {
    Kind.KEYSTONE: {r"\w+\.cache_time": "5", r"DEFAULT\.insecure_debug": "false"},
    Kind.AUTHTOKEN: {r"keystone_authtoken\.insecure": "false"},
    Kind.NODE: {
        r"mariadbd\.(replicate|binlog)_(wild_)?(do|ignore)_\w+": None,
        r"mariadbd\.innodb_flush_log_at_trx_commit": "1",
    },
    Kind.FOLLOWER: {
        r"mariadbd\.(replicate|binlog)_(wild_)?(do|ignore)_\w+": None,
        r"mariadbd\.innodb_flush_log_at_trx_commit": "1",
        r"mariadbd\.slave_skip_errors": "OFF",
    },
    Kind.REPLICA: {
        r"mariadbd\.(replicate|binlog)_(wild_)?(do|ignore)_\w+": None,
        r"mariadbd\.slave_skip_errors": "OFF",
    },
}
"""Settings that are not rendered because their default is right: with the default, None if any value is unsafe."""

_HIDDEN = "(a secret)"
_HIDDEN_BESIDE = "(not shown: it stands beside a secret)"

_SECRETS = ("password", "wsrep_sst_auth", "memcache_secret_key", "memcache_password")

_DATABASE_URL = re.compile(
    r"(?P<scheme>[\w+]+)://(?P<user>[^:@/?#]+):(?P<password>[^@/?#]*)@(?P<address>[\w.:\[\]-]+)"
    r"/(?P<schema>\w+)(?:\?(?P<options>.*))?"
)

_NAMED_BY = {
    "server": 2,
    "option": 2,
    "timeout": 2,
    "bind": 2,
    "use_backend": 2,
    "http-check": 2,
    "http-request": 2,
    "http-error": 3,
    "stats": 2,
}
"""How many words of a line of HAProxy name it; of others the first does."""

_RESTART = {
    Kind.KEYSTONE: "restart the site's Keystone",
    Kind.AUTHTOKEN: "restart the service",
    Kind.NODE: "restart this node, one node at a time",
    Kind.FOLLOWER: "restart this node, one node at a time",
    Kind.REPLICA: "restart this replica, one at a time",
    Kind.ARBITRATOR: "restart garbd",
    Kind.HAPROXY: "reload HAProxy",
}


@dataclasses.dataclass(frozen=True)
class Value:
    """What a setting says; `secret` values are held as a digest and never shown. `beside` a secret: compared, and not shown when it
    differs, because in a line that is not as it should be nobody knows where the password ends."""

    text: str
    secret: bool = False
    beside: bool = False

    @property
    def shown(self) -> str:
        return _HIDDEN if self.secret else re.sub(r"//[^/@\s]*@", f"//{_HIDDEN}@", self.text)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Deployed:
    """A file as it was found; None in `text`: there is none, or it cannot be read, for `reason`."""

    text: str | None = dataclasses.field(repr=False)
    mode: int = 0
    reason: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Difference:
    """One difference. `expected` and `actual` are None where a setting is absent."""

    outcome: Outcome
    site: str
    file: str
    setting: str
    expected: str | None
    actual: str | None
    consequence: str
    remedy: str


def compare(file: File, deployed: Deployed, *, with_secrets: bool) -> list[Difference]:
    """All differences of one file, the worst first. Without secrets at hand they are not compared."""
    if file.kind is Kind.FIREWALL:
        return []
    if deployed.text is None:
        return [_absent(file, deployed.reason)]
    want, have = settings(file.kind, file.text), settings(file.kind, deployed.text)
    found = [
        *_mode(file, deployed.mode),
        *_includes(file, deployed.text),
        *_settings(file, want, have, with_secrets=with_secrets),
    ]
    return sorted(found, key=lambda each: -each.outcome.exit_code)


def _settings(
    file: File, want: Mapping[str, Value], have: Mapping[str, Value], *, with_secrets: bool
) -> Iterator[Difference]:
    for name, expected in want.items():
        actual = have.get(name)
        if actual is None or not _same(file.kind, expected, actual, with_secrets=with_secrets):
            yield _difference(file, name, expected, actual)
    for name, actual in have.items():
        if name not in want:
            yield from _unrendered(file, name, actual)


def _unrendered(file: File, name: str, actual: Value) -> Iterator[Difference]:
    if file.kind is Kind.HAPROXY:
        # A line more in a section that is rendered changes what the section does; a section more does not.
        if name.partition(".")[0] in {
            each.partition(".")[0] for each in settings(file.kind, file.text)
        }:
            yield _difference(file, name, None, actual)
        return
    for pattern, default in _UNSAFE_WHEN_SET.get(file.kind, {}).items():
        if not re.fullmatch(pattern, name):
            continue
        expected = None if default is None else Value(default)
        if expected is None or not _same(file.kind, expected, actual, with_secrets=False):
            found = _difference(file, name, expected, actual)
            if found.outcome is Outcome.ERROR:
                yield dataclasses.replace(found, remedy=_take_out(file, name))
        return


def _difference(file: File, name: str, expected: Value | None, actual: Value | None) -> Difference:
    rule = consequences.rule(file.kind, name) or consequences.UNLISTED
    unsafe = rule.is_unsafe(expected.text if expected else None, actual.text if actual else None)
    return Difference(
        outcome=Outcome.ERROR if unsafe else Outcome.WARN,
        site=file.site,
        file=file.path,
        setting=name,
        expected=expected.shown if expected else None,
        actual=_HIDDEN_BESIDE if actual and actual.beside else actual.shown if actual else None,
        consequence=rule.consequence,
        remedy=_take_out(file, name) if expected is None else _set(file, name, expected),
    )


def strangers(files: Iterable[File], found: Mapping[str, Iterable[str]]) -> list[Difference]:
    """Public keys that are there and were not rendered. `found`: folder -> the names in it."""
    known = {file.path for file in files if file.kind is Kind.PUBLIC_KEY}
    return [
        Difference(
            outcome=Outcome.ERROR,
            site=folder.partition("/")[0],
            file=f"{folder}/{name}",
            setting="",
            expected=None,
            actual="a file",
            consequence=consequences.STRANGER,
            remedy=f"find out whose it is; remove {folder}/{name}, or declare the key in jws_public_keys of its site",
        )
        for folder, names in found.items()
        for name in sorted(names)
        if f"{folder}/{name}" not in known
    ]


def _set(file: File, name: str, expected: Value) -> str:
    if file.kind is Kind.PUBLIC_KEY:
        return _install(file)
    value = "the value of the secrets file" if expected.secret else repr(expected.text)
    return f"set {name} to {value} in {file.path}, then {_RESTART[file.kind]}"


def _take_out(file: File, name: str) -> str:
    return f"take {name} out of {file.path}, then {_RESTART[file.kind]}"


def _install(file: File) -> str:
    # Keystone reads these files at every check of a token.
    return f"install the rendered {file.path}; nothing has to be restarted"


def _absent(file: File, reason: str) -> Difference:
    if file.kind is Kind.PUBLIC_KEY:
        (rule,) = consequences.RULES[file.kind]
        consequence, remedy = f"{rule.consequence}: {reason}", _install(file)
    else:
        consequence = f"what is deployed is not known: {reason}"
        remedy = f"fetch it from its host to this path, or install the rendered {file.path}"
    return Difference(
        outcome=Outcome.ERROR,
        site=file.site,
        file=file.path,
        setting="",
        expected="a file",
        actual=None,
        consequence=consequence,
        remedy=remedy,
    )


def _mode(file: File, mode: int) -> Iterator[Difference]:
    if file.secret and mode & 0o037:
        yield Difference(
            outcome=Outcome.ERROR,
            site=file.site,
            file=file.path,
            setting="mode",
            expected="0640 or less",
            actual=f"{mode:04o}",
            consequence="others can read or change the passwords in it",
            remedy=f"chmod 0640 {file.path}, and change the passwords if others were on the host",
        )


def _includes(file: File, text: str) -> Iterator[Difference]:
    if file.kind in consequences.DATABASES and re.search(r"^\s*!include", text, re.MULTILINE):
        yield Difference(
            outcome=Outcome.WARN,
            site=file.site,
            file=file.path,
            setting="!include",
            expected=None,
            actual="other files",
            consequence="settings of other files hold too, and were not looked at",
            remedy=f"join what it includes into {file.path}, or take the line out",
        )


def _same(kind: Kind, expected: Value, actual: Value, *, with_secrets: bool) -> bool:
    if expected.secret or actual.secret:
        if not with_secrets:
            return expected.secret and actual.secret
        return hmac.compare_digest(expected.text, actual.text)
    if kind is Kind.HAPROXY:
        return expected.text == actual.text
    return _plain(expected.text) == _plain(actual.text)


def _plain(text: str) -> object:
    """A value without its spelling: truth, numbers and sizes, lists without blanks."""
    if text.lower() in ("true", "on", "yes", "1"):
        return True
    if text.lower() in ("false", "off", "no", "0"):
        return False
    found = consequences.number(text)
    return found if found is not None else tuple(part.strip() for part in text.split(","))


def settings(kind: Kind, text: str) -> dict[str, Value]:
    """What a file says, by name of setting: `section.key`, with the parts of compound values as names of their own."""
    if kind is Kind.HAPROXY:
        return dict(_haproxy(text))
    found: dict[str, Value] = {}
    if kind is Kind.PUBLIC_KEY:
        return {"public key": Value(_fingerprint(text))}
    mariadb = kind in consequences.DATABASES
    many: dict[str, list[str]] = {}
    for section, key, value in _lines(text, mariadb=mariadb):
        name = f"{section}.{key}" if section else key
        if mariadb and re.fullmatch(r"replicate_\w+", key):
            many.setdefault(name, []).append(value)
            value = ",".join(sorted(set(many[name])))
        for part in [each for each in found if each.startswith(f"{name}.")]:
            # A setting that stands twice counts as it stands last, all of it.
            del found[part]
        found.update(_parts(name, value))
    return found


def _fingerprint(text: str) -> str:
    """What a PEM text holds, in short: its letters may be broken into lines anyhow."""
    found = re.search(r"-----BEGIN PUBLIC KEY-----(.*?)-----END PUBLIC KEY-----", text, re.DOTALL)
    if found is None:
        return "no public key"
    return hashlib.sha256("".join(found[1].split()).encode()).hexdigest()[:16]


def _parts(name: str, value: str) -> Iterator[tuple[str, Value]]:
    key = name.rpartition(".")[2]
    if key in ("connection", "slave_connection"):
        yield from _url(name, value)
    elif key in ("wsrep_provider_options", "options"):
        for option in value.strip('"').split(";"):
            if option.strip():
                left, _, right = option.partition("=")
                yield f"{name}.{left.strip()}", Value(right.strip())
    elif key in _SECRETS:
        yield name, _secret(value)
    else:
        yield name, Value(value)


def _url(name: str, value: str) -> Iterator[tuple[str, Value]]:
    url = _DATABASE_URL.fullmatch(value)
    if url is None:
        # Not shown: nobody knows where in it the password stands.
        yield f"{name}.address", Value("not scheme://user:password@host:port/schema", beside=True)
        return
    for part in ("scheme", "user", "address", "schema"):
        yield f"{name}.{part}", Value(url[part], beside=True)
    yield f"{name}.password", _secret(urllib.parse.unquote(url["password"]))
    for option, setting in urllib.parse.parse_qsl(url["options"] or "", keep_blank_values=True):
        yield f"{name}.{option}", Value(setting, beside=True)


def _secret(text: str) -> Value:
    return Value(hashlib.sha256(text.encode()).hexdigest(), secret=True)


def _lines(text: str, *, mariadb: bool) -> Iterator[tuple[str, str, str]]:
    """Section, key and value of each setting of an INI file, oslo's or MariaDB's."""
    section, key, value = "", "", ""
    for raw in text.splitlines():
        if key and raw[:1] in (" ", "\t") and raw.strip() and not mariadb:
            value = f"{value} {raw.strip()}".strip()
            continue
        if key:
            yield section, key, value
            key = ""
        line = raw.strip()
        if not line or line[0] in "#;!":
            continue
        if line.startswith("["):
            section = line.strip("[]")
            if mariadb and _MARIADB_GROUP.fullmatch(section):
                section = "mariadbd"
            continue
        left, _, right = line.partition("=")
        key, value = left.strip(), right.strip()
        if mariadb:
            key = key.replace("-", "_")
            value = value if value.startswith('"') else re.sub(r"\s+#.*", "", value)
            # A bare name switches on.
            value = value or "ON"
    if key:
        yield section, key, value


def _haproxy(text: str) -> Iterator[tuple[str, Value]]:
    """Each line of each section, named by its words up to what tells it from its like."""
    section = ""
    seen: dict[str, int] = {}
    for raw in text.splitlines():
        line = " ".join(raw.split())
        if not line or line.startswith("#"):
            continue
        words = line.split()
        if (
            words[0] in ("global", "defaults", "frontend", "backend", "listen")
            and raw[0] not in " \t"
        ):
            section = " ".join(words[:2])
            continue
        name = f"{section}.{' '.join(words[: _NAMED_BY.get(words[0], 1)])}"
        seen[name] = seen.get(name, 0) + 1
        if seen[name] > 1:
            name = f"{name} ({seen[name]})"
        # `stats auth` and its like.
        hidden = re.search(r"auth|passw|secret|token", line)
        yield name, _secret(line) if hidden else Value(line)
