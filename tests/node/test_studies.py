"""A study travels by its digest: what arrives is what was approved on the ledger, or nothing."""

import asyncio
import hashlib

import msgspec
import pytest

from cohortium.core.study_text import parse_study
from cohortium.errors import FrameError, PeerError, StudyError, UsageError
from cohortium.node.studies import Library, Parcel, difference, parcel_of

CODE = b"def build(layout):\n    raise NotImplementedError\n"


def with_code(text, digest=None):
    digest = digest or hashlib.sha256(CODE).hexdigest()
    head, _, _ = text.partition("[model]")
    return f'{head}[model]\nname = "module"\nfactory = "net:build"\ncode_digest = "{digest}"\n'


@pytest.fixture
def text(kit):
    lines_of, _, pinned_text = kit
    return pinned_text(lines_of(1))


@pytest.fixture
def libraries(tmp_path):
    return Library(tmp_path / "here"), Library(tmp_path / "there")


def fetched(here, there, digest):
    async def ask(peer, request):
        return there.answer(request)

    return asyncio.run(here.fetch(digest, "porto", ask))


def test_a_study_is_kept_under_its_digest_and_read_back(libraries, text):
    here, _ = libraries
    study = here.add(Parcel(text))
    assert here.path(study.digest).read_text() == text
    assert Library(here.path(study.digest).parents[1]).get(study.digest) == study
    assert here.get(bytes(32)) is None


def test_a_file_that_was_changed_is_not_the_study_any_more(libraries, text):
    here, _ = libraries
    study = here.add(Parcel(text))
    path = here.path(study.digest)
    path.write_text(text.replace("logistic", "cox"))
    assert Library(path.parents[1]).get(study.digest) is None


@pytest.mark.parametrize("padding", [0, 700 << 10])
def test_it_travels_with_its_code_in_as_many_pieces_as_it_needs(libraries, text, padding):
    here, there = libraries
    whole = with_code(text) + "# " + "x" * padding + "\n"
    study = there.add(Parcel(whole, CODE))
    assert fetched(here, there, study.digest) == study
    assert (here.path(study.digest).parent / "net.py").read_bytes() == CODE
    assert parcel_of(here.path(study.digest)) == Parcel(whole, CODE)


def test_another_study_than_asked_for_is_refused(libraries, text):
    here, there = libraries
    study = there.add(Parcel(text))
    other = there.add(Parcel(text.replace('"little"', '"other"')))
    there._held[other.digest] = study
    there.path(other.digest).write_text(text)
    with pytest.raises(PeerError, match="sent study"):
        fetched(here, there, other.digest)
    assert here.get(study.digest) is None


def test_code_that_is_not_the_code_named_is_refused(libraries, text):
    here, _ = libraries
    with pytest.raises(StudyError, match="the study names"):
        here.add(Parcel(with_code(text, "ab" * 32), CODE))
    with pytest.raises(StudyError, match="did not come with it"):
        here.add(Parcel(with_code(text)))
    sneaky = with_code(text).replace("net:build", "../net:build")
    with pytest.raises(StudyError, match="no name of a Python file"):
        here.add(Parcel(sneaky, CODE))


def test_a_request_that_is_none_and_a_study_that_is_nowhere_are_refused(libraries):
    here, there = libraries
    with pytest.raises(FrameError):
        there.answer(b"nonsense")
    with pytest.raises(PeerError, match="is not here"):
        fetched(here, there, bytes(32))


def test_a_peer_that_sends_a_study_byte_by_byte_keeps_nobody_busy(libraries, text):
    here, there = libraries
    study, asked = there.add(Parcel(text)), []

    async def ask(peer, request):
        asked.append(request)
        total, data = msgspec.msgpack.decode(there.answer(request))
        return msgspec.msgpack.encode((total, data[:1]))

    with pytest.raises(FrameError, match="other pieces"):
        asyncio.run(here.fetch(study.digest, "porto", ask))
    assert len(asked) == 1


def test_nonsense_as_an_answer_is_refused(libraries):
    here, _ = libraries

    async def ask(peer, request):
        return b"\x93nonsense"

    with pytest.raises(FrameError, match="something else"):
        asyncio.run(here.fetch(bytes(32), "porto", ask))


def test_what_changed_is_told_setting_by_setting(text):
    old, new = parse_study(text), parse_study(text.replace('name = "logistic"', 'name = "logistic"\nl2 = 0.5'))
    assert difference(new, old) == ["model.l2: not set -> 0.5"]
    assert difference(old, old) == []


def test_a_file_nobody_can_read_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="cannot read study"):
        parcel_of(tmp_path / "no.toml")
