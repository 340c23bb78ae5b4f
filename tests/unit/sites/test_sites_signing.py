"""Only whoever knows the secret is heard, once, in time, and by whom it was meant for."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus import errors
from isthmus.sites import signing
from isthmus.sites.signing import Fault, Message

SECRET = b"s" * 32
NONCE = "0" * 32
PARIS, LYON = signing.engine_name("paris"), signing.engine_name("lyon")
POKE = Message(method="POST", path="/v1/poke?x=1", body=b'{"ports": []}')


def signed(message: Message = POKE, *, now: float = 1000.0, nonce: str = NONCE) -> dict[str, str]:
    return signing.sign(SECRET, message, sender=PARIS, to=LYON, now=now, nonce=nonce)


def judged(headers: dict[str, str], message: Message = POKE, *, now: float = 1000.0) -> str:
    verdict = signing.verify(SECRET, message, headers, me=LYON, now=now)
    assert verdict.accepted == (verdict.sender is not None)
    return verdict.sender or str(verdict.fault)


def test_a_signed_request_names_its_sender() -> None:
    assert judged(signed()) == PARIS


def test_names_of_headers_may_have_any_case() -> None:
    assert judged({name.upper(): value for name, value in signed().items()}) == PARIS


@pytest.mark.parametrize("header", [signing.FROM, signing.TO, signing.NONCE, signing.SIGNATURE])
def test_a_request_without_a_part_of_the_signature_is_unsigned(header: str) -> None:
    headers = signed()
    del headers[header]
    assert judged(headers) == Fault.UNSIGNED


@pytest.mark.parametrize(
    "altered",
    [
        Message(method="PUT", path=POKE.path, body=POKE.body),
        Message(method="POST", path="/v1/poke?x=2", body=POKE.body),
        Message(method="POST", path=POKE.path, body=b'{"ports": [1]}'),
    ],
)
def test_an_altered_request_is_forged(altered: Message) -> None:
    assert judged(signed(), altered) == Fault.FORGED


@pytest.mark.parametrize(
    ("header", "value"),
    [
        (signing.FROM, signing.engine_name("madrid")),
        (signing.TO, signing.engine_name("madrid")),
        (signing.TIME, "1000.001"),
        (signing.NONCE, "1" * 32),
        (signing.SIGNATURE, "ÿ"),
    ],
)
def test_an_altered_header_makes_the_request_forged(header: str, value: str) -> None:
    assert judged({**signed(), header: value}) == Fault.FORGED


@pytest.mark.parametrize("time", ["nan", "tomorrow", "", "1e3", "-1000.000"])
def test_a_time_that_is_no_time_is_refused_before_it_is_read(time: str) -> None:
    assert judged({**signed(), signing.TIME: time}) == Fault.UNSIGNED


def test_another_secret_does_not_open() -> None:
    headers = signing.sign(b"o" * 32, POKE, sender=PARIS, to=LYON, now=1000.0, nonce=NONCE)
    assert judged(headers) == Fault.FORGED


def test_a_request_for_somebody_else_is_refused() -> None:
    verdict = signing.verify(SECRET, POKE, signed(), me=signing.engine_name("madrid"), now=1000.0)
    assert verdict.fault is Fault.MISADDRESSED


@pytest.mark.parametrize("now", [969.0, 1031.0])
def test_a_request_out_of_time_is_refused_and_the_difference_is_said(now: float) -> None:
    verdict = signing.verify(SECRET, POKE, signed(), me=LYON, now=now)
    assert verdict.fault is Fault.SKEWED
    assert "31 s" in verdict.reason


@given(st.floats(min_value=-30, max_value=30), st.binary(max_size=50), st.text(max_size=20))
def test_any_request_within_the_skew_is_accepted(apart: float, body: bytes, query: str) -> None:
    message = Message(method="get", path=f"/v1/{query!r}", body=body)
    assert judged(signed(message), message, now=1000.0 + apart) == PARIS


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0, 40))))
def test_no_nonce_is_accepted_twice_while_its_time_is_good(steps: list[tuple[int, float]]) -> None:
    """Requests dated when the nonce is first used; later ones are replays of the same bytes."""
    clock = [1000.0]
    gate = signing.Gate(SECRET, LYON, lambda: clock[0])
    made: dict[int, dict[str, str]] = {}
    accepted: set[int] = set()
    for number, passed in steps:
        clock[0] += passed
        headers = made.setdefault(number, signed(now=clock[0], nonce=f"{number:032x}"))
        verdict = gate.verify(POKE.method, POKE.path, POKE.body, headers)
        if number in accepted:
            assert verdict.fault in (Fault.REPLAYED, Fault.SKEWED)
        else:
            assert verdict.accepted
            accepted.add(number)


def test_nonces_are_forgotten_when_their_time_is_over() -> None:
    nonces = signing.Nonces()
    for second in range(1000):
        assert nonces.first(f"{second:032x}", now=float(second))
    assert len(nonces) < 100


def test_a_signer_never_sends_the_same_headers_twice() -> None:
    signer = signing.Signer(SECRET, PARIS, lambda: 1000.0)
    gate = signing.Gate(SECRET, LYON, lambda: 1000.0)
    for _ in range(3):
        headers = signer.headers("POST", "/v1/poke", b"{}", to=LYON)
        assert gate.verify("POST", "/v1/poke", b"{}", headers).sender == PARIS


def test_the_secret_is_read_only_from_a_file_of_its_owner(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_bytes(SECRET + b"\n")
    file.chmod(0o640)
    with pytest.raises(errors.ConfigurationError, match="0640"):
        signing.load_secret(file)
    file.chmod(0o600)
    assert signing.load_secret(file) == SECRET


def test_a_missing_or_short_secret_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(errors.ConfigurationError, match="No such file"):
        signing.load_secret(tmp_path / "none")
    short = tmp_path / "short"
    short.touch(mode=0o600)
    short.write_bytes(b"short")
    with pytest.raises(errors.ConfigurationError, match="5 bytes"):
        signing.load_secret(short)
