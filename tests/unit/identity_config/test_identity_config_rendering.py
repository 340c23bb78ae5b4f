"""The files of a star: the whole of them letter by letter, and what is refused before any is written."""

from __future__ import annotations

import re
import types

import pytest
from declared import DEPLOYMENT, HERE, SECRETS, SITES, files, star

from isthmus import errors
from isthmus.identity import comparing, config, consequences, deployment
from isthmus.identity.rendering import Kind
from isthmus.lab.components import service_config
from isthmus.sites import inventory
from topologies_declared import ALL, rendered

GOLDEN = HERE / "golden_star.txt"


def test_the_files_of_a_star_are_these() -> None:
    """To take over a change on purpose, write what `text` is into the file and read the difference."""
    text = "".join(f"==> {each.path} {each.mode:04o}\n{each.text}\n" for each in files())
    assert text == GOLDEN.read_text()


def test_every_site_has_its_files() -> None:
    by_site: dict[str, set[Kind]] = {}
    for each in files():
        by_site.setdefault(each.site, set()).add(each.kind)
    common = {Kind.KEYSTONE, Kind.AUTHTOKEN, Kind.HAPROXY, Kind.FIREWALL}
    assert by_site["paris"] == by_site["lyon"] == {*common, Kind.NODE}
    assert by_site["madrid"] == {*common, Kind.REPLICA, Kind.ARBITRATOR}
    assert by_site["login"] == {Kind.HAPROXY}


def test_a_secret_is_in_no_file_that_others_may_read_and_in_no_repr() -> None:
    for each in files():
        if any(value in each.text for value in SECRETS.values()):
            assert each.mode == 0o600, each.path
        assert not any(value in repr(each) for value in SECRETS.values())


def test_services_ask_their_own_site_and_region() -> None:
    for each in files():
        if each.kind is Kind.AUTHTOKEN:
            number = {"paris": 1, "lyon": 2, "madrid": 3}[each.site]
            assert f"auth_url = http://10.99.{number}.1:5000/v3" in each.text
            region = "RegionThree" if each.site == "madrid" else each.site
            assert f"region_name = {region}\n" in each.text
            assert "token_cache_time = 10" in each.text


def test_servers_have_ids_of_their_own_and_members_know_each_other() -> None:
    texts = {each.path: each.text for each in files()}
    ids = [
        re.findall(r"^server_id = (\d+)", texts[f"madrid/mariadb/replica-{w}.cnf"], re.M)[0]
        for w in ("paris", "lyon")
    ]
    assert len({*ids, "100"}) == 3
    members = "gcomm://10.99.1.11,10.99.2.11,10.99.3.10"
    assert members in texts["paris/mariadb/identity-db.cnf"]
    assert members in texts["lyon/mariadb/identity-db.cnf"]


def test_a_database_password_with_signs_of_a_url_survives() -> None:
    text = next(each.text for each in files() if each.kind is Kind.KEYSTONE)
    assert "s3cret%2Fdb%3Aone@10.99.1.1:3307" in text


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("front: 10.99.3.1", "front: madrid.example", r"sites.madrid.front\): expected an IPv4"),
        ("    keystone: 10.99.2.2\n", "", r"sites.lyon\): 'keystone' is missing"),
        ("  lyon:", "  nantes:", "'nantes' is not one of"),
        ("memcached: 10.99.1.4:11211", "memcached: 10.99.1.4", "expected address:port"),
        ("    arbitrator: 10.99.3.10\n", "", "one arbitrator, not 0"),
        ("{identity-db: 10.99.2.11}\n", "{identity-db: 10.99.2.11}\n    arbitrator: 10.99.2.10\n", "not 2"),
        ("{identity-db: 10.99.2.11}", "{galera: 10.99.2.11}", "one database, named identity-db"),
        ("replica-lyon", "replica-madrid", "are among: replica-paris, replica-lyon"),
        ("replica-lyon: 10.99.3.12", "replica-lyon: 10.99.3.11", "10.99.3.11 is also"),
        ("max_connections: 200", "read_only: 'OFF'", "is no matter of size"),
        ("max_connections: 200", "performance_schema: off", "in quotes"),
        ("login: 198.51.100.10", "loggin: 198.51.100.10", "'loggin' is not one of"),
        ("login: 198.51.100.10", "paths: {queue: queue.sqlite}", "expected an absolute path"),
        ("login: 198.51.100.10", "login: [", "not YAML"),
    ],
)  # fmt: skip
def test_a_wrong_declaration_is_refused_with_its_place(old: str, new: str, words: str) -> None:
    text = DEPLOYMENT.read_text()
    assert old in text
    with pytest.raises(errors.ConfigurationError, match=words):
        star(text.replace(old, new, 1))


def test_a_third_vote_in_a_writer_site_is_refused() -> None:
    text = DEPLOYMENT.read_text().replace("    arbitrator: 10.99.3.10\n", "")
    text = text.replace(
        "{identity-db: 10.99.1.11}\n", "{identity-db: 10.99.1.11}\n    arbitrator: 10.99.1.10\n"
    )
    with pytest.raises(errors.ConfigurationError, match="lost with it"):
        star(text)


def test_a_star_needs_two_writer_sites() -> None:
    with pytest.raises(errors.ConfigurationError, match="two writer sites, not 1"):
        star(sites=SITES.read_text().replace("lyon, role: writer", "lyon, role: replica"))


def test_federation_cannot_be_rendered() -> None:
    known = inventory.parse(SITES.read_text(), source="sites.yaml")
    with pytest.raises(errors.UsageError, match="share no identity data"):
        deployment.refuse_topology("federated", known)


def test_a_sites_file_of_another_topology_is_refused() -> None:
    other = SITES.read_text().replace("topology: star", "topology: cluster")
    known = inventory.parse(other, source="sites.yaml")
    with pytest.raises(errors.ConfigurationError, match="it says cluster"):
        deployment.refuse_topology("star", known)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 'hunter2'", "missing: b"),
        ("a: 12345\nb: 'x'", "in quotes"),
        ("[hunter2]", "expected a mapping"),
        ("a: 'hunter2'\nb: \"x\\ny\"", "visible ASCII"),
        ("a: 'hunter2'\nb: 'x$y'", "visible ASCII"),
        ("a: 'hunter2'\nb: 'x#y'", "visible ASCII"),
        ("a: {hunter2", "not YAML"),
    ],
)
def test_wrong_secrets_are_refused_without_being_shown(text: str, words: str) -> None:
    with pytest.raises(errors.ConfigurationError, match=words) as refused:
        deployment.secrets(text, source="secrets.yaml", needed=["a", "b"])
    assert "hunter2" not in refused.value.describe()
    assert "12345" not in refused.value.describe()


def test_firewall_notes_name_the_ports_between_sites() -> None:
    notes = {each.site: each.text for each in files() if each.kind is Kind.FIREWALL}
    assert "allow 10.99.3.10 -> 10.99.1.11 4567,4568,4444" in notes["paris"]
    assert "allow 10.99.3.11 -> 10.99.1.11 3308" in notes["paris"]
    assert "deny any -> 10.99.3.4 11211" in notes["madrid"]
    assert "deny any -> 10.99.3.12 3306,3308" in notes["madrid"]


def test_the_lab_renders_the_same_section() -> None:
    site = types.SimpleNamespace(name="paris", front="10.99.1.1", management="198.51.100.1")
    section = service_config.checks_tokens(site, "glance", SECRETS["glance"], "10.99.1.4:11211")  # type: ignore[arg-type]
    ours = next(each.text for each in files() if each.path == "paris/authtoken/glance.conf")
    assert ours == config.ini({"keystone_authtoken": section})


def test_the_guide_names_every_setting_and_every_consequence() -> None:
    guide = (HERE.parents[2] / "docs" / "configuration-guide.rst").read_text()
    sizing = {f"mariadbd.{name}" for name in star().sizing}
    assert consequences.STRANGER in guide
    for each in (*files(), *(file for shape in ALL for file in rendered(shape))):
        if each.kind in (Kind.FIREWALL, Kind.HAPROXY):
            continue
        for name in comparing.settings(each.kind, each.text):
            assert name in sizing or f"``{name}``" in guide, name
    for rules in (*consequences.RULES.values(), consequences._DATABASE):
        for rule in rules:
            assert rule.consequence in guide, rule
