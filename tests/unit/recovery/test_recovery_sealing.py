"""User data can be read by the sites that it was sealed for, and by nobody else."""

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric import x25519
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.recovery import sealing
from isthmus.recovery.metadata.definitions import SealedText

LYON = x25519.X25519PrivateKey.generate()
PARIS = x25519.X25519PrivateKey.generate()


@given(st.binary(max_size=300))
@settings(max_examples=30)
def test_each_of_the_sites_reads_what_was_sealed_for_it(text: bytes) -> None:
    sealed = sealing.seal(text, [LYON.public_key(), PARIS.public_key()], about="server")
    assert sealing.unseal(sealed, LYON, about="server") == text
    assert sealing.unseal(sealed, PARIS, about="server") == text
    if len(text) > 3:
        assert all(text not in base64.b64decode(box) for box in sealed.boxes.values())


def test_a_stranger_reads_nothing_and_is_told_for_whom_it_is() -> None:
    sealed = sealing.seal(b"password", [LYON.public_key()], about="server")
    with pytest.raises(sealing.UnsealError, match=sealing.key_id(LYON.public_key())):
        sealing.unseal(sealed, PARIS, about="server")


def test_a_text_cannot_be_put_into_another_server() -> None:
    sealed = sealing.seal(b"password", [LYON.public_key()], about="server")
    with pytest.raises(sealing.UnsealError, match="belongs to another server"):
        sealing.unseal(sealed, LYON, about="another")


@pytest.mark.parametrize("box", ["", "?", base64.b64encode(bytes(64)).decode()])
def test_a_damaged_box_is_refused(box: str) -> None:
    sealed = SealedText(boxes={sealing.key_id(LYON.public_key()): box}, length=1)
    with pytest.raises(sealing.UnsealError, match="damaged"):
        sealing.unseal(sealed, LYON, about="server")
