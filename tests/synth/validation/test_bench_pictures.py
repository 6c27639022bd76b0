import pytest

from cohortium.synth.validation.bench_pictures import by_round, epsilon_curve, gain_per_site, grid


def test_gains_are_federated_minus_alone(bench):
    rows = gain_per_site(bench).rows
    assert [row[:3] for row in rows] == [("a", "clinical", "0.200"), ("a", "genomic", "0.200"),
                                         ("b", "clinical", "0.600"), ("b", "genomic", "0.600")]  # fmt: skip


def test_gains_a_bench_has_measured_by_seed_keep_their_intervals(bench):
    gain = {"a": {"csf": {"skill": 0.1, "intervals": {"skill": [0.05, 0.15]}}}}
    loss = {"csf": {"exact": {"value": 0.0, "low": 0.0, "high": 0.0}}}
    told = {**bench, "bn": {**bench["bn"], "gain": gain, "loss": loss, "refused": {"fedavg": "by sums"}}}
    assert gain_per_site(told).rows == (("a", "clinical", "0.100", "0.050", "0.150"),)
    assert grid(told)[0].columns == ("", "central", "federated", "isolated")


def test_rounds_and_budgets_are_curves_in_order(bench):
    clinical, genomic = by_round(bench)
    assert clinical.rows == (("1", "0.500", "0.400"), ("2", "0.900", "0.700"))
    assert genomic.rows[1] == ("2", "0.800", "–")
    assert [row[0] for row in epsilon_curve(bench).rows] == ["1", "4"]


def test_what_was_trained_in_one_go_is_a_line_over_all_rounds(bench):
    rounds = {**bench["by_round"]["bn"], "central": [{"csf": 0.95, "gsf": 0.85}]}
    clinical, _ = by_round({"by_round": {"bn": rounds}})
    assert [row[3] for row in clinical.rows] == ["0.950", "0.950"]


def test_the_grid_has_no_single_hospitals(bench):
    clinical, _ = grid(bench)
    assert clinical.columns == ("", "central", "federated", "isolated")
    assert clinical.rows == (("bn", "0.90", "0.90", "0.50"),)


@pytest.mark.parametrize(
    "odd", [{}, {"bn": 3}, {"bn": {"central": []}}, {"by_round": {"bn": {"central": "x"}}},
            {"by_epsilon": {"marginal_dp": [{"epsilon": None}, 7]}}, {"bn": {"central": {"csf": {"skill": "high"}}}}]
)  # fmt: skip
def test_a_document_that_lacks_something_or_is_odd_draws_nothing(odd):
    assert by_round(odd) == grid(odd) == ()
    assert epsilon_curve(odd) is gain_per_site(odd) is None
