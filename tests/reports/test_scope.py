import json
import re
from dataclasses import replace

import pytest

from cohortium.errors import UsageError
from cohortium.reports.record import Flow, Member
from cohortium.reports.scope import WITHHELD, scoped


def test_site_scope_changes_nothing(small_record):
    assert scoped(small_record, "site") is small_record


def test_no_site_name_is_left_for_the_consortium(heart_record):
    named = replace(
        heart_record,
        status="partial (3/4), missing: switzerland",
        notes=("va left after round 4",),
        study={"strategy": {"weights": {"cleveland": 2}}},
    )
    text = scoped(named, "consortium").to_json()
    for name in heart_record.sites:
        assert not re.search(rf"(?<![a-z0-9-]){name}(?![a-z0-9-])", text), name
    assert text.count("site-01") > 10


def test_the_own_site_is_shown_in_full_and_the_others_are_not(heart_record):
    seen = scoped(heart_record, "site", site="cleveland")
    assert "cleveland" in seen.sites
    assert seen.flow["cleveland"] == heart_record.flow["cleveland"]
    assert seen.test.per_site["cleveland"] == heart_record.test.per_site["cleveland"]
    assert "hungarian" not in seen.to_json()


def test_pseudonyms_do_not_follow_the_alphabet_and_need_the_full_record(heart_record):
    orders = set()
    for seed in range(12):
        record = replace(heart_record, seed=seed)
        seen = scoped(record, "consortium")
        by_train = {flow.train: site for site, flow in record.flow.items()}
        orders.add(tuple(by_train[seen.flow[name].train] for name in seen.sites))
    assert len(orders) > 4


def test_counts_below_five_and_their_sums_are_withheld(heart_record):
    seen = scoped(heart_record, "consortium")
    (swiss,) = [flow for flow in seen.flow.values() if "skipped/outcome_missing" in flow.withheld]
    assert swiss.skipped == {"outcome_missing": None}
    assert swiss.read is None
    assert all(n is None or n == 0 or n >= 5 for flow in seen.flow.values() for n in (flow.train, flow.test, flow.read))


def test_small_sites_keep_their_figures_at_home_and_never_alone(heart_record):
    """Switzerland has 8 patients without the disease; a second site joins it, so that no total gives it back."""
    seen = scoped(heart_record, "consortium")
    gone = [row.site for row in seen.comparison.sites if row.why == WITHHELD]
    assert len(gone) == 2
    for name in gone:
        assert {m.value for m in seen.test.per_site[name]["own"].values()} == {None}
        assert name not in seen.calibration
    rows = dict(zip(seen.matrix.models, seen.matrix.cells, strict=True))
    assert {cell.value for cell in rows[f"own/{gone[0]}"]} == {None}
    assert len(seen.calibration) == 2


def test_shares_whose_table_holds_a_small_cell_are_withheld(heart_record):
    seen = scoped(heart_record, "consortium")
    for models in seen.test.per_site.values():
        for measures in models.values():
            for name in ("accuracy", "sensitivity", "specificity"):
                held = measures[name]
                if held.value is not None:
                    hits = round(held.value * held.n)
                    assert hits == 0 or hits >= 5
                    assert held.n - hits == 0 or held.n - hits >= 5


def test_curves_in_bins_and_exact_missing_shares_are_gone(heart_record):
    seen = scoped(heart_record, "consortium")
    assert all(found.bins_after == () for found in seen.calibration.values())
    assert {value for row in seen.presence.missing.values() for value in row} == {None}
    assert "absent" in {word for row in seen.presence.word.values() for word in row}


def test_a_small_subgroup_takes_another_with_it(heart_record):
    groups = list(heart_record.subgroups)
    groups[0] = replace(groups[0], n=3)
    seen = scoped(replace(heart_record, subgroups=tuple(groups)), "consortium")
    assert [group.n is None for group in seen.subgroups[:2]] == [True, True]
    assert all(group.n is not None for group in seen.subgroups[2:])


def test_members_lose_their_accounts(heart_record):
    assert {member.account for member in scoped(heart_record, "consortium").ledger.members} == {""}


def test_pseudonyms_never_meet_a_real_name(small_record):
    record = replace(
        small_record,
        sites=("porto", "site-01"),
        included=(("porto", "site-01"),),
        flow={"porto": Flow(read=1, train=1, calibration=0, test=0), "site-01": small_record.flow["bonn"]},
        ledger=replace(small_record.ledger, members=(Member(site="porto"), Member(site="site-01"))),
    )
    seen = scoped(record, "site", site="site-01")
    assert len(set(seen.sites)) == 2
    assert "site-01" in seen.sites


def test_a_scoped_record_is_still_a_record(heart_record):
    assert json.loads(scoped(heart_record, "consortium").to_json())["sites"] == [f"site-0{i}" for i in range(1, 5)]


def test_unknown_scope_and_site_are_refused(small_record):
    with pytest.raises(UsageError, match="unknown scope 'public'; available: consortium, site"):
        scoped(small_record, "public")
    with pytest.raises(UsageError, match="unknown site 'lund'; the run has: bonn, porto"):
        scoped(small_record, "site", site="lund")


def test_means_over_sites_do_not_give_a_hidden_site_back(heart_record):
    """Switzerland is too small to judge, so with va hidden the mean of three minus two would be va's own figure."""
    seen = scoped(heart_record, "consortium").comparison
    shown = [row for row in seen.sites if row.own.value is not None]
    assert seen.at_home.n_sites == len(shown) == 2
    assert seen.at_home.own == pytest.approx(sum(row.own.value for row in shown) / 2)
    assert seen.new_site.n_sites == 2
    assert {row.own_elsewhere for row in seen.sites} == {None}
    assert {row.own_elsewhere is None for row in heart_record.comparison.sites} == {False}


def test_no_gap_gives_a_withheld_figure_of_a_subgroup_back(heart_record):
    seen = scoped(heart_record, "consortium")
    told = {(group.attribute, group.level): group.measures for group in seen.subgroups}
    assert len(seen.gaps) < len(heart_record.gaps)
    for gap in seen.gaps:
        assert told[gap.attribute, gap.higher][gap.measure].value is not None
        assert told[gap.attribute, gap.lower][gap.measure].value is not None


def test_what_sites_told_each_other_is_shown_under_pseudonyms(deployed_record):
    left = {**deployed_record.shared, "porto": replace(deployed_record.shared["porto"], missing="no answer of porto")}
    seen = scoped(replace(deployed_record, shared=left), "consortium")
    assert sorted(seen.shared) == ["site-01", "site-02", "site-03"]
    assert "porto" not in seen.to_json()
