"""The rendered files, read by the programs that they are for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from keystonemiddleware import auth_token
from oslo_config import cfg

from isthmus.identity import deployment, rendering
from isthmus.identity.rendering import File, Kind
from isthmus.sites import inventory
from topologies_declared import ALL, Shape
from topologies_declared import rendered as rendered_of

pytestmark = pytest.mark.functional

DECLARED = Path(__file__).parents[1] / "unit" / "identity_config"
# Every sign that is allowed in a secret.
SIGNS = "".join(chr(n) for n in range(33, 127) if chr(n) not in "$#;\"'\\")


def rendered(folder: Path) -> tuple[File, ...]:
    known = inventory.parse((DECLARED / "sites.yaml").read_text(), source="sites.yaml")
    text = (DECLARED / "deployment.yaml").read_text()
    # The databases' directory must exist for mariadbd to read its file.
    text += f"paths: {{databases: {folder}/databases, keystone_log: {folder}/keystone.log}}\n"
    declared = deployment.parse(text, source="deployment.yaml", inventory=known)
    return rendering.files(declared, dict.fromkeys(deployment.needed_secrets(declared), SIGNS))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[File, Path]]:
    folder = tmp_path_factory.mktemp("rendered")
    found = {}
    for each in rendered(folder):
        path = folder / each.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(each.text)
        found[each.path] = (each, path)
    return found


def run(*command: str) -> subprocess.CompletedProcess[str]:
    # A program that only reads its file; a busy machine.
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("shape", ALL, ids=lambda shape: str(shape.topology))
def test_haproxy_accepts_the_files_of_every_topology(tmp_path: Path, shape: Shape) -> None:
    asked = [each for each in rendered_of(shape) if each.kind is Kind.HAPROXY]
    assert len(asked) == len(shape.sites) + 1
    for number, each in enumerate(asked):
        path = tmp_path / f"{number}.cfg"
        path.write_text(each.text)
        done = run("haproxy", "-c", "-f", str(path))
        assert done.returncode == 0, (each.path, done.stderr)


def test_haproxy_accepts_its_files(files: dict[str, tuple[File, Path]]) -> None:
    asked = [path for each, path in files.values() if each.kind is Kind.HAPROXY]
    assert len(asked) == 4
    for path in asked:
        done = run("haproxy", "-c", "-f", str(path))
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "path", ["paris/mariadb/identity-db.cnf", "madrid/mariadb/replica-lyon.cnf"]
)
def test_mariadbd_reads_what_its_file_says(files: dict[str, tuple[File, Path]], path: str) -> None:
    done = run("mariadbd", f"--defaults-file={files[path][1]}", "--verbose", "--help")
    assert done.returncode == 0, done.stderr
    assert "unknown" not in done.stderr.lower(), done.stderr
    values = dict(
        line.split(None, 1) for line in done.stdout.splitlines() if len(line.split(None, 1)) == 2
    )
    assert values["extra-port"].strip() == "3308"
    assert values["max-connections"].strip() == "200"
    if "identity-db" in path:
        assert values["wsrep-sst-auth"].strip() == f"sst:{SIGNS}"
        assert values["wsrep-cluster-address"].strip() == "gcomm://10.99.1.11,10.99.2.11,10.99.3.10"
    else:
        assert values["read-only"].strip() == "TRUE"


def test_keystonemiddleware_reads_the_section(files: dict[str, tuple[File, Path]]) -> None:
    conf = cfg.ConfigOpts()
    conf([], default_config_files=[str(files["madrid/authtoken/nova.conf"][1])])
    filtered = auth_token.AuthProtocol(None, {"oslo_config_config": conf})
    assert filtered._auth._password == SIGNS
    assert filtered._conf.get("region_name") == "RegionThree"
    assert filtered._conf.get("token_cache_time") == 10
    assert filtered._conf.get("service_token_roles_required") is True


def test_keystone_reads_its_file_and_the_password_of_its_databases(
    files: dict[str, tuple[File, Path]],
) -> None:
    """In a process of its own: Keystone's options are global."""
    program = (
        "import sys, keystone.conf, oslo_db.options, sqlalchemy.engine; keystone.conf.configure();"
        "c = keystone.conf.CONF; c.register_opts(oslo_db.options.database_opts, 'database');"
        "c([], default_config_files=[sys.argv[1]]);"
        "u = [sqlalchemy.engine.make_url(x) for x in (c.database.connection, c.database.slave_connection)];"
        "print(*(x.password for x in u), *(x.port for x in u), c.revoke.cache_time, c.cache.expiration_time)"
    )
    done = run(sys.executable, "-c", program, str(files["madrid/keystone/keystone.conf"][1]))
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [SIGNS, SIGNS, "3307", "3306", "5", "5"]
