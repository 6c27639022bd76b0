"""The words: how each measure is called, how many digits it gets, and one plain sentence about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["GLOSSARY", "LEAKAGE", "Word", "in_order", "label", "words_for"]


@dataclass(frozen=True)
class Word:
    """key: name in `run.json` or in the page; label: what is printed; text: one or two sentences."""

    key: str
    label: str
    text: str


GLOSSARY: tuple[Word, ...] = (
    Word("auroc", "AUROC", "Chance that a patient with the outcome gets a higher risk than one without. 0.5 is "
         "guessing, 1 perfect. Over all sites together it flatters when sites differ in how common the outcome is."),
    Word("auroc_within", "AUROC within sites", "The same, comparing only patients of the same site; sites count by "
         "their number of pairs. This is the figure to judge by."),
    Word("auprc", "AUPRC", "Mean share of true alarms as the threshold is lowered. Guessing gives the outcome share."),
    Word("accuracy", "Accuracy", "Share of patients called right at the threshold."),
    Word("sensitivity", "Sensitivity", "Share of patients with the outcome who are called positive."),
    Word("specificity", "Specificity", "Share of patients without the outcome who are called negative."),
    Word("ppv", "PPV", "Share of those called positive who have the outcome; depends on how common it is."),
    Word("npv", "NPV", "Share of those called negative who do not have it; depends on how common it is."),
    Word("f1", "F1", "Harmonic mean of PPV and sensitivity."),
    Word("brier", "Brier score", "Mean squared distance of risk and outcome; lower is better, 0.25 is a coin."),
    Word("log_loss", "Log loss", "Mean of minus the logarithm of the probability given to what happened; lower is "
         "better, and a confident error costs most."),
    Word("calibration_intercept", "Calibration intercept", "0: as many events as predicted. Above 0: risks are too "
         "low, below 0: too high (in log odds)."),
    Word("calibration_slope", "Calibration slope", "1: risks are spread rightly. Below 1: too extreme, above 1: too "
         "timid."),
    Word("observed_expected", "Observed / expected", "Events that happened over events predicted; 1 is right."),
    Word("ece", "Calibration error", "Mean distance between predicted and observed share over up to ten groups of "
         "at least ten patients; lower is better."),
    Word("net_benefit", "Net benefit", "True positives minus false positives, weighted by the odds of the threshold, "
         "per patient."),
    Word("c_index", "C-index", "Chance that of two patients the one who had the event first had the higher risk. "
         "0.5 is guessing."),
    Word("c_index_within", "C-index within sites", "The same, comparing only patients of the same site; sites count "
         "by their comparable pairs. This is the figure to judge by."),
    Word("rmse", "RMSE", "Root of the mean squared error, in the outcome's unit; lower is better."),
    Word("mae", "MAE", "Mean absolute error, in the outcome's unit; lower is better."),
    Word("r2", "R²", "Share of the outcome's variance that is explained; 1 is perfect, 0 is the mean."),
    Word("swarm", "Swarm", "The model the sites trained together; no patient left a site."),
    Word("own", "Own model", "The model a site trains on its own patients alone, by the same recipe."),
    Word("pooled", "Pooled", "The model trained on all patients in one place: what the swarm would like to equal. "
         "Known in simulations only."),
    Word("without", "Swarm without the site", "The swarm trained by the other sites: what a site would get that "
         "gives nothing."),
    Word("single_mean", "Mean single site", "Mean over the sites' own models, each on all test patients."),
    Word("interval", "95 % interval", "In 95 of 100 repetitions such an interval would hold the true value. AUROC: "
         "DeLong; shares: Wilson; the rest: 2,000 bootstrap draws of patients within sites."),
    Word("p", "p, Holm", "How often chance alone would give such a difference; corrected for the number of sites by "
         "Holm. AUROC: paired DeLong; accuracy: exact McNemar; Brier: sign flips; others: paired bootstrap."),
    Word("gain", "Gain", "Swarm minus own model on the same patients, counted so that a positive number is better."),
    Word("at_home", "At home", "Mean over the sites, each on its own test patients (EXAM's first figure)."),
    Word("elsewhere", "Elsewhere", "Mean over the sites of a model on all other sites' test patients (EXAM's second "
         "figure): how far a model carries."),
    Word("new_site", "A new site", "Random-effects mean of the sites' gains (DerSimonian-Laird) and the interval in "
         "which the gain of one further, similar site is expected."),
    Word("recalibration", "Recalibration", "A site's own correction of the risks, learned on its calibration part "
         "only; the model is unchanged and the order of patients stays."),
    Word("threshold", "Threshold", "The risk from which a patient is called positive, chosen on the calibration part."),
    Word("round", "Round", "Every site trains, one site merges, the others check the merge."),
    Word("ledger", "Ledger", "The record all sites hold together: who took part, what was merged, who checked it. It "
         "holds digests, never patients' data."),
    Word("digest", "Digest", "SHA-256 fingerprint: equal content has equal fingerprints, and no content can be read "
         "from it."),
    Word("L1", "L1, one patient twice", "A patient, an equal row or a near-duplicate image both in the part that "
         "trains and in the part that tests: the model is asked what it has seen."),
    Word("L2", "L2, outcome in a column", "A single column, or its being empty, that tells the outcome: perhaps it was "
         "written down afterwards."),
    Word("L3", "L3, known too late", "A column known only after the moment at which the model is to predict."),
    Word("L4", "L4, preparation", "Means, spreads and fillings learned from training patients only."),
    Word("L5", "L5, site for patient", "Sites that can be told apart by their columns and differ in outcome: the model "
         "may learn the site instead of the patient."),
    Word("L6", "L6, one outcome a site", "Sites whose patients all have the same outcome: site and outcome cannot be "
         "told apart there."),
    Word("L7", "L7, time zero", "Follow-up that begins after the event, in another unit than elsewhere, or a group "
         "that cannot have early events (immortal time)."),
    Word("L8", "L8, scaling of tests", "Test patients scaled by mean and spread of the training patients, not by their "
         "own."),
)  # fmt: skip

LEAKAGE = tuple(f"L{number}" for number in range(1, 9))
"""Checks made before training: what would make a model look good here and fail on new patients."""

_BY_KEY = {word.key: word for word in GLOSSARY}


def label(key: str) -> str:
    """What the page prints for a name, the name itself where it has no word (`auroc_1y` -> `AUROC at 1y`)."""
    if key in _BY_KEY:
        return _BY_KEY[key].label
    if key.startswith("auroc_"):
        return f"AUROC at {key.removeprefix('auroc_')}"
    return key.replace("_", " ")


def in_order(keys: Iterable[str]) -> list[str]:
    """Names in the glossary's order, those without a word behind them by alphabet; each once."""
    place = {word.key: i for i, word in enumerate(GLOSSARY)}
    return sorted(set(keys), key=lambda key: (place.get(key, len(place)), key))


def words_for(keys: Iterable[str]) -> tuple[Word, ...]:
    """The glossary's entries for the names used, in the glossary's order."""
    used = set(keys)
    return tuple(word for word in GLOSSARY if word.key in used)
