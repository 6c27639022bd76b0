"""A real etcd cluster: numbered entries written once, failover within one call, every refusal by name."""

import base64
import ssl
from contextlib import closing
from dataclasses import replace

import pytest

from cohortium.errors import LedgerUnreachable
from cohortium.ledger.etcd import EtcdClient, EtcdLog


@pytest.fixture
def log(cluster, tmp_path):
    """A log nobody else writes to."""
    made = EtcdLog(EtcdClient(cluster.endpoints, tls=cluster.tls), name=tmp_path.name)
    yield made
    made.close()


def test_an_entry_is_written_once_and_says_what_stands_there(log):
    assert log.append(1, b"first") is None
    assert log.append(1, b"second") == b"first"
    assert log.append(1, b"first") is None  # repeated after an answer that was lost
    assert log.append(2, bytes(range(256))) is None
    assert log.read(1, n=10) == [(1, b"first"), (2, bytes(range(256)))]


def test_reading_starts_anywhere_and_is_bounded(log):
    for number in range(1, 13):
        log.append(number, b"%d" % number)
    assert [number for number, _ in log.read(9, n=3)] == [9, 10, 11]
    assert [number for number, _ in log.read(12, n=3)] == [12]
    assert log.read(13, n=3) == []


def test_logs_of_two_names_do_not_touch(cluster, log, tmp_path):
    with closing(EtcdLog(EtcdClient(cluster.endpoints, tls=cluster.tls), name=tmp_path.name + "0")) as other:
        other.append(1, b"other")
        log.append(1, b"mine")
        assert log.read(1, n=5) == [(1, b"mine")]
        assert other.read(1, n=5) == [(1, b"other")]


def test_gaps_are_shown_and_foreign_keys_are_not(cluster, log):
    log.append(2, b"two")
    log.append(7, b"seven")
    client = EtcdClient(cluster.endpoints, tls=cluster.tls)
    for key in (log._prefix.encode() + b"junk", log._prefix.encode() + b"0" * 17):
        client.call("/v3/kv/put", {"key": _b64(key), "value": _b64(b"x")})
    client.close()
    assert log.read(1, n=10) == [(2, b"two"), (7, b"seven")]


def _b64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def test_an_empty_value_reads_as_empty(cluster, log):
    client = EtcdClient(cluster.endpoints, tls=cluster.tls)
    client.call("/v3/kv/put", {"key": _b64(log._key(1)), "value": ""})
    client.close()
    assert log.read(1, n=2) == [(1, b"")]
    assert log.append(1, b"x") == b""


def test_members_say_version_and_leader(cluster):
    members = EtcdClient(cluster.endpoints, tls=cluster.tls).members()
    assert len(members) == 3
    assert len({member.leader for member in members}) == 1
    assert sum(member.member == member.leader for member in members) == 1
    assert all(member.version.startswith("3.") and not member.trouble for member in members)


def refused(cluster, **files) -> str:
    client = EtcdClient(cluster.endpoints[:1], tls=replace(cluster.tls, **files), deadline_s=0.5)
    (member,) = client.members()
    with pytest.raises(LedgerUnreachable):
        client.call("/v3/kv/range", {"key": "AA=="})
    client.close()
    return member.trouble


def test_a_site_without_the_clusters_authority_is_refused_by_etcd_and_the_other_way_round(cluster, tmp_path, etcd):
    key, ca = etcd.authority("another authority")
    foreign = etcd.issue(tmp_path, "stranger", key, ca, usages=etcd.CLIENT)
    assert refused(cluster, certificate=foreign.certificate, key=foreign.key)
    assert "its certificate is refused" in refused(cluster, ca=foreign.ca)


def test_without_a_client_certificate_nobody_reads(cluster):
    context = ssl.create_default_context(cafile=str(cluster.tls.ca))
    client = EtcdClient(cluster.endpoints[:1], tls=cluster.tls, deadline_s=0.5)
    client._http._context = context
    assert "TLS" in client.members()[0].trouble
    with pytest.raises(LedgerUnreachable):
        client.call("/v3/kv/range", {"key": "AA=="})
    client.close()


def test_older_tls_is_not_spoken(cluster):
    assert cluster.tls.context().minimum_version.name == "TLSv1_3"


class Saying:
    """An etcd that gives one answer to everything."""

    def __init__(self, answer) -> None:
        self.answer = answer

    def post(self, path, body):
        return self.answer

    def post_each(self, path, body):
        return [("http://x:1", self.answer, "")]


@pytest.mark.parametrize(
    "answer",
    [
        [],
        "x",
        {"kvs": [{"key": 5}]},
        {"kvs": [{"key": "!", "value": ""}]},
        {"kvs": [{"key": "AA==", "value": "A"}]},
    ],
)
def test_answers_of_another_form_are_no_answer(answer):
    client = EtcdClient(["http://x:1"])
    client._http = Saying(answer)
    with pytest.raises(LedgerUnreachable):
        EtcdLog(client, name="x").read(1, n=1)


def test_a_status_of_another_form_is_a_trouble_or_empty():
    client = EtcdClient(["http://x:1"])
    client._http = Saying([])
    assert client.members()[0].trouble == "its answer is no table"
    client._http = Saying({"version": "3.4\x1b[31m", "dbSize": "many", "header": 3, "leader": 7})
    (member,) = client.members()
    assert (member.version, member.size_bytes, member.member, member.leader) == ("3.4[31m", 0, "", "7")
