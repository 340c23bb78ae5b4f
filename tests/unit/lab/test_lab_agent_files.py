"""The lab's agents are told of the files that the lab's components write."""

from pathlib import Path

import pytest

from isthmus.lab import environment
from isthmus.lab.components import agent
from isthmus.lab.components.base import Context
from isthmus.lab.home import Home

COMPONENTS = Path(agent.__file__).parent


@pytest.mark.parametrize(
    ("name", "site", "services"),
    [
        ("identity", "paris", {"keystone", "glance"}),
        ("full", "paris", {"keystone", "glance", "neutron", "nova", "placement", "cinder"}),
        ("full", "madrid", {"keystone", "glance"}),
    ],
)
def test_an_agent_is_told_of_every_file_with_the_settings_of_tokens(
    name: str, site: str, services: set[str], tmp_path: Path
) -> None:
    _text, loaded = environment.load(name)
    spec = next(each for each in loaded.sites if each.name == site)
    context = Context(
        home=Home(root=tmp_path),
        environment=loaded,
        site=spec,
        template=None,  # type: ignore[arg-type]
        name="agent",
    )
    found = agent._configuration_files(context)
    assert set(found) == services
    for service, path in found.items():
        assert Path(path).parent == context.of(spec, service).directory
        assert f'"{Path(path).name}"' in (COMPONENTS / f"{service}.py").read_text()
