"""Real tokens of Keystone through rotations: each issued by one site and validated at every other."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import key_sites
import pytest
from key_sites import NODES, SETTINGS, Sites, issue, new_key, validates
from keystone.common import fernet_utils

from isthmus.identity.keys import repository, rotating


@pytest.fixture
def sites(tmp_path: Path) -> Sites:
    return Sites(tmp_path)


def tokens_of_all(sites: Sites) -> list[str]:
    return [issue(path) for path in sites.paths.values()]


def refused(sites: Sites, tokens: list[str]) -> list[str]:
    """The sites that refuse one of the tokens."""
    return [n for n, path in sites.paths.items() if not all(validates(path, t) for t in tokens)]


def test_every_token_of_every_site_validates_everywhere_through_three_rotations(
    sites: Sites,
) -> None:
    tokens = tokens_of_all(sites)
    for _ in range(3):
        sites.store(rotating.ask_rotation(sites.state, "ada", sites.now))
        while sites.state.wanted is not None:
            moved = sites.conduct()
            for node in NODES:
                # One site after the other, with a login in each between two of them.
                sites.follow(node)
                tokens.append(issue(sites.paths[node]))
                assert refused(sites, tokens) == []
            assert moved or sites.state.wanted is not None
    primary = sites.state.primary
    assert primary is not None
    assert primary.number == 4
    sites.now += SETTINGS.lifetime + 1
    young = tokens_of_all(sites)
    while sites.conduct():
        for node in NODES:
            sites.follow(node)
    assert refused(sites, young) == []
    assert refused(sites, tokens[:3]) == list(sites.paths), "keys of tokens that are long dead go"


def test_an_emergency_kills_every_old_token_at_every_site(sites: Sites) -> None:
    tokens = tokens_of_all(sites)
    sites.store(rotating.ask_replacement(sites.state, "ada", sites.now, "leaked"))
    while sites.conduct():
        for node in NODES:
            sites.follow(node)
    for token in tokens:
        assert not any(validates(path, token) for path in sites.paths.values())
    assert refused(sites, tokens_of_all(sites)) == []


def keystone_reads(path: Path) -> list[bytes]:
    utils = fernet_utils.FernetUtils(str(path), 3, "fernet_tokens")
    return [key.encode() for key in utils.load_keys()]


def set_of(keys: dict[int, bytes]) -> list[bytes]:
    return [keys[index] for index in sorted(keys, reverse=True)]


def test_keystone_that_has_listed_the_old_directory_reads_every_key_that_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keystone lists the directory, and opens one file after the other."""
    key_sites.configure()
    path, one, two, three = tmp_path / "keys", new_key(), new_key(), new_key()
    listed = os.listdir
    steps = [
        ({0: two, 1: one}, {0: two, 1: one, 2: two}, {one, two}),
        ({0: two, 1: one, 2: two}, {0: three, 1: one, 2: two}, {one, two}),
    ]
    for old, new, used in steps:
        repository.install(path, old)

        def swapped(where: Any, new: dict[int, bytes] = new) -> list[str]:
            names = listed(where)
            if str(where) == str(path):
                repository.install(path, new)
            return names

        with monkeypatch.context() as patch:
            patch.setattr(os, "listdir", swapped)
            assert used <= set(keystone_reads(path))
        assert keystone_reads(path) == set_of(new)


def test_a_directory_that_was_opened_before_the_change_can_still_be_listed_whole(
    tmp_path: Path,
) -> None:
    path, old = tmp_path / "keys", {0: new_key(), 1: new_key()}
    repository.install(path, old)
    opened = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        repository.install(path, {0: new_key(), 2: new_key()})
        assert sorted(entry.name for entry in os.scandir(opened)) == ["0", "1"]
    finally:
        os.close(opened)


def test_a_mark_is_no_key_for_keystone(tmp_path: Path) -> None:
    key_sites.configure()
    keys = {0: new_key(), 1: new_key()}
    repository.install(tmp_path / "keys", keys, repository.Mark(revision=7, fenced="silent"))
    assert keystone_reads(tmp_path / "keys") == set_of(keys)
    assert repository.mark(tmp_path / "keys") == repository.Mark(revision=7, fenced="silent")
    (tmp_path / "keys" / repository.MARK).write_text("{")
    assert repository.mark(tmp_path / "keys") == repository.Mark()


def killed_at(step: int, path: Path, keys: dict[int, bytes]) -> bool:
    """Install in a process that dies before the `step`th call that the installation makes; whether it
    came so far."""
    child = os.fork()
    if child == 0:
        left = step

        def count(frame: FrameType, event: str, _: Any) -> None:
            nonlocal left
            if event == "c_call" and frame.f_code.co_filename == repository.__file__:
                left -= 1
                if left == 0:
                    os._exit(9)

        sys.setprofile(count)
        repository.install(path, keys, repository.Mark(revision=1))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) == 9


def test_a_kill_at_any_step_leaves_a_repository_that_keystone_reads_whole(tmp_path: Path) -> None:
    key_sites.configure()
    path = tmp_path / "keys"
    old, new = {0: new_key(), 1: new_key()}, {0: new_key(), 1: new_key(), 2: new_key()}
    seen = set()
    for step in range(1, 500):
        repository.install(path, old)
        repository.sweep(path, age=0.0)
        killed = killed_at(step, path, new)
        found = keystone_reads(path)
        assert found in (set_of(old), set_of(new)), step
        seen.add(found == set_of(new))
        assert path.stat().st_mode & 0o777 == 0o700
        assert {p.stat().st_mode & 0o777 for p in path.iterdir()} == {0o600}
        if not killed:
            break
    assert step > 20, "it was killed at many steps"
    assert seen == {False, True}
    repository.sweep(path, age=0.0)
    assert list(tmp_path.iterdir()) == [path], "no key is left beside the repository"
