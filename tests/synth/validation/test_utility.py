import numpy as np
import pytest

from cohortium.synth.validation.utility import baseline_matrix, utility


def test_a_model_from_synthetic_patients_is_nearly_as_good(world):
    found = utility(world.training, world.synthetic, world.reserve)
    assert found.c_real.value > 0.6
    assert found.difference > -0.05
    assert found.difference == pytest.approx(found.c_synthetic.value - found.c_real.value)


def test_shuffled_patients_teach_nothing(world):
    rng = np.random.default_rng(0)
    broken = world.synthetic.with_columns({
        name: world.synthetic[name][rng.permutation(len(world.synthetic))]
        for name in ("os_years", "died")
    })  # fmt: skip
    assert utility(world.training, broken, world.reserve).difference < -0.05


def test_only_baseline_columns_predict(world):
    _, names, _ = baseline_matrix(world.training)
    assert "os_years" not in names
    assert "karyotype_risk=poor" in names
    x, _, means = baseline_matrix(world.reserve, fill=baseline_matrix(world.training)[2])
    assert np.isfinite(x).all()
    assert len(means) == x.shape[1]


def test_a_column_nobody_has_is_filled_without_a_word(world):
    empty = world.training.with_columns({"ferritin": np.full(len(world.training), np.nan)})
    matrix, names, means = baseline_matrix(empty)
    assert (matrix[:, names.index("ferritin")] == 0).all()
    assert means[names.index("age")] == pytest.approx(np.nanmean(world.training["age"]))
