"""What agents tell of settings: what is named, and never a secret."""

from __future__ import annotations

import json

import pytest

from isthmus.identity import config, published

SECRET = "s3cret"


def keystone() -> str:
    """keystone.conf as it is rendered."""
    return config.keystone(
        site="paris",
        database_password=SECRET,
        front="10.99.1.1",
        memcached="10.99.1.4:11211",
        token_keys="/etc/keystone/fernet-keys",
        credential_keys="/etc/keystone/credential-keys",
        queue="/var/lib/keystone/queue.sqlite",
        log_file="/var/log/keystone.log",
    )


def glance(**more: str) -> str:
    section = config.authtoken(
        front="10.99.1.1",
        region="paris",
        public="198.51.100.1",
        user="glance",
        password=SECRET,
        memcached="10.99.1.4:11211",
    )
    return config.ini({"DEFAULT": {"debug": "true"}, "keystone_authtoken": {**section, **more}})


def test_rendered_files_tell_their_settings_and_no_password() -> None:
    told = published.options("keystone", keystone())
    assert told["cache.expiration_time"] == "5"
    assert told["revoke.driver"] == "isthmus"
    service = published.options("glance", glance())
    assert service["keystone_authtoken.region_name"] == "paris"
    assert SECRET not in json.dumps([told, service])


def test_a_password_in_a_url_is_hidden() -> None:
    told = published.options("glance", glance(auth_url=f"http://me:{SECRET}@10.99.1.1:5000/v3"))
    assert SECRET not in json.dumps(told)
    assert told["keystone_authtoken.auth_url"].endswith("@10.99.1.1:5000/v3")


@pytest.mark.parametrize("name", [n for names in published.OPTIONS.values() for n in names])
def test_no_name_is_one_of_a_secret(name: str) -> None:
    assert not any(word in name for word in ("password", "secret", "connection", "auth_token"))


def test_galeras_options_are_names_of_their_own_and_others_are_left_out() -> None:
    told = published.variables(
        {
            "read_only": "ON",
            "datadir": "/var/lib/mysql",
            "wsrep_provider_options": "evs.suspect_timeout = PT3S; socket.ssl_key = /k; gmcast.segment = 2; ",
            "wsrep_provider_version": "26.4.23(r0)",
        }
    )
    assert told == {
        "read_only": "ON",
        "wsrep_provider_version": "26.4.23(r0)",
        "wsrep_provider_options.evs.suspect_timeout": "PT3S",
        "wsrep_provider_options.gmcast.segment": "2",
    }


def test_a_server_without_galera_tells_the_rest() -> None:
    assert published.variables({"version": "10.11.19"}) == {"version": "10.11.19"}
