"""The rendered configurations hold the lines without which a site does not stand alone."""

import configparser

from isthmus.identity import balancing, config


def parsed(text: str) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(strict=False)
    parser.read_string(text)
    return parser


def keystone(**changes: str) -> configparser.RawConfigParser:
    values = {
        "site": "madrid",
        "database_password": "secret",
        "front": "10.99.3.1",
        "memcached": "10.99.3.4:11211",
        "token_keys": "/keys/token",
        "credential_keys": "/keys/credential",
        "queue": "/queue.sqlite",
        "log_file": "/log",
    }
    return parsed(config.keystone(**{**values, **changes}))


def site_balancer() -> str:
    return balancing.site(
        binds=["10.99.3.1", "10.98.0.3"],
        front="10.99.3.1",
        keystone_address="10.99.3.2",
        glance_address="10.99.3.3",
        peers={"paris": ("10.99.1.2", "10.99.1.1")},
        local_databases={"replica-paris": "10.99.3.11", "replica-lyon": "10.99.3.12"},
        writers={"paris": ("10.99.1.11", "10.99.1.1"), "lyon": ("10.99.2.11", "10.99.2.1")},
        stats_socket="/stats.sock",
    )


def test_keystone_reads_at_its_site_and_writes_through_the_writer_listener() -> None:
    conf = keystone()
    assert ":3307/" in conf["database"]["connection"]
    assert ":3306/" in conf["database"]["slave_connection"]
    assert all("10.99.3.1" in conf["database"][key] for key in ("connection", "slave_connection"))


def test_keystone_loads_the_site_kit() -> None:
    conf = keystone()
    assert {conf[section]["driver"] for section in ("identity", "shadow_users", "revoke")} == {
        "isthmus"
    }
    assert conf["isthmus"]["site"] == "madrid"
    assert conf["isthmus"]["queue_path"] == "/queue.sqlite"


def test_keystone_knows_where_its_agent_tells_of_changes_if_that_is_said() -> None:
    assert keystone(generation_file="/run/g")["isthmus"]["generation_path"] == "/run/g"
    assert "generation_path" not in keystone()["isthmus"]


def test_receipts_and_tokens_share_their_keys_so_that_both_work_at_every_site() -> None:
    conf = keystone()
    assert conf["fernet_receipts"]["key_repository"] == conf["fernet_tokens"]["key_repository"]


def test_a_writer_node_keeps_one_stream_for_all_replicas_and_reads_without_quorum() -> None:
    text = config.mariadb_writer(
        site="lyon",
        segment=2,
        address="10.99.2.11",
        cluster=["10.99.1.11", "10.99.2.11", "10.99.3.13"],
        sst_password="secret",
        directory="/db",
        sizing={"max_connections": 120},
    )
    conf = parsed(text)["mariadbd"]
    assert (conf["wsrep_gtid_mode"], conf["wsrep_gtid_domain_id"], conf["server_id"]) == (
        "ON",
        "100",
        "100",
    )
    assert conf["gtid_domain_id"] != conf["wsrep_gtid_domain_id"]
    assert conf["wsrep_dirty_reads"] == "ON"
    assert "gmcast.segment=2" in conf["wsrep_provider_options"]
    assert conf["max_connections"] == "120"


def test_a_replica_is_read_only_and_takes_what_all_sites_share_and_nothing_else() -> None:
    text = config.mariadb_replica(address="10.99.3.11", server_id=1030, directory="/db", sizing={})
    filters = [line.split("=")[1].strip() for line in text.splitlines() if "wild_do_table" in line]
    assert filters == ["keystone.%", "isthmus_identity.%", "isthmus_network.%"]
    assert parsed(text)["mariadbd"]["read_only"] == "ON"


def test_a_local_database_has_no_stream() -> None:
    text = config.mariadb_local(address="10.99.3.21", directory="/db", sizing={})
    assert "log_bin" not in parsed(text)["mariadbd"]


def test_health_checks_of_other_sites_keep_off_the_identity_and_sql_ports() -> None:
    for line in site_balancer().splitlines():
        if "server " in line and ("10.99.1." in line or "10.99.2." in line):
            assert " port " in line, line
            checked = int(line.split(" port ")[1].split()[0])
            assert checked in (config.HEALTH_PORT, config.AGENT_PORT, config.REPLICATION_PORT), line


def test_readers_are_local_first_and_only_the_sites_own_services_reach_the_database_listeners() -> (
    None
):
    text = site_balancer()
    assert (
        text.index("backend reader_fresh")
        < text.index("backend reader_alive")
        < text.index("reader_remote\n")
    )
    assert "bind 10.98.0.3:3306" not in text
    assert "bind 10.98.0.3:3307" not in text


def test_a_writer_site_does_not_name_itself_as_another_site() -> None:
    text = balancing.site(
        binds=["10.99.1.1"],
        front="10.99.1.1",
        keystone_address="10.99.1.2",
        glance_address="10.99.1.3",
        peers={},
        local_databases={"identity-db": "10.99.1.11"},
        writers={"paris": ("10.99.1.11", "10.99.1.1"), "lyon": ("10.99.2.11", "10.99.2.1")},
        stats_socket="/stats.sock",
    )
    remote = text[text.index("backend reader_remote") : text.index("frontend sql_writer")]
    assert "server lyon" in remote
    assert "server paris" not in remote
