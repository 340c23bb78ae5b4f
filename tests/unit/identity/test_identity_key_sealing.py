"""Sealed keys: who can read them, who can have made them."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from isthmus import errors
from isthmus.identity.keys import sealing

PARIS, MADRID, THIEF = (sealing.Private.generate() for _ in range(3))
ABOUT = "token key of generation 3 for madrid"
KEY = base64.urlsafe_b64encode(b"k" * 32)


def box() -> str:
    return sealing.seal(KEY, PARIS, MADRID.public_key(), about=ABOUT)


def test_the_node_that_it_is_for_reads_it() -> None:
    assert sealing.unseal(box(), MADRID, PARIS.public_key(), about=ABOUT) == KEY
    assert box() != box(), "two boxes never tell that they hold the same"


def test_nobody_else_reads_it_and_the_refusal_tells_nothing() -> None:
    for reader, sealer, about in (
        (THIEF, PARIS, ABOUT),
        (MADRID, THIEF, ABOUT),
        (MADRID, PARIS, ABOUT.replace("3", "4")),
    ):
        with pytest.raises(sealing.UnsealError) as refused:
            sealing.unseal(box(), reader, sealer.public_key(), about=about)
        assert KEY.decode() not in refused.value.describe()


def test_a_key_that_somebody_plants_with_public_keys_alone_is_refused() -> None:
    planted = sealing.seal(KEY, THIEF, MADRID.public_key(), about=ABOUT)
    with pytest.raises(sealing.UnsealError):
        sealing.unseal(planted, MADRID, PARIS.public_key(), about=ABOUT)


@pytest.mark.parametrize("damaged", ["", "AAAA", "not base64"])
def test_what_is_no_box_is_refused(damaged: str) -> None:
    with pytest.raises(sealing.UnsealError):
        sealing.unseal(damaged, MADRID, PARIS.public_key(), about=ABOUT)


def test_a_box_that_is_cut_or_has_any_byte_changed_is_refused() -> None:
    whole = base64.b64decode(box())
    changed = [whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in range(len(whole))]
    for damaged in [*changed, whole[:-8], whole[8:]]:
        with pytest.raises(sealing.UnsealError):
            sealing.unseal(
                base64.b64encode(damaged).decode(), MADRID, PARIS.public_key(), about=ABOUT
            )


def test_a_private_key_is_read_from_a_file_of_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "node.pem"
    pem = MADRID.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.write_bytes(pem)
    path.chmod(0o644)
    with pytest.raises(errors.ConfigurationError, match="cannot be used") as refused:
        sealing.load(path)
    assert "0644" in refused.value.describe()
    path.chmod(0o600)
    public = sealing.text_of(sealing.load(path).public_key())
    assert sealing.public_key(public).public_bytes_raw() == MADRID.public_key().public_bytes_raw()
    path.write_bytes(os.urandom(40))
    with pytest.raises(errors.ConfigurationError):
        sealing.load(path)
    with pytest.raises(ValueError, match="X25519"):
        sealing.public_key("c2hvcnQ=")
