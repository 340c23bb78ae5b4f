"""Small decisions of the lab: what a user noticed, what must be hidden, what a tour says."""

import io
import os
import pathlib
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.errors import PrivilegeError
from isthmus.lab import (
    environment,
    errors,
    home,
    preflight,
    probing,
    progress,
    running,
    state,
    waiting,
)
from isthmus.lab.commands import looking
from isthmus.lab.probing import Sample
from isthmus.lab.tour import steps


def sample(answered: float, good: bool = True) -> Sample:
    return Sample(sent=answered - 0.01, answered=answered, good=good, said="200" if good else "503")


def test_a_user_without_any_answer_noticed_the_whole_time() -> None:
    assert probing.judge([], 10.0, 17.5).longest_gap == 7.5


def test_the_gap_runs_to_the_end_if_no_success_follows() -> None:
    noticed = probing.judge([sample(1.0), sample(2.0), sample(3.0, good=False)], 0.0, 10.0)
    assert noticed.longest_gap == 8.0
    assert (noticed.requests, noticed.errors, noticed.first_error) == (3, 1, "503")


@given(st.lists(st.floats(0, 100), max_size=30), st.lists(st.booleans(), min_size=30, max_size=30))
def test_an_added_success_never_widens_the_gap(times: list[float], good: list[bool]) -> None:
    samples = [sample(t, g) for t, g in zip(sorted(times), good, strict=False)]
    before = probing.judge(samples, 0.0, 100.0).longest_gap
    after = probing.judge([*samples, sample(50.0)], 0.0, 100.0)
    assert after.longest_gap <= before
    assert after.errors == sum(not s.good for s in samples)


def test_a_probe_stops_when_it_is_closed() -> None:
    asked = threading.Event()

    def ask() -> tuple[bool, str]:
        asked.set()
        return True, "200"

    with probing.Probe(ask, period=0.01) as probe:
        assert asked.wait(5.0)
    count = len(probe.samples())
    assert count >= 1
    assert len(probe.samples()) == count


@pytest.mark.parametrize(
    "line",
    [
        "password = 0123456789abcdef",
        "connection = mysql+pymysql://keystone:0123456789abcdef@10.99.1.1/keystone",
        "slave_connection = mysql+pymysql://keystone:0123456789abcdef@10.99.1.1/keystone",
        "wsrep_sst_auth = sst:0123456789abcdef",
        '  "password": "0123456789abcdef",',
        "memcache_secret_key: 0123456789abcdef",
        "transport_url = rabbit://isthmus:0123456789abcdef@10.99.1.6:5672/neutron",
    ],
)
def test_a_support_bundle_hides_the_value_of_a_secret(line: str) -> None:
    hidden = looking.redact(f"before\n{line}\nafter")
    assert "0123456789abcdef" not in hidden
    assert hidden.startswith("before\n")
    assert hidden.endswith("\nafter")


def test_a_support_bundle_keeps_what_is_no_secret() -> None:
    text = "region_name = paris\nwsrep_node_name = paris\n"
    assert looking.redact(text) == text


def test_a_wait_tells_the_last_reason() -> None:
    reasons = iter(["first", "second", "third"])
    with pytest.raises(errors.NotReady, match="third"):
        waiting.until(
            lambda: next(reasons, "third"), deadline=0.05, what="w", where="here", interval=0.02
        )


def test_a_wait_ends_when_the_condition_holds() -> None:
    reasons = iter(["not yet", None])
    assert (
        waiting.until(lambda: next(reasons), deadline=5.0, what="w", where="here", interval=0.001)
        < 5.0
    )


def test_a_failed_command_tells_its_code_and_words() -> None:
    with pytest.raises(errors.CommandFailed, match="exit 3: out of luck"):
        running.run(["sh", "-c", "echo out of luck >&2; exit 3"])


def test_a_hanging_command_is_ended() -> None:
    with pytest.raises(errors.CommandFailed, match="no end after"):
        running.run(["sleep", "60"], timeout=0.2)


def test_a_missing_command_is_named() -> None:
    with pytest.raises(errors.CommandFailed, match="no-such-command is not installed"):
        running.run(["no-such-command"])


def test_a_second_lab_command_is_refused_and_told_who_is_at_work(tmp_path: pathlib.Path) -> None:
    place = home.Home(root=tmp_path)
    with (
        home.locked(place, "isthmus lab up"),
        pytest.raises(errors.Busy, match=f"pid {os.getpid()}, `isthmus lab up`"),
        home.locked(place, "isthmus lab down"),
    ):
        pass
    with home.locked(place, "isthmus lab down"):
        pass


def test_the_record_survives_and_gives_the_environment_back(tmp_path: pathlib.Path) -> None:
    place = home.Home(root=tmp_path)
    assert home.read_record(place) is None
    with pytest.raises(errors.NoLab):
        home.require_record(place)
    text, wanted = environment.load("identity")
    home.write_record(place, home.Record(environment_text=text, template="t", begun=1.0))
    assert home.require_record(place).environment == wanted
    assert place.record.stat().st_mode & 0o777 == 0o600


def test_without_root_the_lab_says_what_works_without_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(PrivilegeError) as caught:
        preflight.check(tmp_path, environment.load("identity")[1])
    assert "unit tests work without root" in caught.value.describe()


def test_a_missing_program_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(preflight.COMMANDS, "no-such-daemon", "no-such-package")
    wanted = environment.load("identity")[1]
    assert preflight.missing_packages(wanted)["no-such-daemon"] == "no-such-package"


def test_only_an_environment_with_hosts_needs_a_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(preflight.HOST_COMMANDS, "no-such-switch", "no-such-package")
    identity, networked = (environment.load(name)[1] for name in ("identity", "network"))
    assert "no-such-switch" not in preflight.missing_packages(identity)
    assert preflight.missing_packages(networked)["no-such-switch"] == "no-such-package"


def test_after_a_failed_step_the_rest_is_not_run() -> None:
    tour = steps.Tour(progress=progress.Silent())
    tour.step("first", lambda: "fine")
    tour.step("second", lambda: steps.expect(False, "a token", where="madrid", seen="503") or "")
    tour.step("third", lambda: pytest.fail("must not run"))
    assert [step.outcome for step in tour.steps] == ["passed", "failed", "not run"]
    assert tour.failed
    assert "expected: a token (madrid): seen: 503" in tour.steps[1].detail


def test_lines_of_standard_error_are_heard_while_the_command_runs_and_kept() -> None:
    heard: list[str] = []
    script = "echo one >&2; read -r go; echo two >&2; echo out; exit 3"
    done = running.run(["sh", "-c", script], stdin="go\n", check=False, told=heard.append)
    assert heard == ["one", "two"]
    assert (done.code, done.stdout, done.stderr) == (3, "out\n", "one\ntwo\n")


def test_a_tour_is_one_json_object_of_steps_and_figures() -> None:
    tour = steps.Tour(progress=progress.Silent())
    tour.step("first", lambda: "fine")
    tour.figure("gap_s", 1.23456, "s")
    document = tour.document()
    assert document["steps"][0].keys() == {"name", "outcome", "seconds", "detail"}
    assert document["figures"] == {"gap_s": {"value": 1.235, "unit": "s"}}


def test_plain_progress_is_one_line_for_each_step() -> None:
    stream = io.StringIO()
    lines = progress.Lines(stream)
    lines.begin("one")
    lines.end("one", 1.25, "ok")
    lines.fail("two", 2.0, "broken\nand more")
    written = stream.getvalue().splitlines()
    assert len(written) == 2
    assert written[0].endswith("one                                   1.2 s  ok")
    assert "FAILED: broken" in written[1]


def test_a_unit_without_processes_is_dead(tmp_path: pathlib.Path) -> None:
    place = home.Home(root=tmp_path)
    only = {"paris/memcached": None}
    found = state.of_units(place, only)  # type: ignore[arg-type]
    assert [(u.unit, u.phase, u.rss_bytes) for u in found] == [
        ("paris/memcached", state.Phase.DEAD, 0)
    ]
