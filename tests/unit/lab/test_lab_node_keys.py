"""The keys of the lab's nodes: each site reads with the private half of what the others seal to."""

import json
from pathlib import Path
from types import SimpleNamespace

from isthmus.agent import config, keying
from isthmus.identity.keys import sealing
from isthmus.lab import environment
from isthmus.lab.components import agent, node_keys
from isthmus.lab.templates import Template


def test_every_site_has_a_key_of_its_own_that_all_agree_on(tmp_path: Path) -> None:
    (tmp_path / "secrets.json").write_text(json.dumps({"recovery-keys": "of this lab"}))
    template = Template(path=tmp_path, gtid="")
    _, wanted = environment.load("identity")
    publics = {site.name: node_keys.public(template, site) for site in wanted.sites}
    assert len(set(publics.values())) == len(wanted.sites)
    for site in wanted.sites:
        file = tmp_path / f"{site.name}.pem"
        file.touch(mode=0o600)
        file.write_text(node_keys.pem(template, site))
        assert sealing.text_of(sealing.load(file).public_key()) == publics[site.name]


def test_the_agents_configuration_is_one_that_an_agent_takes(tmp_path: Path) -> None:
    (tmp_path / "secrets.json").write_text(json.dumps({"recovery-keys": "of this lab"}))
    _, wanted = environment.load("identity")
    password = tmp_path / "password"
    password.touch(mode=0o600)

    def write(name: str, content: str) -> Path:
        path = tmp_path / name
        path.touch(mode=0o600)
        path.write_text(content)
        return path

    context = SimpleNamespace(
        environment=wanted,
        site=wanted.site("paris"),
        template=Template(path=tmp_path, gtid=""),
        write=write,
    )
    database = {"name": "identity-db", "kind": "writer", "host": "10.0.0.1", "port": 3306,
                "user": "agent", "password_file": str(password)}  # fmt: skip
    document = {
        "site": "paris",
        "listen": ["127.0.0.1:8990"],
        "writer_preference": ["paris", "lyon"],
        "databases": [database],
        "key_repositories": {"token": str(tmp_path)},
        "keys": agent._keys(context, str(password)),  # type: ignore[arg-type]
    }
    settings = config.load(write("agent.yaml", json.dumps(document)))
    assert settings.keys is not None
    assert set(settings.keys.nodes) == {"paris", "lyon", "madrid"}
    assert keying.Node.of(settings, settings.keys).name == "paris"
