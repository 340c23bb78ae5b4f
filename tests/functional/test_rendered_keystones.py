"""Keystones, load balancers, caches and databases that run with rendered files.

Two sites of a cluster over all sites: each writes and logs in by itself, and takes the other's tokens; with
Fernet tokens first, then with JWS, whose public keys are rendered and whose private ones never leave their site.
Then a central Keystone, and a service of a site that has none.
"""

from __future__ import annotations

import base64
import contextlib
import secrets
import shutil
import signal
import wsgiref.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymysql
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from keystonemiddleware import auth_token
from oslo_config import cfg
from rendered_sites import (
    OUTSIDE,
    SECRETS,
    Cloud,
    Database,
    Front,
    address,
    arbitrator,
    ask,
    folder,
    install_template,
    keystone_manage,
)

from conditions import wait_for
from isthmus.identity import rendering, schema
from isthmus.identity.config import Provider

# Keystone's schema and four starts of Keystone are half a minute of CPU; on a machine that is busy, several minutes.
pytestmark = [pytest.mark.functional, pytest.mark.long, pytest.mark.timeout(1800)]

SITES = """
topology: cluster
sites:
  - {name: paris, role: writer}
  - {name: lyon, role: writer}
"""
NUMBERS = {"paris": 1, "lyon": 2, "madrid": 3}
SITES_OF_CLUSTER = ("paris", "lyon")
PASSWORD = "correct horse"


def key_pair(cloud: Cloud, site: str) -> str:
    """A pair as `keystone-manage create_jws_keypair` makes it; the private half stays in the site's folder."""
    key = ec.generate_private_key(ec.SECP256R1())
    private = cloud.host(site) / "keys" / "jws" / "private.pem"
    private.parent.mkdir(parents=True, mode=0o700)
    pem = serialization.Encoding.PEM
    private.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(pem, form).decode()


def fernet_keys(cloud: Cloud) -> None:
    """The same keys in both sites."""
    for kind in ("token", "credential"):
        keys = {index: base64.urlsafe_b64encode(secrets.token_bytes(32)) for index in "01"}
        for site in SITES_OF_CLUSTER:
            place = cloud.host(site) / "keys" / kind
            place.mkdir(parents=True, mode=0o700)
            for index, key in keys.items():
                (place / index).write_bytes(key)


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    """Files of both kinds of tokens can be rendered from it."""
    with folder("cluster") as root:
        cloud = Cloud(folder=root, sites=SITES, document={})
        cloud.document["arbitrator"] = OUTSIDE
        cloud.document["sites"] = {
            name: {
                "front": address(number, 1),
                "keystone": address(number, 2),
                "glance": address(number, 3),
                "memcached": f"{address(number, 4)}:11211",
                "databases": {"identity-db": address(number, 11)},
                "jws_public_keys": [key_pair(cloud, name)],
            }
            for number, name in enumerate(SITES_OF_CLUSTER, start=1)
        }
        fernet_keys(cloud)
        yield cloud


@pytest.fixture(scope="module")
def databases(cloud: Cloud) -> Iterator[dict[str, Database]]:
    """The second node comes by a real state transfer; then the vote in neither site."""
    for name in (*SITES_OF_CLUSTER, "arbitrator"):
        cloud.files(name)
    template = install_template(cloud.folder)
    with contextlib.ExitStack() as stack:
        found = {name: Database(cloud, name, "identity-db") for name in SITES_OF_CLUSTER}
        for each in found.values():
            each.install(template)
            stack.callback(each.end, signal.SIGKILL)
        found["paris"].start("--wsrep-new-cluster")
        found["paris"].rows(
            f"CREATE USER sst@localhost IDENTIFIED BY '{SECRETS['state-transfer']}'",
            "GRANT RELOAD, PROCESS, LOCK TABLES, BINLOG MONITOR ON *.* TO sst@localhost",
            "CREATE USER haproxy@'%'",
            "CREATE DATABASE keystone",
            f"GRANT ALL ON keystone.* TO keystone@'%' IDENTIFIED BY '{SECRETS['keystone-database']}'",
            *schema.STATEMENTS,
            "GRANT ALL ON isthmus_identity.* TO keystone@'%'",
        )
        found["lyon"].start()
        vote = arbitrator(cloud, "arbitrator")
        stack.callback(vote.end, signal.SIGKILL)
        wait_for(
            "the vote without data is counted",
            lambda: vote.alive() and found["paris"].status("wsrep_cluster_size") == "3",
            60,
        )
        yield found


@pytest.fixture(scope="module")
def fronts(cloud: Cloud, databases: dict[str, Database]) -> Iterator[dict[str, Front]]:
    """Fronts without a Keystone yet: the load balancers, through which Keystone's schema is made."""
    found = {
        name: Front(cloud, name, number) for number, name in enumerate(SITES_OF_CLUSTER, start=1)
    }
    try:
        # The second node's rows come through Galera, so one site makes them.
        balancer = found["paris"]
        balancer.start(keystone=False)
        wait_for("the writer listener answers", lambda: node_behind("paris", 3307) == "paris", 30)
        keystone_manage(cloud, "paris", "db_sync")
        keystone_manage(
            cloud, "paris", "bootstrap", "--bootstrap-password", PASSWORD, "--bootstrap-region-id", "paris"
        )  # fmt: skip
        balancer.end()
        yield found
    finally:
        for each in found.values():
            each.end()


def node_behind(site: str, port: int) -> str | None:
    """Which node a site's listener leads to."""
    with contextlib.suppress(pymysql.Error):
        connection = pymysql.connect(
            host=address(NUMBERS[site], 1),
            port=port,
            user="keystone",
            password=SECRETS["keystone-database"],
        )
        with connection, connection.cursor() as cursor:
            cursor.execute("SELECT @@wsrep_node_name")
            row = cursor.fetchone()
            return str(row[0]) if row else None
    return None


@contextlib.contextmanager
def running(cloud: Cloud, fronts: dict[str, Front], provider: Provider) -> Iterator[None]:
    """Both sites with the files of one kind of tokens."""
    for name, front in fronts.items():
        shutil.rmtree(cloud.host(name) / name / rendering.PUBLIC_KEYS, ignore_errors=True)
        cloud.files(name, provider)
        front.start()
    try:
        # Loading a Keystone takes some seconds of CPU, two of them on a busy machine a minute.
        wait_for("both Keystones answer", lambda: all(f.answers() for f in fronts.values()), 240)
        yield
    finally:
        for front in fronts.values():
            front.end()


def login(site: str) -> str:
    domain = {"id": "default"}
    user = {"name": "admin", "domain": domain, "password": PASSWORD}
    identity = {"methods": ["password"], "password": {"user": user}}
    scope = {"project": {"name": "admin", "domain": domain}}
    body = {"auth": {"identity": identity, "scope": scope}}
    answer = ask(address(NUMBERS[site], 1), "POST", "/v3/auth/tokens", body)
    assert answer.status == 201, answer
    return answer.headers["x-subject-token"]


def checked(site: str, token: str) -> int:
    """The status of a check of `token` by itself at a site."""
    front = address(NUMBERS[site], 1)
    return ask(front, "GET", "/v3/auth/tokens", token=token, subject=token).status


def project(site: str, token: str, name: str) -> Any:
    answer = ask(
        address(NUMBERS[site], 1), "POST", "/v3/projects", {"project": {"name": name}}, token=token
    )
    assert answer.status == 201, answer
    return answer.body["project"]["id"]


def test_fernet_tokens_of_one_site_are_good_at_the_other_and_each_site_writes_through_its_own_node(
    cloud: Cloud, fronts: dict[str, Front]
) -> None:
    with running(cloud, fronts, Provider.FERNET):
        for site in SITES_OF_CLUSTER:
            for port in (3306, 3307):
                assert node_behind(site, port) == site
        tokens = {site: login(site) for site in SITES_OF_CLUSTER}
        assert not any("." in token for token in tokens.values())
        for site, other in (("paris", "lyon"), ("lyon", "paris")):
            assert checked(other, tokens[site]) == 200
            made = project(site, tokens[other], f"made-at-{site}")
            # Galera's second node applies a moment after the first has committed.
            found = f"/v3/projects/{made}"
            front = address(NUMBERS[other], 1)
            wait_for(
                f"{other} shows what {site} has written",
                lambda front=front, found=found, token=tokens[site]: (
                    ask(front, "GET", found, token=token).status == 200
                ),
                20,
            )


def test_jws_tokens_are_checked_with_the_public_key_of_the_site_that_signed_them(
    cloud: Cloud, fronts: dict[str, Front]
) -> None:
    with running(cloud, fronts, Provider.JWS):
        tokens = {site: login(site) for site in SITES_OF_CLUSTER}
        assert all(token.count(".") == 2 for token in tokens.values())
        assert checked("lyon", tokens["paris"]) == 200
        assert checked("paris", tokens["lyon"]) == 200
        # Without the key of Paris, Lyon refuses what Paris signs, and nothing else.
        keys = cloud.host("lyon") / "lyon" / rendering.PUBLIC_KEYS
        (key,) = keys.glob("paris-*.pem")
        away = keys.parent / key.name
        key.rename(away)
        fresh = login("paris")
        assert checked("lyon", fresh) == 401
        assert checked("lyon", login("lyon")) == 200
        away.rename(key)
        assert checked("lyon", fresh) == 200


def test_no_private_key_is_in_another_sites_folder(cloud: Cloud) -> None:
    def holding(words: bytes) -> set[str]:
        files = (each for each in cloud.folder.rglob("*.pem") if words in each.read_bytes())
        return {str(each.relative_to(cloud.folder)) for each in files}

    private = {f"{site}/keys/jws/private.pem" for site in SITES_OF_CLUSTER}
    assert holding(b"PRIVATE KEY") == private
    assert len({Path(cloud.folder / each).read_bytes() for each in private}) == 2


CENTRAL_SITES = """
topology: centralized
sites:
  - {name: paris, role: writer}
  - {name: madrid, role: replica}
"""


@pytest.fixture
def central(cloud: Cloud, fronts: dict[str, Front]) -> Iterator[dict[str, Front]]:
    """The Keystone of paris alone, on the same database; madrid has a front and a cache, and nothing else of identity."""
    front = {
        number: {
            "front": address(number, 1),
            "glance": address(number, 3),
            "memcached": f"{address(number, 4)}:11211",
        }
        for number in (1, 3)
    }
    paris = {**front[1], "keystone": address(1, 2), "databases": {"paris-1": address(1, 11)}}
    with folder("central") as root:
        alone = Cloud(
            folder=root,
            sites=CENTRAL_SITES,
            document={"sites": {"paris": paris, "madrid": front[3]}},
        )
        shutil.copytree(cloud.host("paris") / "keys", alone.host("paris") / "keys")
        for name in ("paris", "madrid"):
            alone.files(name)
        found = {"paris": Front(alone, "paris", 1), "madrid": Front(alone, "madrid", 3)}
        try:
            found["paris"].start()
            found["madrid"].start(keystone=False)
            wait_for("the central Keystone answers", found["paris"].answers, 240)
            # Two health checks, a second apart: the central front's of its Keystone, madrid's of the central front.
            wait_for(
                "it answers in madrid, too",
                lambda: ask(address(3, 1), "GET", "/v3").status == 200,
                30,
            )
            yield found
        finally:
            for each in found.values():
                each.end()


def made(token: str, kind: str, body: dict[str, Any]) -> str:
    """Create something through madrid's front."""
    answer = ask(address(3, 1), "POST", f"/v3/{kind}s", {kind: body}, token=token)
    assert answer.status == 201, answer
    return str(answer.body[kind]["id"])


def account_of_glance(token: str) -> None:
    """What a service needs at its Keystone: an account, and an identity endpoint in the catalog for its region."""
    project = made(token, "project", {"name": "service", "domain_id": "default"})
    user = {"name": "glance", "password": SECRETS["glance"], "domain_id": "default"}
    user = made(token, "user", user)
    roles = ask(address(3, 1), "GET", "/v3/roles?name=admin", token=token).body["roles"]
    path = f"/v3/projects/{project}/users/{user}/roles/{roles[0]['id']}"
    assert ask(address(3, 1), "PUT", path, token=token).status == 204
    service = made(token, "service", {"type": "identity", "name": "keystone"})
    region = made(token, "region", {"id": "madrid"})
    endpoint = {"interface": "internal", "region_id": region, "service_id": service}
    made(token, "endpoint", {**endpoint, "url": f"http://{address(3, 1)}:5000/v3"})


def test_a_service_of_a_site_without_a_keystone_checks_tokens_through_its_own_front(
    central: dict[str, Front],
) -> None:
    token = login("madrid")
    account_of_glance(token)
    conf = cfg.ConfigOpts()
    folder = central["madrid"].folder
    conf([], default_config_files=[str(folder / "madrid/authtoken/glance.conf")])

    def told(environ: dict[str, Any], start: Any) -> list[bytes]:
        """The service: it answers what the filter before it has told."""
        start("200 OK", [])
        return [environ["HTTP_X_IDENTITY_STATUS"].encode()]

    service = auth_token.AuthProtocol(
        told, {"oslo_config_config": conf, "delay_auth_decision": True}
    )

    def status(token: str) -> str:
        environ: dict[str, Any] = {"HTTP_X_AUTH_TOKEN": token}
        wsgiref.util.setup_testing_defaults(environ)
        return b"".join(service(environ, lambda *_: None)).decode()

    assert status(token) == "Confirmed"
    assert status(token[:-8] + "AAAAAAAA") == "Invalid"
    # Without the central Keystone nobody is told anything wrong: not who may, and not that a token is bad.
    central["paris"].lose_keystone()
    wait_for(
        "the front says that Keystone is away",
        lambda: ask(address(3, 1), "GET", "/v3").status == 503,
        30,
    )
    answer = ask(address(3, 1), "GET", "/v3/auth/tokens", token=token, subject=token)
    assert answer.status == 503
    assert "Nothing was changed" in answer.body["error"]["message"]
