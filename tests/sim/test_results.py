"""What a run leaves can be read back; what a stranger made of it is refused in one sentence."""

import json

import numpy as np
import pytest

from cohortium.core.codec import decode, encode
from cohortium.core.parameters import Parameters
from cohortium.errors import DataError, UsageError, VerificationFailed
from cohortium.sim.results import load_model, model_file, read_record, verify_ledger, write_report


@pytest.fixture
def changed(finished, tmp_path):
    """The finished run's model with other arrays or metadata."""

    def make(arrays=None, **changes):
        state, metadata = decode((finished[1] / "model.safetensors").read_bytes())
        state = state if arrays is None else arrays(state)
        metadata = {**metadata, "digest": state.digest.hex(), **changes}
        path = tmp_path / "model.safetensors"
        path.write_bytes(
            b"".join(bytes(p) for p in encode(state, {n: v for n, v in metadata.items() if v is not None}))
        )
        return path

    return make


def test_a_saved_model_is_the_model(finished):
    result, out, _ = finished
    saved = load_model(out / "model.safetensors")
    assert saved.digest == result.record.model.digest == saved.model.state.digest.hex()
    assert saved.study == result.study
    assert saved.schema == result.gathered.schema
    assert saved.personal == ()
    for one in result.rows:
        assert np.array_equal(saved.model.scores(one, one.test), result.model.scores(one, one.test))


def test_sites_with_a_variant_of_their_own_are_named_in_the_file(make_study, tables):
    from cohortium.sim.simulate import run_simulation

    made = run_simulation(make_study(strategy={"name": "ditto", "rounds": 2}), tables)
    pieces = model_file(made.model, study=made.study, schema=made.gathered.schema)
    _, metadata = decode(b"".join(bytes(piece) for piece in pieces))
    assert json.loads(metadata["personal"]) == ["bonn", "lund", "porto"]


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "else/1"},
        {"digest": "00" * 32},
        {"study": None},
        {"study": "{"},
        {"study": '{"study": {}}'},
        {"study": "[" * 100_000},
        {"schema": "[]"},
        {"schema": "[" * 100_000},
        {"schema": '{"columns": [{"name": 1, "kind": []}]}'},
        {"sites": "7"},
        {"seed": "x"},
        {"personal": None},
    ],
    ids=str,
)
def test_foreign_metadata_are_one_sentence(changes, changed):
    with pytest.raises(DataError, match=r"model '.*model\.safetensors': ") as caught:
        load_model(changed(**changes))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "arrays",
    [
        lambda state: state.without(["clock"]),
        lambda state: state | Parameters({"clock": np.array([1, 0], dtype=np.int64)}),
        lambda state: state.without(["model/model/coefficients"]),
        lambda state: state | Parameters({"model/model/coefficients": np.zeros(99)}),
        lambda state: state | Parameters({"standard/model/mean": np.zeros((2, 2))}),
        lambda state: Parameters({"x": np.zeros(3)}),
    ],
)
def test_arrays_of_another_model_are_one_sentence(arrays, changed):
    with pytest.raises(DataError, match="its arrays are not those of the model its own study describes"):
        load_model(changed(arrays))


def test_truncated_models_are_refused(finished, tmp_path):
    whole = (finished[1] / "model.safetensors").read_bytes()
    for size in (0, 7, 8, 100, len(whole) // 2, len(whole) - 1):
        path = tmp_path / "m.safetensors"
        path.write_bytes(whole[:size])
        with pytest.raises(DataError, match="model '"):
            load_model(path)


def test_a_model_that_is_not_there_is_a_sentence(tmp_path):
    with pytest.raises(UsageError, match="cannot read model"):
        load_model(tmp_path / "none")


def test_a_record_is_read_back_and_gives_the_same_page(finished, tmp_path):
    result, out, _ = finished
    record = read_record(out / "run.json")
    assert record == result.record
    write_report(record, tmp_path / "again.html", scope="site")
    assert (tmp_path / "again.html").read_bytes() == (out / "report.html").read_bytes()


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, '{"format": "cohortium-run/1"}', '{"a": NaN}', "\xff"])
def test_a_record_that_is_none_is_one_sentence(text, tmp_path):
    path = tmp_path / "run.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=r"record '.*run\.json': ") as caught:
        read_record(path)
    assert "\n" not in str(caught.value)


def test_an_unknown_reader_is_refused(finished, tmp_path):
    with pytest.raises(UsageError, match="unknown scope 'all'; available: consortium, site"):
        write_report(finished[0].record, tmp_path / "x.html", scope="all")
    assert not (tmp_path / "x.html").exists()


def studies(tmp_path, finished, *, seed=0):
    text = '[study]\nname = "little"\noutcome = "label"\n[model]\nname = "logistic"\nl2 = 0.01\n'
    text += f"[privacy]\nsecure_aggregation = false\n[evaluation]\nseed = {seed}\n"
    path = tmp_path / f"study-{seed}.toml"
    path.write_text(text)
    return path


def test_a_ledger_is_checked_against_its_study_and_its_seed(finished, tmp_path):
    ledger = finished[1] / "ledger.jsonl"
    found = verify_ledger(ledger, studies(tmp_path, finished))
    assert found.document()["runs"][0]["state"] == "finished"
    assert found.sentences()[0].startswith("verified: ledger.jsonl")
    other = studies(tmp_path, finished, seed=5)
    with pytest.raises(UsageError, match="is the ledger of another study") as caught:
        verify_ledger(ledger, other)
    assert "--seed" in caught.value.hint
    assert verify_ledger(ledger, other, seed=0).document()["verified"] is True


def test_a_ledger_with_a_flipped_bit_is_no_ledger(finished, tmp_path):
    text = bytearray((finished[1] / "ledger.jsonl").read_bytes())
    text[len(text) // 2] ^= 1
    (tmp_path / "ledger.jsonl").write_bytes(text)
    with pytest.raises(VerificationFailed, match=r"ledger\.jsonl: line \d+: "):
        verify_ledger(tmp_path / "ledger.jsonl", None)
    with pytest.raises(UsageError, match="does not exist"):
        verify_ledger(tmp_path / "none", None)
