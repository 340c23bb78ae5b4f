"""What holds in every deployment of every topology, and what is refused because it cannot work."""

from __future__ import annotations

import collections
import dataclasses
import re

import pytest
import yaml
from declared import SECRETS
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus import errors
from isthmus.identity import comparing, rendering, topologies
from isthmus.identity.comparing import Deployed
from isthmus.identity.config import Provider
from isthmus.identity.rendering import File, Kind
from isthmus.sites.inventory import Topology
from topologies_declared import (
    ALL,
    CENTRAL,
    CLUSTER,
    MULTI,
    NAMES,
    STAR,
    Shape,
    deployment_text,
    parsed,
    public_key,
    rendered,
    sites_text,
)

providers = st.sampled_from(list(Provider))


@st.composite
def stars(draw: st.DrawFn) -> Shape:
    sites = NAMES[: draw(st.integers(3, 6))]
    return Shape(
        topology=Topology.STAR,
        provider=draw(providers),
        sites=sites,
        votes={draw(st.sampled_from(sites[2:])): True},
    )


@st.composite
def everywhere(draw: st.DrawFn) -> Shape:
    sites = NAMES[: draw(st.integers(2, 6))]
    votes = {}
    if len(sites) % 2 == 0:
        votes = {draw(st.sampled_from(("", *sites)) if len(sites) > 2 else st.just("")): True}
    return Shape(topology=Topology.CLUSTER, provider=draw(providers), sites=sites, votes=votes)


@st.composite
def multis(draw: st.DrawFn) -> Shape:
    sizes = draw(st.sampled_from([(1, 1), (1, 3), (3, 1), (3, 3), (1, 1, 1), (3, 1, 3), (2, 1, 3)]))
    clusters, votes, first = {}, {}, 0
    for label, size in zip(("north", "south", "east"), sizes, strict=False):
        members = NAMES[first : first + size]
        first += size
        nodes = draw(st.sampled_from([1, 2, 3] if size == 1 else [1, 3]))
        if nodes == 2:
            votes[members[0]] = True
        if size == 2:
            votes[""] = True
            nodes = 1
        clusters[label] = (members, nodes)
    return Shape(
        topology=Topology.MULTI_CLUSTER,
        provider=draw(providers),
        sites=NAMES[:first],
        clusters=clusters,
        votes=votes,
    )


@st.composite
def centrals(draw: st.DrawFn) -> Shape:
    sites = NAMES[: draw(st.integers(1, 4))]
    nodes = draw(st.integers(1, 4))
    return Shape(
        topology=Topology.CENTRALIZED,
        provider=draw(providers),
        sites=sites,
        nodes=nodes,
        votes={sites[0]: nodes % 2 == 0},
    )


shapes = st.one_of(stars(), everywhere(), multis(), centrals())
# Each example renders a whole deployment; this many meet every topology a dozen times.
few = settings(max_examples=50)


def by_path(shape: Shape) -> dict[str, File]:
    return {each.path: each for each in rendered(shape)}


# --- The load balancer, read back ---------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Server:
    address: str
    checked: str
    backup: bool


SERVER = re.compile(
    r"server \S+ (?P<host>[\d.]+):(?P<port>\d+) check(?: addr (?P<addr>\S+))?(?: port (?P<checked>\d+))?(?P<backup> backup)?"
)


def servers(text: str) -> dict[str, list[Server]]:
    """Backend -> its servers, in order."""
    found: dict[str, list[Server]] = {}
    for line in text.splitlines():
        if line.startswith("backend "):
            name = line.split()[1]
            found[name] = []
        if match := SERVER.fullmatch(line.strip()):
            checked = f"{match['addr'] or match['host']}:{match['checked'] or match['port']}"
            address = f"{match['host']}:{match['port']}"
            found[name].append(Server(address, checked, bool(match["backup"])))
    assert text.count("  server ") == sum(map(len, found.values()))
    return found


def bound(text: str, address: str) -> int:
    return len(re.findall(rf"^  bind {re.escape(address)}$", text, re.M))


@few
@given(shapes)
def test_every_site_has_one_place_to_ask_to_read_and_to_write(shape: Shape) -> None:
    files = by_path(shape)
    for place in parsed(shape).places:
        name, front = place.site.name, place.front
        balancer = files[f"{name}/haproxy/haproxy.cfg"].text
        tiers = servers(balancer)
        assert f"auth_url = http://{front}:5000/v3\n" in files[f"{name}/authtoken/nova.conf"].text
        assert bound(balancer, f"{front}:5000") == 1
        # Others stand by; one is asked.
        assert [each.backup for each in tiers["identity"]].count(False) == 1
        keystone = files.get(f"{name}/keystone/keystone.conf")
        assert (keystone is None) is (place.keystone is None)
        if keystone is None:
            assert not [each for each in tiers if "reader" in each or "writer" in each]
            continue
        settings = comparing.settings(Kind.KEYSTONE, keystone.text)
        for setting, port in (("connection", 3307), ("slave_connection", 3306)):
            assert settings[f"database.{setting}.address"].text == f"{front}:{port}"
            assert bound(balancer, f"{front}:{port}") == 1
        for tier in ("reader_fresh", "reader_alive"):
            assert [each.backup for each in tiers[tier]].count(False) == 1
            own = {f"{address}:3306" for address in place.databases.values()}
            assert {each.address for each in tiers[tier]} == own
        assert place.keystone in tiers["identity"][0].address


@few
@given(shapes)
def test_all_sites_write_to_the_same_cluster_and_to_one_node_of_it(shape: Shape) -> None:
    declared, files = parsed(shape), by_path(shape)
    nodes = {f"{m.address}:3306" for m in topologies.clusters(declared)[0].members}
    fallback = set()
    for place in declared.places:
        tiers = servers(files[f"{place.site.name}/haproxy/haproxy.cfg"].text)
        if place.keystone is None:
            continue
        own = "writer_own" in tiers
        assert own is (shape.topology is Topology.CLUSTER)
        chosen = tiers["writer_own" if own else "writer"]
        alive = tiers["writer_own_alive" if own else "writer_alive"]
        assert {each.address for each in chosen} == {each.address for each in alive} == nodes
        # Whom the agents elect is one; where each node may be written to, and where no agent answers, order decides.
        assert [each.backup for each in chosen] == [own and i > 0 for i in range(len(chosen))]
        assert [each.backup for each in alive] == [i > 0 for i in range(len(alive))]
        if own:
            assert chosen[0].address == f"{place.databases['identity-db']}:3306"
        else:
            fallback.add(tuple(each.address for each in alive))
    # Without agents all sites take the first in the same order: never two writers.
    assert len(fallback) <= 1


# --- Firewalls ----------------------------------------------------------------------------------------------


def asked_of(shape: Shape, path: str, file: File) -> set[tuple[str, str]]:
    """Source address and destination that a file makes its program use."""
    if file.kind is Kind.HAPROXY and file.site != "login":
        front = next(p.front for p in parsed(shape).places if p.site.name == file.site)
        tiers = servers(file.text).values()
        return {
            (front, to) for tier in tiers for each in tier for to in (each.address, each.checked)
        }
    if file.kind in (Kind.NODE, Kind.FOLLOWER):
        own = re.findall(r"^bind_address = (\S+)$", file.text, re.M)[0]
        members = re.findall(r"^wsrep_cluster_address = gcomm://(\S+)$", file.text, re.M)[0]
        return {(own, f"{member}:4567") for member in members.split(",") if member != own}
    if file.kind is Kind.ARBITRATOR:
        own = re.findall(r"base_host=([\d.]+)", file.text)[0]
        return {(own, to) for to in re.findall(r"[\d.]+:4567", file.text) if not to.startswith(own)}
    return set()


def notes(shape: Shape, word: str) -> set[tuple[str, str]]:
    """(source, destination) of all lines of the notes that begin with `word`."""
    found = set()
    for file in rendered(shape):
        if file.kind is Kind.FIREWALL:
            for source, host, ports in re.findall(
                rf"^{word} (\S+) -> (\S+) ([\d,]+)", file.text, re.M
            ):
                found |= {(source, f"{host}:{port}") for port in ports.split(",")}
    return found


def network(address: str) -> str:
    """In these declarations the second number of an address is its site's."""
    return address.split(".")[1]


@few
@given(shapes)
def test_every_address_that_a_file_names_in_another_site_is_in_that_sites_notes(
    shape: Shape,
) -> None:
    allowed, denied = notes(shape, "allow"), notes(shape, "deny")
    used = set()
    for path, file in by_path(shape).items():
        for source, to in asked_of(shape, path, file):
            if network(source) != network(to):
                assert (source, to) in allowed, (path, source, to)
                used.add((source, to))
    assert not {to for _, to in allowed} & {to for _, to in denied}
    # And nothing is let in without a reason.
    declared = parsed(shape)
    writing = topologies.clusters(declared)[0].members
    streams = {
        (address, f"{member.address}:3308")
        for place in declared.places
        for address in place.databases.values()
        for member in writing
    }
    transfers = {each for each in allowed if each[1].rpartition(":")[2] in ("4568", "4444")}
    left = allowed - used - streams - transfers
    assert {port for _, to in left if (port := to.rpartition(":")[2]) != "8990"} <= {"3308"}
    for source, to in left:
        # The agents look at the masters, and at nobody of a cluster that follows.
        assert to.endswith(":8990") or to.rpartition(":")[0] in {m.address for m in writing}, (
            source,
            to,
        )


# --- Clusters -----------------------------------------------------------------------------------------------


@few
@given(shapes)
def test_a_site_that_is_lost_takes_no_majority_along_and_no_cut_halves_the_votes(
    shape: Shape,
) -> None:
    for cluster in topologies.clusters(parsed(shape)):
        total = cluster.votes.total()
        assert total % 2 == 1
        if len({member.place.site.name for member in cluster.members}) > 1:
            assert all(2 * (total - lost) > total for lost in cluster.votes.values())


@few
@given(shapes)
def test_nodes_agree_on_their_cluster_and_share_nothing_with_another(shape: Shape) -> None:
    groups = collections.defaultdict(list)
    names, domains = [], []
    for file in rendered(shape):
        if file.kind in (Kind.NODE, Kind.FOLLOWER, Kind.REPLICA):
            values = {
                name.removeprefix("mariadbd."): value.text
                for name, value in comparing.settings(file.kind, file.text).items()
            }
            domains.append(values["gtid_domain_id"])
            # What follows takes the shared schemas and is not written to by anybody else.
            assert ("read_only" in values) is (file.kind is not Kind.NODE)
            assert ("replicate_wild_do_table" in values) is (file.kind is not Kind.NODE)
            if file.kind is not Kind.REPLICA:
                names.append(values["wsrep_node_name"])
                groups[values["wsrep_cluster_name"]].append(values)
            else:
                domains.append(values["server_id"])
    shared = ["wsrep_cluster_address", "wsrep_gtid_domain_id", "server_id"]
    for members in groups.values():
        assert len({tuple(each[key] for key in shared) for each in members}) == 1
        assert members[0]["wsrep_gtid_domain_id"] == members[0]["server_id"]
        domains.append(members[0]["server_id"])
    assert len(set(names)) == len(names)
    # A replica's server id is its domain, too; nothing else is used twice.
    twice = [each for each, count in collections.Counter(domains).items() if count > 1]
    replicas = sum(file.kind is Kind.REPLICA for file in rendered(shape))
    assert len(twice) == replicas


# --- Keys of JWS --------------------------------------------------------------------------------------------


@few
@given(shapes)
def test_each_keystone_has_the_public_keys_of_all_and_no_private_one(shape: Shape) -> None:
    files = rendered(shape)
    issuers = {place.site.name for place in parsed(shape).places if place.keystone}
    assert not [file.path for file in files if "PRIVATE" in file.text]
    keys = collections.defaultdict(set)
    for file in files:
        if file.kind is Kind.PUBLIC_KEY:
            assert file.path.startswith(f"{file.site}/{rendering.PUBLIC_KEYS}/")
            keys[file.site].add(file.text)
    jws = shape.provider is Provider.JWS
    assert dict(keys) == ({s: {public_key(i) for i in issuers} for s in issuers} if jws else {})
    for file in files:
        if file.kind is Kind.KEYSTONE:
            assert ("[jwt_tokens]" in file.text) is jws
            assert ("[fernet_tokens]" in file.text) is not jws
            assert f"provider = {shape.provider}\n" in file.text
            # Keystone has no receipts but these.
            assert "[fernet_receipts]" in file.text


@few
@given(shapes)
def test_files_have_places_of_their_own_and_hold_no_secret_that_others_may_read(
    shape: Shape,
) -> None:
    files = rendered(shape)
    assert len({file.path for file in files}) == len(files)
    for file in files:
        if any(value in file.text for value in SECRETS.values()):
            assert file.mode == 0o600, file.path
        deployed = Deployed(text=file.text, mode=file.mode)
        assert comparing.compare(file, deployed, with_secrets=True) == []


def test_what_each_topology_renders() -> None:
    kinds = {
        str(shape.topology): {
            site: sorted(
                str(f.kind) for f in rendered(shape) if f.site == site and f.kind not in ANY
            )
            for site in dict.fromkeys(f.site for f in rendered(shape))
        }
        for shape in ALL
    }
    node, follower = "galera node", "galera node that follows"
    assert kinds == {
        "star": {
            "paris": [node, "keystone", *["public key"] * 3],
            "lyon": [node, "keystone", *["public key"] * 3],
            "madrid": ["arbitrator", "keystone", *["public key"] * 3, "replica", "replica"],
            "login": [],
        },
        "cluster": {
            "paris": [node, "keystone"],
            "lyon": [node, "keystone"],
            "arbitrator": ["arbitrator"],
            "login": [],
        },
        "multi-cluster": {
            "paris": [node] * 3 + ["keystone", *["public key"] * 4],
            "madrid": [follower, "keystone", *["public key"] * 4],
            "lisbon": [follower, "keystone", *["public key"] * 4],
            "porto": [follower, "keystone", *["public key"] * 4],
            "login": [],
        },
        "centralized": {
            "paris": [node] * 3 + ["keystone"],
            "lyon": [],
            "madrid": [],
            "login": [],
        },
    }


ANY = (Kind.AUTHTOKEN, Kind.HAPROXY, Kind.FIREWALL)

# --- Refusals -----------------------------------------------------------------------------------------------


def refused(shape: Shape, words: str, *, sites: str | None = None, **changes: object) -> None:
    """`changes`: name of a site -> fields of it, None takes one out; `document`: fields beside the sites."""
    document = yaml.safe_load(deployment_text(shape))
    document.update(changes.pop("document", {}))  # type: ignore[call-overload]
    for name, fields in changes.items():
        document["sites"][name].update(fields)
    document["sites"] = {
        name: {key: value for key, value in fields.items() if value is not None}
        for name, fields in document["sites"].items()
    }
    with pytest.raises(errors.ConfigurationError, match=words):
        parsed(shape, yaml.safe_dump(document), sites)


def test_votes_that_a_cut_can_halve_are_refused() -> None:
    refused(dataclasses.replace(CLUSTER, votes={}), "2 votes.*one cut can halve")
    four = dataclasses.replace(CLUSTER, sites=NAMES[:4], votes={})
    refused(four, "4 votes")
    three = dataclasses.replace(CLUSTER, sites=NAMES[:3], votes={"paris": True})
    refused(three, "4 votes .paris 2, lyon 1, nantes 1")
    refused(dataclasses.replace(CENTRAL, nodes=2), "2 votes")


def test_a_site_with_the_majority_of_a_cluster_is_refused() -> None:
    refused(dataclasses.replace(CLUSTER, votes={"paris": True}), "2 of the 3 votes.*lost with this")
    uneven = dataclasses.replace(
        MULTI, clusters={"north": (("paris", "madrid"), 3), "south": (("lisbon", "porto"), 1)}
    )
    refused(uneven, "6 votes")


def test_a_cluster_has_a_node_and_a_writer_in_every_site() -> None:
    replica = sites_text(CLUSTER).replace(
        "name: lyon\n  role: writer", "name: lyon\n  role: replica"
    )
    refused(CLUSTER, "the sites file says replica", sites=replica)
    refused(CLUSTER, "named identity-db", lyon={"databases": {"lyon-1": "10.2.0.11"}})
    refused(CLUSTER, "'databases' is missing", lyon={"databases": None})
    refused(CLUSTER, "'keystone' is missing", lyon={"keystone": None})
    refused(CLUSTER, "only the sites of a multi-cluster", lyon={"cluster": "north"})
    refused(
        dataclasses.replace(CLUSTER, sites=("paris",), votes={}), "a cluster over all sites has two"
    )


def test_clusters_of_a_multi_cluster_are_told_apart_and_one_of_them_writes() -> None:
    refused(MULTI, "'cluster' is missing", porto={"cluster": None})
    refused(MULTI, "lower-case letters", porto={"cluster": "South!"})
    refused(MULTI, "have different roles", madrid={"cluster": "north"})
    refused(MULTI, "named madrid-1, madrid-2", madrid={"databases": {"identity-db": "10.2.0.11"}})
    one = {name: {"cluster": "north"} for name in MULTI.sites}
    refused(MULTI, "two clusters or more, not 1", **one)
    nobody = sites_text(MULTI).replace("role: writer", "role: replica")
    refused(MULTI, "takes the writes .its sites are writers., not 0", sites=nobody)
    everybody = sites_text(MULTI).replace("role: replica", "role: writer")
    refused(MULTI, "not 2", sites=everybody)


def test_a_central_keystone_is_in_one_site() -> None:
    refused(CENTRAL, "only the site with the central Keystone", lyon={"keystone": "10.2.0.2"})
    refused(CENTRAL, "only the site with", lyon={"databases": {"lyon-1": "10.2.0.11"}})
    refused(CENTRAL, "'databases' is missing", paris={"databases": None})
    refused(CENTRAL, "'keystone' is missing", paris={"keystone": None})
    two = sites_text(CENTRAL).replace("name: lyon\n  role: replica", "name: lyon\n  role: writer")
    refused(CENTRAL, "has the central Keystone .its role is writer., not 2", sites=two)
    refused(CENTRAL, "are all in its site", document={"arbitrator": "10.250.0.10"})


def test_a_stars_vote_is_in_one_of_its_sites() -> None:
    refused(STAR, "in one of its replica sites", document={"arbitrator": "10.250.0.10"})


def test_two_that_would_listen_at_one_address_are_refused() -> None:
    refused(CLUSTER, "10.1.0.11 is also arbitrator", document={"arbitrator": "10.1.0.11"})
    refused(CLUSTER, "10.2.0.11 is also", lyon={"front": "10.2.0.11"})


def test_a_site_cannot_have_the_name_of_a_folder_of_no_site() -> None:
    named = dataclasses.replace(CENTRAL, sites=("paris", "login"))
    refused(named, "no site can be called so")


PRIVATE = "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----\n"


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (None, "nobody could check the tokens"),
        ([], "nobody could check the tokens"),
        ([PRIVATE], "this is a private key, which must not leave its host"),
        (["hunter2"], "expected a public key"),
        (
            ["-----BEGIN PUBLIC KEY-----\nhunter2\n-----END PUBLIC KEY-----"],
            "expected a public key",
        ),
        ("hunter2", "expected a list"),
    ],
)
def test_wrong_keys_are_refused_without_being_shown(keys: object, words: str) -> None:
    document = yaml.safe_load(deployment_text(STAR))
    document["sites"]["lyon"]["jws_public_keys"] = keys
    if keys is None:
        del document["sites"]["lyon"]["jws_public_keys"]
    with pytest.raises(errors.ConfigurationError, match=words) as wrong:
        parsed(STAR, yaml.safe_dump(document))
    assert "hunter2" not in wrong.value.describe()
    assert "sites.lyon" in wrong.value.describe()


def test_a_key_of_another_curve_and_a_key_that_two_sites_have_are_refused() -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    other = ec.derive_private_key(7, ec.SECP384R1()).public_key()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    pem = other.public_bytes(serialization.Encoding.PEM, form).decode()
    refused(STAR, "curve P-256", lyon={"jws_public_keys": [pem]})
    refused(STAR, "has left its node", lyon={"jws_public_keys": [public_key("paris")]})


def test_keys_are_no_matter_with_fernet() -> None:
    """One declaration serves both kinds."""
    fernet = dataclasses.replace(STAR, provider=Provider.FERNET)
    assert not [file for file in rendered(fernet) if file.kind is Kind.PUBLIC_KEY]
    without = {name: {"jws_public_keys": None} for name in STAR.sites}
    document = yaml.safe_load(deployment_text(fernet))
    for name in without:
        del document["sites"][name]["jws_public_keys"]
    assert parsed(fernet, yaml.safe_dump(document)).provider is Provider.FERNET
