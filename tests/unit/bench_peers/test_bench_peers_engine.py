"""The real engine against simulated peers, over HTTP: what is measured must first be true."""

import requests
from peers_stand import Stand, wait_for


def test_an_engine_makes_the_ports_of_fifty_simulated_sites(many: Stand):
    network = many.declare()
    many.tell("hold", declaration=network.to_document(), ports=4)
    many.tell("poke", network=network.id, sites=many.sites[:1])
    wait_for(lambda: len(many.origins()) == 200)
    wait_for(lambda: many.keeps(network).converged)
    # A busy machine makes some of fifty late for an answer; each is heard again.
    wait_for(lambda: not many.keeps(network).findings)
    assert {origin.partition("/")[0] for origin in many.origins()} == set(many.sites)
    expected = many.tell("expected", network=network.id)
    held = {row["mac_address"]: row["remote_vtep"] for row in many.neutron.tables["ports"].values()}
    assert held == expected


def test_an_engine_hears_simulated_engines_and_they_its_pokes(few: Stand):
    wait_for(lambda: few.engine.hearing().heard == {"paris", *few.sites})
    few.engine.declared()
    wait_for(lambda: few.tell("state")["pokes"] >= len(few.sites))


def test_lists_in_pages_are_read_to_their_end(few: Stand):
    network = few.declare()
    few.tell("hold", declaration=network.to_document(), ports=11)
    few.tell("poke", network=network.id, sites=few.sites[:1])
    wait_for(lambda: len(few.origins()) == 33)
    wait_for(lambda: few.keeps(network).converged)


def test_changes_arrive_by_poke_and_removals_too(few: Stand):
    network = few.declare()
    few.tell("hold", declaration=network.to_document(), ports=6)
    few.tell("poke", network=network.id, sites=few.sites[:1])
    wait_for(lambda: few.keeps(network).converged and len(few.origins()) == 18)
    answer = few.tell("churn", network=network.id, count=9)
    assert answer["refused"] == []
    assert set(answer["touched"]) == set(few.sites)
    expected = few.tell("expected", network=network.id)

    def held() -> dict[str, str]:
        rows = list(few.neutron.tables["ports"].values())
        return {row["mac_address"]: row["vtep_ip"] for row in rows}

    # Neutron shows where a port is bound; the loopback shows what was written.
    wait_for(lambda: held().keys() == expected.keys())
    wait_for(lambda: set(few.origins().values()) == set(expected.values()))
    few.tell("hold", declaration=network.to_document(), ports=0)
    few.tell("poke", network=network.id, sites=few.sites[:1])
    wait_for(lambda: not few.origins())


def test_a_request_without_a_signature_learns_nothing(few: Stand):
    site = few.engine.config.peers[few.sites[0]]
    assert requests.get(f"{site}/v1/presence", timeout=10).status_code == 401
    assert requests.get(f"{site}/v2.0/ports", timeout=10).status_code == 401
    front = few.engine.config.identity.auth_url.removesuffix("/v3")
    assert requests.post(f"{front}/control/forget", json={}, timeout=10).status_code == 401
