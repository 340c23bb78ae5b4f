"""Asking the engines about addresses while sites come and go."""

from types import SimpleNamespace
from typing import Any

import pytest
import requests
from bench.addressed import Addressed

from isthmus.errors import IsthmusError


class Engines:
    """What each site's management address answers: a status with a body, or nothing."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.asked: list[str] = []

    def request(self, method: str, url: str, **_: Any) -> Any:
        site = url.partition("//")[2].partition(":")[0]
        self.asked.append(site)
        if self.answers[site] is None:
            raise requests.ConnectionError("refused")
        status, body = self.answers[site]
        return SimpleNamespace(
            ok=status < 400, status_code=status, text=str(body), json=lambda: body
        )


@pytest.fixture
def addressed() -> Addressed:
    names = ("paris", "lyon", "madrid")
    sites = [SimpleNamespace(name=name, management=name) for name in names]
    lab = SimpleNamespace(environment=SimpleNamespace(sites=sites), login=lambda site, who: "token")
    return Addressed(lab)  # type: ignore[arg-type]


def document(**changes: Any) -> dict[str, Any]:
    site = {"ready": True, "health": "healthy", "reason": "", "error": None}
    sites = [{"site": name, **site} for name in ("paris", "lyon")]
    voters = [{"site": name, "error": None} for name in ("paris", "lyon", "madrid")]
    return {"address": {"holder": "paris/compute1", "sites": sites, "voters": voters, **changes}}


def test_the_first_engine_that_answers_is_believed(
    addressed: Addressed, monkeypatch: pytest.MonkeyPatch
):
    engines = Engines(paris=None, lyon=(200, document()), madrid=(500, ""))
    monkeypatch.setattr(requests, "request", engines.request)
    assert addressed.holder() == ("paris", "compute1")
    assert engines.asked == ["paris", "lyon"]


def test_when_no_engine_answers_each_one_s_reason_is_told(
    addressed: Addressed, monkeypatch: pytest.MonkeyPatch
):
    engines = Engines(paris=None, lyon=(503, "busy"), madrid=None)
    monkeypatch.setattr(requests, "request", engines.request)
    with pytest.raises(IsthmusError, match=r"paris: refused.*lyon: 503 busy.*madrid: refused"):
        addressed.ask("GET", "/x")
    assert "503 busy" in str(addressed._unready())


def test_an_address_is_ready_when_all_voters_answer_and_both_sites_can_hold_it(
    addressed: Addressed, monkeypatch: pytest.MonkeyPatch
):
    silent = [{"site": "lyon", "error": "no answer within 2 s"}]
    for given, missing in (
        ({}, None),
        ({"voters": silent}, "voter lyon: no answer within 2 s; holder paris/compute1"),
        ({"holder": None}, "holder None"),
    ):
        engines = Engines(paris=(200, document(**given)), lyon=None, madrid=None)
        monkeypatch.setattr(requests, "request", engines.request)
        assert addressed._unready() == missing
