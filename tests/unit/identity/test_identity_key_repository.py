"""Key repositories: digest, validity, replacement."""

import base64
import os
from pathlib import Path

import pytest

from isthmus.identity.keys import repository


def key() -> bytes:
    return base64.urlsafe_b64encode(os.urandom(32))


def test_equal_keys_have_one_digest_and_other_keys_another(tmp_path: Path) -> None:
    some = {0: key(), 1: key()}
    assert (
        repository.describe(some).digest == repository.describe(dict(reversed(some.items()))).digest
    )
    assert repository.describe(some).digest != repository.describe({0: some[1], 1: some[0]}).digest
    assert repository.describe({**some, 7: key()}).primary == 7


def test_an_installed_repository_is_private_and_holds_exactly_the_keys(tmp_path: Path) -> None:
    path, old, new = tmp_path / "keys", {0: key(), 1: key()}, {0: key(), 2: key()}
    repository.install(path, old)
    told = repository.install(path, new)
    assert repository.load(path) == new
    assert repository.inspect(path) == told
    assert path.stat().st_mode & 0o777 == 0o700
    assert {p.stat().st_mode & 0o777 for p in path.iterdir()} == {0o600}
    assert len(list(tmp_path.iterdir())) == 2, "a reader may have opened the old directory"
    repository.sweep(path)
    assert len(list(tmp_path.iterdir())) == 2, "it is kept for a while"
    repository.sweep(path, age=0.0)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("bad", [b"", b"short", b"!" * 44, base64.b64encode(b"x" * 31)])
def test_what_is_no_key_is_refused_and_the_old_keys_stay(tmp_path: Path, bad: bytes) -> None:
    path, old = tmp_path / "keys", {0: key(), 1: key()}
    repository.install(path, old)
    with pytest.raises(repository.KeyRepositoryError, match="key 1 is not a Fernet key") as error:
        repository.install(path, {0: key(), 1: bad})
    assert bad == b"" or bad.decode() not in str(error.value)
    assert repository.load(path) == old


def test_an_empty_repository_and_a_missing_one_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(repository.KeyRepositoryError, match="holds no key"):
        repository.inspect(tmp_path)
    with pytest.raises(repository.KeyRepositoryError, match="cannot be read"):
        repository.inspect(tmp_path / "none")


def test_a_stranger_in_the_folder_is_not_a_key(tmp_path: Path) -> None:
    repository.install(tmp_path / "keys", {0: key(), 1: key()})
    (tmp_path / "keys" / "README").write_text("not a key")
    assert repository.inspect(tmp_path / "keys").keys == 2
