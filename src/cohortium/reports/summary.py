"""The top of the report: a state, three plain sentences, and checks with pass, warn or fail.

Everything is computed from the record, so that the page, the command line and a test say the same. A check that
could not be made is `skipped` and says why: absence of evidence is not a pass.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cohortium.core.check import Check
from cohortium.reports.comparison import LOSS, Exam
from cohortium.reports.glossary import label
from cohortium.reports.outline import applies, purpose
from cohortium.reports.panel import LOWER_IS_BETTER, PRIMARY
from cohortium.reports.privacy import PrivateStudy
from cohortium.reports.record import RunRecord

__all__ = ["Limits", "headline_measure", "named", "run_checks", "state", "three_sentences"]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Thresholds of the checks; printed with them."""

    loss: float = LOSS
    slope_low: float = 0.8
    slope_high: float = 1.2


def state(record: RunRecord) -> str:
    """`complete`, `partial` or `failed`."""
    return record.status.partition(" ")[0]


def headline_measure(record: RunRecord) -> str:
    """The figure to judge by: within sites where there are several."""
    primary = PRIMARY[record.outcome]
    if record.shared:
        return primary
    within = f"{primary}_within"
    measure = record.test.swarm.get(within)
    return within if measure is not None and measure.value is not None else primary


def three_sentences(record: RunRecord) -> tuple[str, str, str]:
    """What was done, whether it helped, whether it can be used: each one sentence."""
    what = purpose(record)
    if what == "audit":
        return _audited(record)
    if what == "generator":
        return _generated(record)
    return _done(record), _helped(record), _usable(record)


def _audited(record: RunRecord) -> tuple[str, str, str]:
    """The same of a run that audits and trains nothing."""
    sites, exchanges = _count(len(record.sites), "site"), _count(len(record.included), "exchange")
    return (
        f"{sites} audited their data together in {exchanges} of sums; no model was trained.",
        "An audit helps nobody by itself: 'Harmful data' says whose data should be looked at, and why.",
        "Its probes are for the audit alone and are used for no patient.",
    )


def _generated(record: RunRecord) -> tuple[str, str, str]:
    """The same of a run that learns a generator of synthetic patients."""
    n, rounds = _count(len(record.trained), "site"), _count(len(record.included), "round")
    done = f"{n} learned a generator of synthetic patients, {record.model.name}, together in {rounds}"
    if state(record) == "failed":
        done = f"The run {record.status} and left no generator"
    elif state(record) != "complete":
        done = f"{done}; the run is {record.status}"
    return (
        f"{done}.",
        "How good and how safe its patients are is in validation.html beside this page, where this site could judge.",
        "Patients drawn from it are no evidence of a treatment's effect, and are given away only where privacy passed.",
    )


def _but(record: RunRecord) -> str:
    """Whom an audit left out, in words; empty for nobody."""
    audited = sorted(set(record.sites) - set(record.trained))
    return f" but {named(audited)}, left out by the audit" if audited else ""


def named(sites: tuple[str, ...] | list[str], *, most: int = 6) -> str:
    """`a`, `a and b`, `a, b and c`, or the first few `and 12 more`."""
    shown = list(sites[:most])
    if len(sites) > most:
        return f"{', '.join(shown)} and {len(sites) - most} more"
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}" if shown else "none"


def _done(record: RunRecord) -> str:
    n, rounds = len(record.trained), len(record.included)
    train = [flow.train for site, flow in record.flow.items() if site in record.trained]
    patients = f" on {sum(t or 0 for t in train):,} training records" if train and None not in train else ""
    if record.shared and patients:
        patients = f",{patients} at this one,"
    did = f"{_count(n, 'site')} trained one {record.model.name} model together in {_count(rounds, 'round')}{patients}"
    if state(record) == "failed":
        return f"The run {record.status} and left no model."
    whole = sum(set(names) == set(record.trained) for names in record.included)
    if state(record) == "complete" and whole == rounds:
        return f"{did}; every merge holds every site{_but(record)}."
    return f"{did}; the run is {record.status}, and {whole} of {rounds} merges hold every site."


def _helped(record: RunRecord) -> str:
    found = record.comparison
    if found is None or found.at_home.gain is None:
        return "Whether it helps was not measured: no site has both models and enough test patients."
    name, home = label(found.measure), found.at_home
    if record.shared:
        return _helped_here(record, name, home)
    judged = [row for row in found.sites if row.verdict != "not judged"]
    clear = sum(row.verdict == "helps" for row in judged)
    who = "the sites" if len(judged) == len(found.sites) else f"the {len(judged)} sites with enough test patients"
    text = (
        f"On their own test patients {who} reach a mean {name} of {home.swarm:.3f} with the swarm and "
        f"{home.own:.3f} with their own models ({home.gain:+.3f}, positive is better); the gain is clear at "
        f"{clear} of {len(judged)}"
    )
    lost = f"it does not help {named(found.not_helped)}" if found.not_helped else "no site is shown to lose"
    return f"{text}, and {lost}."


def _helped_here(record: RunRecord, name: str, home: Exam) -> str:
    """The same of a run between hospitals: this site's figures, and how many others said what of theirs."""
    told = [one for one in record.shared.values() if not one.missing]
    measure = PRIMARY[record.outcome]
    pairs = [
        (one.swarm[measure].value, one.own[measure].value)
        for one in told
        if measure in one.swarm and measure in one.own
    ]
    sign = -1 if measure in LOWER_IS_BETTER else 1
    better = sum(sign * ((swarm or 0.0) - (own or 0.0)) > 0 for swarm, own in pairs)
    text = (
        f"On this site's own test patients the swarm reaches {name} {home.swarm:.3f} and its own model {home.own:.3f} "
        f"({home.gain:+.3f}, positive is better)"
    )
    of = _count(len(record.shared), "site")
    return f"{text}; of {of}, {len(pairs)} told both figures, {better} of them better with the swarm."


def _usable(record: RunRecord) -> str:
    name = headline_measure(record)
    measure = record.test.swarm.get(name)
    if measure is None or measure.value is None:
        return "How well the swarm's model predicts was not measured."
    whose = "this site's" if record.shared else "the"
    text = f"The swarm's {label(name)} on {whose} test patients is {measure.text()}"
    pooled = record.test.pooled.get(name)
    if pooled is not None and pooled.value is not None:
        text += f", against {pooled.value:.3f} if all patients were in one place"
    slope = record.test.swarm.get("calibration_slope")
    if slope is not None and slope.value is not None:
        text += f"; its risks have a calibration slope of {slope.value:.2f} (1 is right)"
    if record.calibration:
        text += ", and each site should use its own recalibration and threshold (see 'Can it be used?')"
        if worse := _made_worse(record):
            text += f"; on the test patients recalibration made the risks worse at {named(worse)}"
    return f"{text}."


def _made_worse(record: RunRecord) -> tuple[str, ...]:
    """Sites whose Brier score rose by recalibration, by more than the third digit can say."""
    found = []
    for site, one in sorted(record.calibration.items()):
        before, after = one.before.get("brier"), one.after.get("brier")
        if before is None or after is None or before.value is None or after.value is None:
            continue
        if after.value - before.value > 0.005:
            found.append(site)
    return tuple(found)


def _count(n: int, thing: str) -> str:
    return f"{n} {thing}" + ("" if n == 1 else "s")


def run_checks(record: RunRecord, limits: Limits | None = None) -> tuple[Check, ...]:
    """The report's own checks that apply, in the order of its sections; the record's others follow behind them."""
    asked = limits or Limits()
    return tuple(make(record, asked) for check, make in _MAKERS.items() if applies(check, record))


def _run_complete(record: RunRecord, _: Limits) -> Check:
    if state(record) == "failed":
        return Check(id="run-complete", level="fail", found=f"the run {record.status}")
    short = [i for i, names in enumerate(record.included, start=1) if set(names) != set(record.trained)]
    if state(record) == "complete" and not short:
        return Check(id="run-complete", level="ok", found=f"every merge holds every site{_but(record)}")
    left_out = sorted({site for names in record.included for site in set(record.trained) - set(names)})
    found = f"the run is {record.status}; {_count(len(short), 'merge')} without {named(left_out)}"
    return Check(id="run-complete", level="warn", found=found, fix="see who was missing, and why, in 'Training'")


def _gain(record: RunRecord, limits: Limits) -> Check:
    found = record.comparison
    if found is None or not any(row.gains[found.measure].value is not None for row in found.sites):
        return Check(id="gain", level="skipped", found="own models were not compared with the swarm")
    if found.not_helped:
        fix = "those sites may keep their own model, recalibrate, or use a personal strategy (ditto, fedper)"
        if found.backwards:
            fix = (
                f"is the outcome coded the other way at {named(found.backwards)}? The others' model ranks the patients "
                "there the wrong way round, the site's own rightly; until that is settled, use no model of this run"
            )
        text = f"the swarm does not help {named(found.not_helped)} on their own patients"
        return Check(id="gain", level="fail", found=text, fix=fix)
    gains = {row.site: row.gains[found.measure] for row in found.sites}
    open_ = [s for s, gain in gains.items() if gain.low is None or gain.low <= -limits.loss]
    if open_:
        text = f"a loss of more than {limits.loss} is not ruled out at {named(open_)}"
        return Check(id="gain", level="warn", found=text, fix="more test patients would narrow the intervals")
    return Check(id="gain", level="ok", found=f"every site's gain has a lower bound above {-limits.loss}")


def _within(record: RunRecord, _: Limits) -> Check:
    """Thrown together above every site's own figure: the model may tell sites apart instead of patients."""
    primary = PRIMARY[record.outcome]
    whole = record.test.swarm.get(primary)
    sites = [m["swarm"][primary].value for m in record.test.per_site.values() if primary in m.get("swarm", {})]
    there = [value for value in sites if value is not None]
    if primary in LOWER_IS_BETTER or whole is None or whole.value is None or len(there) < 2:
        return Check(id="within", level="skipped", found="no within-site figure to compare with")
    if whole.value > max(there):
        text = f"{label(primary)} over all sites together ({whole.value:.3f}) is above that of every single site"
        fix = "judge by the figure within sites: the other one profits from differences between sites"
        return Check(id="within", level="warn", found=text, fix=fix)
    return Check(
        id="within", level="ok", found=f"{label(primary)} over all sites together is not above every site's own"
    )


def _accuracy(record: RunRecord, limits: Limits) -> Check:
    worse, beyond, seen = [], [], 0
    for site, found in sorted(record.calibration.items()):
        own = record.test.per_site.get(site, {}).get("own", {}).get("accuracy")
        after = found.after.get("accuracy")
        if own is None or own.value is None or after is None or after.value is None:
            continue
        seen += 1
        if after.value < own.value - limits.loss:
            worse.append(site)
            beyond += [site] if after.high is not None and own.value > after.high else []
    if not seen:
        return Check(id="accuracy", level="skipped", found="no site has both an own and a recalibrated accuracy")
    if worse:
        text = f"after recalibration accuracy is more than {limits.loss} below the own model's at {named(worse)}"
        fix = "look at calibration and threshold in 'Can it be used?'"
        return Check(id="accuracy", level="fail" if beyond else "warn", found=text, fix=fix)
    text = f"after recalibration no site's accuracy is more than {limits.loss} below its own model's"
    return Check(id="accuracy", level="ok", found=text)


def _slope(record: RunRecord, limits: Limits) -> Check:
    slope = record.test.swarm.get("calibration_slope")
    if slope is None or slope.value is None:
        return Check(id="slope", level="skipped", found="no calibration slope for this outcome or these numbers")
    span = f"{limits.slope_low} to {limits.slope_high}"
    text = f"the swarm's calibration slope is {slope.text(2)}; wanted: {span}"
    if limits.slope_low <= slope.value <= limits.slope_high:
        return Check(id="slope", level="ok", found=text)
    low, high = slope.interval or (slope.value, slope.value)
    apart = high < limits.slope_low or low > limits.slope_high
    return Check(id="slope", level="fail" if apart else "warn", found=text, fix="use the sites' recalibration")


def _attested(record: RunRecord, _: Limits) -> Check:
    if not record.rounds:
        return Check(id="attested", level="skipped", found="the record holds no round")
    bare = [one.round for one in record.rounds if not one.n_attested]
    if bare:
        text = f"{len(bare)} of {len(record.rounds)} merges were attested by nobody"
        return Check(id="attested", level="fail", found=text, fix="do not use the model before the merges are checked")
    return Check(id="attested", level="ok", found=f"all {len(record.rounds)} merges were recomputed and attested")


def _verified(record: RunRecord, _: Limits) -> Check:
    if record.ledger.verified is None:
        text, fix = "the ledger was not verified offline", record.ledger.verify
        return Check(id="verified", level="skipped", found=text, fix=f"run: {fix}" if fix else "")
    if record.ledger.verified:
        return Check(
            id="verified", level="ok", found=f"the ledger was verified offline, all {record.ledger.height} blocks"
        )
    return Check(
        id="verified", level="fail", found="offline verification of the ledger failed", fix=record.ledger.verify
    )


def _harm(record: RunRecord, _: Limits) -> Check:
    found = record.quality
    if found is None:
        return Check(id="harm", level="skipped", found="the sites' data were not audited")
    if found.status == "inconclusive":
        return Check(id="harm", level="skipped", found=f"the audit of the data is inconclusive: {found.why}")
    now = {**found.sites, **found.again}
    bad = sorted(site for site, one in now.items() if one.verdict in ("repair", "quarantine", "eliminate"))
    open_ = [site for site in bad if site not in found.left_out]
    if open_ and found.on_harm == "audit":
        text = f"the data of {named(open_)} look harmful; no model was trained"
        return Check(
            id="harm", level="warn", found=text, fix="look at 'Harmful data': repair, appeal, or a new data version"
        )
    if open_:
        text = f"the data of {named(open_)} look harmful, and they trained the model"
        return Check(
            id="harm", level="warn", found=text, fix="look at 'Harmful data'; quality.on_harm = 'repair' acts on it"
        )
    if found.left_out:
        text = f"the data of {named(list(found.left_out))} are in quarantine and did not train the model"
        return Check(
            id="harm", level="warn", found=text, fix="look at 'Harmful data': repair, appeal, or a new data version"
        )
    if found.repaired:
        repairs = ", ".join(f"{site} ({name})" for site, name in sorted(found.repaired.items()))
        return Check(id="harm", level="ok", found=f"harmful data were found and repaired: {repairs}")
    return Check(id="harm", level="ok", found="no site's data look harmful")


def _leakage(record: RunRecord, _: Limits) -> Check:
    audit = record.privacy.audit if record.privacy is not None else None
    if audit is None:
        return Check(id="leakage", level="skipped", found="the model was not attacked")
    if audit.verdict == "pass":
        return Check(id="leakage", level="ok", found="attacks on the model stay below what was agreed")
    said = [one for one in audit.attacks if not one.site and one.verdict == audit.verdict]
    if audit.verdict == "fail":
        why = said[0].reason if said else "see 'Privacy'"
        text = f"attacks on the model succeed: {why}"
        return Check(id="leakage", level="fail", found=text, fix="do not release the model; train with privacy.dp")
    needed = max((one.needed or 0 for one in said), default=0)
    more = f"; about {needed:,} patients would decide" if needed else ""
    text = f"too few patients to say that attacks fail{more}"
    return Check(id="leakage", level="warn", found=text, fix="releasing the model is a person's decision, by name")


def _budget(record: RunRecord, _: Limits) -> Check:
    spending = record.privacy.spending if record.privacy is not None else ()
    if not spending:
        text = "no differential privacy: nothing formal is promised to patients"
        if record.private_study is not None:
            text += f"; the private study beside it is in 'Privacy'{_spent_in(record.private_study)}"
        return Check(id="budget", level="skipped", found=text)
    over = [one.site for one in spending if one.total > one.cap]
    worst = max(spending, key=lambda one: one.total / one.cap if one.cap else 0.0)
    if over:
        return Check(id="budget", level="fail", found=f"more epsilon was spent than {named(over)} allow")
    text = f"no site has spent more than its cap; nearest is {worst.site}, {worst.total:.2f} of {worst.cap:g}"
    return Check(id="budget", level="ok", found=text)


def _spent_in(study: PrivateStudy) -> str:
    spending = study.privacy.spending
    if not spending:
        return ""
    worst = max(spending, key=lambda one: one.total / one.cap if one.cap else 0.0)
    return f" (at most {worst.total:.2f} of {worst.cap:g} spent at a site)"


def _randomness(record: RunRecord, _: Limits) -> Check:
    if record.randomness == "operating system":
        return Check(id="randomness", level="ok", found="keys, masks and noise come from the operating system")
    return Check(id="randomness", level="skipped", found=f"randomness is {record.randomness}: nothing here is secret")


_MAKERS: dict[str, Callable[[RunRecord, Limits], Check]] = {
    "run-complete": _run_complete,
    "gain": _gain,
    "within": _within,
    "accuracy": _accuracy,
    "slope": _slope,
    "attested": _attested,
    "verified": _verified,
    "harm": _harm,
    "leakage": _leakage,
    "budget": _budget,
    "randomness": _randomness,
}
