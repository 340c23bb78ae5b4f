"""A manifest is believed only when every byte of it is what a trusted key signed, in its place."""

import base64
import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recovery_values import a_group, a_manifest, an_id, groups

from isthmus import errors
from isthmus.recovery import documents, manifest
from isthmus.recovery.checkpoints import Phase, Place
from isthmus.recovery.declarations import Group
from isthmus.recovery.manifest import Manifest, Signed
from isthmus.recovery.signatures import KeyRing, PublicKey, Refusal, RefusedError, SigningKey

KEY = SigningKey.generate()
RING = KeyRing(KEY.public)
SOUND = a_manifest()
SIGNED = manifest.sign(SOUND, KEY)


def refused(signed: Signed, place: Place = SOUND.place, ring: KeyRing = RING) -> Refusal:
    with pytest.raises(RefusedError) as caught:
        manifest.read(signed.manifest, signed.signature, place=place, ring=ring)
    return caught.value.reason


def resigned(change: dict[str, object]) -> Signed:
    """As a holder of the key would write it, were it another program."""
    document = {**json.loads(SIGNED.manifest), **change}
    content = documents.canonical(document)
    return Signed(manifest=content, signature=KEY.sign(content))


@given(groups(), st.integers(1, 99_999_999))
@settings(max_examples=40)
def test_a_manifest_reads_back_as_it_was_signed(group: Group, seq: int) -> None:
    sound = a_manifest(group, seq)
    signed = manifest.sign(sound, KEY)
    read = manifest.read(signed.manifest, signed.signature, place=sound.place, ring=RING)
    assert read == sound
    assert Place.parse(sound.place.manifest) == sound.place


@given(st.data())
def test_no_manifest_with_another_byte_is_believed(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(SIGNED.manifest) - 1))
    flip = data.draw(st.integers(1, 255))
    content = bytearray(SIGNED.manifest)
    content[at] ^= flip
    changed = dataclasses.replace(SIGNED, manifest=bytes(content))
    assert refused(changed) is Refusal.ALTERED


@given(st.integers(0, len(SIGNED.manifest) - 1))
def test_a_truncated_manifest_is_called_truncated(length: int) -> None:
    assert refused(dataclasses.replace(SIGNED, manifest=SIGNED.manifest[:length])) is (
        Refusal.TRUNCATED
    )


@given(st.data())
def test_no_other_signature_is_believed(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(SIGNED.signature) - 1))
    flip = data.draw(st.integers(1, 255))
    content = bytearray(SIGNED.signature)
    content[at] ^= flip
    try:
        same = json.loads(content) == json.loads(SIGNED.signature)
    except ValueError:
        same = False
    if same:
        return
    try:
        manifest.read(SIGNED.manifest, bytes(content), place=SOUND.place, ring=RING)
    except RefusedError:
        return
    # The size may be told smaller without harm: the digest still covers every byte.
    changed = json.loads(content)
    assert changed.pop("size") <= json.loads(SIGNED.signature)["size"]


def test_the_signature_of_a_stranger_is_refused_with_its_key() -> None:
    stranger = SigningKey.generate()
    signed = manifest.sign(SOUND, stranger)
    assert refused(signed) is Refusal.UNKNOWN_KEY


def test_a_stranger_who_names_our_key_is_refused() -> None:
    forged = json.loads(SigningKey.generate().sign(SIGNED.manifest))
    forged["key_id"] = KEY.public.id
    signed = dataclasses.replace(SIGNED, signature=json.dumps(forged).encode())
    assert refused(signed) is Refusal.WRONG_SIGNATURE


def test_a_missing_signature_is_refused() -> None:
    with pytest.raises(RefusedError) as caught:
        manifest.read(SIGNED.manifest, None, place=SOUND.place, ring=RING)
    assert caught.value.reason is Refusal.UNSIGNED


def test_a_manifest_in_the_place_of_another_is_refused() -> None:
    newer = dataclasses.replace(SOUND.place, seq=2)
    other = dataclasses.replace(SOUND.place, group_id=an_id("another group"))
    assert refused(SIGNED, place=newer) is Refusal.MISPLACED
    assert refused(SIGNED, place=other) is Refusal.MISPLACED


@pytest.mark.parametrize("value", [0, 2, "1", True, None, [1]])
def test_another_format_is_refused_before_anything_else_is_read(value: object) -> None:
    assert refused(resigned({"format": value, "group": "?"})) is Refusal.UNKNOWN_FORMAT


def test_a_signed_manifest_with_an_unknown_field_is_refused() -> None:
    assert refused(resigned({"surprise": 1})) is Refusal.SHAPE


def test_a_signed_manifest_in_another_writing_is_refused() -> None:
    content = json.dumps(json.loads(SIGNED.manifest), indent=1).encode()
    signed = Signed(manifest=content, signature=KEY.sign(content))
    assert refused(signed) is Refusal.NOT_CANONICAL


def test_a_signed_text_that_is_no_json_is_refused() -> None:
    assert refused(Signed(manifest=b"{", signature=KEY.sign(b"{"))) is Refusal.NOT_JSON
    assert refused(Signed(manifest=b"[]", signature=KEY.sign(b"[]"))) is Refusal.SHAPE


@pytest.mark.parametrize(
    "wrong",
    [
        dataclasses.replace(SOUND, group=a_group(id=an_id("another"))),
        dataclasses.replace(SOUND, group=a_group(members=a_group().members[1:])),
        dataclasses.replace(SOUND, group=a_group(policy="another")),
        a_manifest(phase=Phase.VOID),
        a_manifest(backups=SOUND.checkpoint.backups[1:]),
        a_manifest(
            backups=tuple(
                dataclasses.replace(each, chain=(each.chain[-1], "other"))
                for each in SOUND.checkpoint.backups
            )
        ),
    ],
)
def test_a_manifest_that_contradicts_itself_is_neither_written_nor_read(wrong: Manifest) -> None:
    with pytest.raises(ValueError, match="must not be written"):
        manifest.sign(wrong, KEY)
    content = documents.canonical(documents.write(wrong))
    assert refused(Signed(manifest=content, signature=KEY.sign(content)), wrong.place) is (
        Refusal.SHAPE
    )


def test_a_field_that_an_older_writer_did_not_know_gets_its_default() -> None:
    document = json.loads(SIGNED.manifest)
    del document["versions"]
    content = documents.canonical(document)
    read = manifest.read(content, KEY.sign(content), place=SOUND.place, ring=RING)
    assert read == dataclasses.replace(SOUND, versions={})


def test_keys_survive_their_files_and_files_that_others_can_read_are_refused(
    tmp_path: Path,
) -> None:
    path = tmp_path / "key.pem"
    KEY.save(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert SigningKey.load(path).public.id == KEY.public.id
    assert PublicKey.from_text(KEY.public.text).id == KEY.public.id
    assert base64.b64decode(KEY.public.text) == KEY.public.raw
    path.chmod(0o640)
    with pytest.raises(errors.ConfigurationError, match="read by others"):
        SigningKey.load(path)
    assert "private" not in repr(KEY).lower() or "BEGIN" not in repr(KEY)
