"""Reports: an old observation is worth nothing, whatever it said."""

import json
import sqlite3
from dataclasses import replace
from pathlib import Path

from isthmus.agent import sources
from isthmus.agent.reports import Report

GOOD = Report(
    at=100.0, name="db", kind="writer", serving=True, verdict="serving", reason="well",
    writer_until=101.0,
)  # fmt: skip


def test_a_fresh_report_says_what_was_decided() -> None:
    assert GOOD.reader(100.5) == (True, "serving: well")
    assert GOOD.writer(100.5) == (True, "serving: well")


def test_the_right_to_write_ends_before_the_report_is_old() -> None:
    assert GOOD.reader(101.5)[0] is True
    assert GOOD.writer(101.5)[0] is False


def test_an_old_report_serves_nothing_and_says_its_age() -> None:
    served, reason = GOOD.reader(103.0)
    assert served is False
    assert "last observed 3.0 s ago" in reason
    assert GOOD.document(103.0)["serving"] is False


def test_a_replica_is_never_the_writer() -> None:
    assert replace(GOOD, kind="replica", writer_until=0.0).writer(100.0)[0] is False


def test_a_report_is_json() -> None:
    assert json.loads(json.dumps(GOOD.document(100.25)))["observed_age_seconds"] == 0.25


def test_a_queue_tells_what_waits_and_a_missing_one_its_error(tmp_path: Path) -> None:
    path = tmp_path / "queue.sqlite"
    assert "unable to open" in sources.queue(path)["error"]
    assert not path.exists()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE entry (recorded_at REAL, replayed_at REAL, aside INTEGER)")
        connection.execute("INSERT INTO entry VALUES (1.0, NULL, 0), (0.0, 1.0, 0), (0.0, NULL, 1)")
    connection.close()
    assert sources.queue(path)["pending"] == 1
    assert sources.queue(path)["oldest_age_seconds"] > 1e9


def test_variables_are_told_and_none_while_they_are_not_known() -> None:
    assert GOOD.document(100.25)["variables"] is None
    told = replace(GOOD, variables={"read_only": "ON"}).document(100.25)
    assert json.loads(json.dumps(told))["variables"] == {"read_only": "ON"}


def test_of_a_configuration_file_only_what_may_be_told_is_told(tmp_path: Path) -> None:
    path = tmp_path / "keystone.conf"
    path.write_text(
        "[database]\nconnection = mysql+pymysql://keystone:s3cret@10.0.0.1/keystone\n"
        "[token]\nprovider = fernet\n[ldap]\npassword = s3cret\n"
    )
    told = sources.settings({"keystone": path, "glance": tmp_path / "absent.conf"})
    assert told["keystone"] == {"options": {"token.provider": "fernet"}}
    assert told["glance"] == {"error": f"{tmp_path}/absent.conf: No such file or directory"}


def test_a_file_that_is_no_text_is_told_without_its_words(tmp_path: Path) -> None:
    path = tmp_path / "nova.conf"
    path.write_bytes(b"[keystone_authtoken]\npassword = s3cret\xff\n")
    assert sources.settings({"nova": path}) == {"nova": {"error": f"{path} is not UTF-8 text"}}


def test_a_file_is_read_again_when_it_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "keystone.conf"
    for provider in ("fernet", "jws"):
        path.write_text(f"[token]\nprovider = {provider}\n")
        for _ in range(2):
            told = sources.settings({"keystone": path})
            assert told["keystone"] == {"options": {"token.provider": provider}}
    path.unlink()
    assert "error" in sources.settings({"keystone": path})["keystone"]


def test_packages_are_those_of_the_environment() -> None:
    assert set(sources.packages()) <= {"keystone", "keystonemiddleware"}
    assert all(each[0].isdigit() for each in sources.packages().values())
