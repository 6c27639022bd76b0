import sys

import numpy as np
import pytest
from sklearn import datasets

from cohortium.data.demo import DEMOS, load_demo
from cohortium.data.inference import infer_schema
from cohortium.errors import MissingExtra, UsageError


def test_the_breast_cancer_table_is_scikit_learns_with_malignant_as_one():
    table, known = load_demo(), datasets.load_breast_cancer()
    np.testing.assert_array_equal(np.column_stack([table.column(n) for n in table.names[:-1]]), known.data)
    np.testing.assert_array_equal(table.column("label"), 1 - known.target)
    assert table.column("label").sum() == 212
    assert table.names[3] == "mean_area"
    assert table.names[29] == "worst_fractal_dimension"


def test_the_other_tables_are_scikit_learns():
    wine, known = load_demo("wine"), datasets.load_wine()
    np.testing.assert_array_equal(np.column_stack([wine.column(n) for n in wine.names[:-1]]), known.data)
    assert len(np.unique(wine.column("label"))) == 3
    diabetes, raw = load_demo("diabetes"), datasets.load_diabetes(scaled=False)
    np.testing.assert_array_equal(np.column_stack([diabetes.column(n) for n in diabetes.names[:-1]]), raw.data)
    np.testing.assert_array_equal(diabetes.column("label"), raw.target)
    digits, images = load_demo("digits"), datasets.load_digits()
    np.testing.assert_array_equal(digits.column("images") * 16, images.images)
    assert digits.column("label").tolist() == [str(digit) for digit in images.target]


@pytest.mark.parametrize(
    ("name", "outcome", "n"),
    [("breast_cancer", "binary", 30), ("wine", "classes", 13), ("diabetes", "number", 10), ("digits", "classes", 64)],
)
def test_every_table_makes_a_schema(name, outcome, n):
    layout = infer_schema({"a": load_demo(name)}, outcome="label").layout()
    assert layout.outcome == outcome
    assert layout.n_features == n
    assert name in DEMOS


def test_unknown_names_and_an_absent_package_are_told(monkeypatch):
    with pytest.raises(UsageError, match="unknown demonstration data 'iris'; available: breast_cancer, diabetes"):
        load_demo("iris")
    monkeypatch.setattr("cohortium.data.demo.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match="the demonstration data needs the extra 'demo'"):
        load_demo()


def test_reading_does_not_import_the_package():
    import subprocess

    code = (
        "import sys; from cohortium.data.demo import load_demo; load_demo(); "
        "assert not {'sklearn', 'pandas', 'torch', 'pyarrow', 'scipy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
