"""The commands of the lab, run as an operator runs them."""

import json
import shlex
import stat
import subprocess
import tarfile
from pathlib import Path

import pytest
from running_lab import Lab

from isthmus.lab import home, network, processes
from isthmus.lab.templates import OTHERS, SECRETS

pytestmark = pytest.mark.lab

DEAD, OK = 1, 0


def secrets_of(lab: Lab) -> dict[str, str]:
    """Every secret of the lab: the template's passwords and all keys."""
    template = next(iter(lab.units.values())).context.template
    found = {name: template.secret(name) for name in SECRETS}
    for path in sorted(lab.home.lab.glob("units/*/keystone/*-keys/*")):
        if path.name.isdigit():  # beside them lies a mark, which is no secret
            found[str(path)] = path.read_text().strip()
    assert len(found) > len(SECRETS)
    assert all(len(secret) >= 32 for secret in found.values())
    return found


def test_status_says_what_is_up_and_exits_1_when_something_is_dead_frozen_or_cut(lab: Lab) -> None:
    whole = lab.command("lab", "status", "-f", "json")
    assert whole.returncode == OK, whole.stderr
    rows = {row["Unit"]: row for row in json.loads(whole.stdout)}
    assert rows.keys() == lab.units.keys()
    assert all(row["Phase"] == "running" and row["RSS MiB"] > 0 for row in rows.values())
    lab.kill("madrid/memcached")
    lab.freeze("lyon/memcached")
    broken = lab.command("lab", "status", "-f", "json")
    assert broken.returncode == DEAD
    phases = {row["Unit"]: row["Phase"] for row in json.loads(broken.stdout)}
    assert (phases["madrid/memcached"], phases["lyon/memcached"]) == ("dead", "frozen")
    lab.resume("madrid/memcached")
    lab.resume("lyon/memcached")
    lab.cut("paris-lyon")
    cut = lab.command("lab", "status", "--links", "-f", "json")
    lab.heal("paris-lyon")
    assert cut.returncode == DEAD
    assert {r["Link"]: r["Condition"] for r in json.loads(cut.stdout)} == {
        "paris-lyon": "cut", "paris-madrid": "open", "lyon-madrid": "open",
    }  # fmt: skip


def test_faults_are_made_and_undone_by_commands(lab: Lab) -> None:
    with lab.unlocked():
        cut = lab.command("lab", "fault", "cut", "paris-madrid", "--from", "madrid")
        ends = {(end.link, end.site): end.dropping for end in network.link_ends(lab.environment)}
        healed = lab.command("lab", "fault", "heal")
        unknown = lab.command("lab", "fault", "kill", "oslo")
    assert cut.returncode == OK, cut.stderr
    assert [end for end, dropping in ends.items() if dropping] == [("paris-madrid", "paris")]
    assert healed.returncode == OK, healed.stderr
    assert not any(end.dropping for end in network.link_ends(lab.environment))
    assert unknown.returncode == 64
    assert "paris/keystone" in unknown.stderr


def test_test_uses_every_component(lab: Lab) -> None:
    done = lab.command("lab", "test", "-f", "json")
    assert done.returncode == OK, done.stdout
    outcomes = {row["Unit"]: row["Outcome"] for row in json.loads(done.stdout)}
    assert outcomes == dict.fromkeys(lab.units, "ok")


def test_traffic_is_counted_per_link_by_what_it_is_for(lab: Lab) -> None:
    done = lab.command("lab", "traffic", "-f", "json")
    assert done.returncode == OK, done.stderr
    counted = {(row["Link"], row["Traffic"]): row["Bytes"] for row in json.loads(done.stdout)}
    assert {link for link, _ in counted} == {"paris-lyon", "paris-madrid", "lyon-madrid"}
    assert all(counted[link, "replication"] > 0 for link, _ in counted)


def test_exec_runs_in_the_site_and_gives_its_exit_code(lab: Lab) -> None:
    shown = lab.command("lab", "exec", "madrid", "--", "ip", "-o", "addr", "show", "dev", "lo")
    assert lab.madrid.front in shown.stdout
    assert lab.paris.front not in shown.stdout
    assert lab.command("lab", "exec", "madrid", "--", "sh", "-c", "exit 7").returncode == 7


def test_logs_show_one_component_or_a_site(lab: Lab) -> None:
    one = lab.command("lab", "logs", "madrid/replica-paris", "-n", "5")
    assert one.returncode == OK, one.stderr
    assert "madrid/replica-paris.log" in one.stdout
    assert "madrid/keystone" not in one.stdout
    assert "madrid/keystone.log" in lab.command("lab", "logs", "madrid").stdout


def test_env_prints_exports_that_a_shell_takes_and_stock_clients_work_with(lab: Lab) -> None:
    printed = lab.command("lab", "env")
    assert printed.returncode == OK, printed.stderr
    names = [shlex.split(line)[1].split("=")[0] for line in printed.stdout.splitlines()]
    assert {"OS_CLIENT_CONFIG_FILE", "ISTHMUS_SITES"} <= set(names)
    shown = subprocess.run(
        ["sh", "-ec", f"{printed.stdout}\ncat \"$OS_CLIENT_CONFIG_FILE\" \"$ISTHMUS_SITES\""],
        capture_output=True, text=True, timeout=10, check=True,
    )  # fmt: skip
    assert "madrid" in shown.stdout
    status = lab.command("status", "-f", "json")
    assert status.returncode == OK, status.stderr + status.stdout


def test_gather_holds_logs_and_configurations_and_no_secret(lab: Lab, tmp_path: Path) -> None:
    path = tmp_path / "bundle.tar.gz"
    done = lab.command("lab", "gather", "--output", str(path))
    assert done.returncode == OK, done.stderr
    assert path.stat().st_mode & 0o077 == 0
    secrets = secrets_of(lab)
    with tarfile.open(path) as archive:
        names = archive.getnames()
        for wanted in (
            "logs/madrid/keystone-service.log",
            "configuration/paris/identity-db/my.cnf",
        ):
            assert f"isthmus-lab/{wanted}" in names
        for name in names:
            stream = archive.extractfile(name)
            assert stream is not None
            text = stream.read().decode()
            for what, secret in secrets.items():
                assert secret not in text, f"{name} holds the secret {what}"


def test_no_secret_is_readable_for_others_nor_shown_in_a_command_line_or_a_log(lab: Lab) -> None:
    secrets = {what: secret.encode() for what, secret in secrets_of(lab).items()}
    holders = set()
    # What other environments have made once per machine (disks, clusters) is no part of this lab, and may be larger than memory.
    others = [lab.home.templates / name for name in OTHERS]
    for path in sorted(lab.home.root.rglob("*")):
        foreign = any(path.is_relative_to(each) for each in others)
        if path.is_file() and not path.is_symlink() and not foreign:
            content = path.read_bytes()
            held = [what for what, secret in secrets.items() if secret in content]
            if held:
                holders.add(path.name)
                assert not _readable_by_others(path), f"{path} holds {held} and is readable"
                assert path.suffix != ".log", f"{path} holds the secrets {held}"
                # Replicas, backups and support bundles take a binary log along.
                assert "binlog" not in path.name, f"{path} holds the secrets {held}"
    assert {"secrets.json", "clouds.yaml", "keystone.conf", "my.cnf", "0", "1"} <= holders
    for found in processes.running(lab.home.lab).values():
        for process in found:
            words = " ".join(processes.command_line(process.pid))
            for what, secret in secrets.items():
                assert secret.decode() not in words, f"{process.unit} shows {what} in its arguments"


def _readable_by_others(path: Path) -> bool:
    """Whether somebody who is neither the owner nor in the group can open the file."""
    if not path.stat().st_mode & stat.S_IROTH:
        return False
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in path.parents)


def test_two_commands_at_once_refuse_politely(lab: Lab) -> None:
    """The session of these tests holds the lock, as another `up` would."""
    refused = lab.command("lab", "up")
    assert refused.returncode == 75
    assert "another lab command is at work" in refused.stderr
    assert "the lab tests" in refused.stderr
    assert home.read_record(lab.home) is not None
