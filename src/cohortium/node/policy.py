"""A site's own word on a study: `[consent]` of its node.toml, before approval and before every commitment. Pure.

    decide(study, facts, consent)  ->  Allowed(by_itself=True | False)  or  Vetoed(reason)

The rules only ever take away: what the study forbids stays forbidden, and nothing here can loosen it. Every rule that
says no is named, so that the study's authors and the site see the whole distance at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cohortium.assembly import build_learner, quorum, strategy_name
from cohortium.core.study import Study
from cohortium.node.settings import ConsentPlan
from cohortium.quality.study import fewest_audited

__all__ = ["Allowed", "Facts", "Vetoed", "decide", "facts_of", "vetoed"]


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a decision needs beside the study's own words.

    strategy: by its own name, never `auto`. quorum: fewest sites a round may close with. cohort: patients of this site
    that would take part, None before they were counted. epsilon: the run's promise, None where it makes none. masked:
    whether members see no more than sums of updates. proposer: the site that asks.
    """

    strategy: str
    quorum: int
    cohort: int | None = None
    epsilon: float | None = None
    masked: bool = False
    proposer: str = ""


@dataclass(frozen=True, kw_only=True)
class Allowed:
    """The site's rules have nothing against it. by_itself: no person is asked."""

    by_itself: bool


@dataclass(frozen=True, kw_only=True)
class Vetoed:
    """The site's rules say no. reasons: one sentence for each rule, without a patient's value or a small count."""

    reasons: tuple[str, ...]

    @property
    def reason(self) -> str:
        """All of them in one line."""
        return "; ".join(self.reasons)


def decide(study: Study, facts: Facts, consent: ConsentPlan) -> Allowed | Vetoed:
    """What this site says to the study."""
    reasons = tuple(_objections(study, facts, consent))
    return Vetoed(reasons=reasons) if reasons else Allowed(by_itself=consent.automatic)


def vetoed(said: Allowed | Vetoed) -> str:
    """Why the site's rules say no, empty where they do not."""
    return said.reason if isinstance(said, Vetoed) else ""


def facts_of(
    study: Study, *, n_sites: int, cohort: int | None = None, epsilon: float | None = None, proposer: str = ""
) -> Facts:
    """The facts about a study among `n_sites` members. Raises StudyError for one that cannot be built."""
    audit = study.quality.detector != "none"
    least = fewest_audited(study, n_sites) if audit else quorum(study, n_sites)
    masked = study.privacy.masked(n_sites)
    return Facts(
        strategy=_strategy(study), quorum=least, cohort=cohort, epsilon=epsilon, masked=masked, proposer=proposer
    )


def _strategy(study: Study) -> str:
    """How contributions are merged; of a generator how sites learn it together."""
    if study.synth is not None:
        return study.synth.federation
    return "exact-sums" if study.quality.detector != "none" else strategy_name(study, build_learner(study))


def _objections(study: Study, facts: Facts, consent: ConsentPlan) -> Iterator[str]:
    audit = study.quality.detector  # its probe in the place of the model
    if study.synth is None or consent.generators is None:
        yield from _unlisted("models", study.model.name if audit == "none" else audit, consent.models)
    if study.synth is not None:
        yield from _of_generator(study.synth.generator, facts, consent)
    yield from _unlisted("strategies", facts.strategy, consent.strategies)
    if study.privacy.method == "threshold-ckks" and study.privacy.fallback == "masks":
        yield "privacy.fallback: 'masks' is for simulations; nodes cannot see what others have installed"
    code = study.model.code_digest
    if code is not None and code not in consent.code_digests:
        yield f"consent.code_digests: the study brings code {code[:16]}... that this site has not approved"
    if consent.require_secure_aggregation and not facts.masked:
        yield "consent.require_secure_aggregation: the study shows single updates to the members"
    if facts.quorum < consent.min_sites:
        yield f"consent.min_sites: rounds may close with {facts.quorum} sites, this site asks for {consent.min_sites}"
    if facts.cohort is not None and facts.cohort < consent.min_cohort:
        yield f"consent.min_cohort: fewer than {consent.min_cohort} patients of this site would take part"
    if consent.max_epsilon_per_run is not None:
        if facts.epsilon is None:
            yield f"consent.max_epsilon_per_run: the study promises no epsilon, at most {consent.max_epsilon_per_run:g}"
        elif facts.epsilon > consent.max_epsilon_per_run:
            yield (
                f"consent.max_epsilon_per_run: the study spends epsilon {facts.epsilon:g}, "
                f"at most {consent.max_epsilon_per_run:g}"
            )


def _of_generator(name: str, facts: Facts, consent: ConsentPlan) -> Iterator[str]:
    """What is asked of a study that learns synthetic patients beside the rest."""
    yield from _unlisted("generators", name, consent.generators)
    yield from _unlisted("generators_from", facts.proposer, consent.generators_from)
    least = consent.min_cohort_generator
    if facts.cohort is not None and facts.cohort < least:
        yield f"consent.min_cohort_generator: fewer than {least} patients of this site would teach a generator"


def _unlisted(key: str, name: str, listed: Sequence[str] | None) -> Iterator[str]:
    if listed is not None and name not in listed:
        yield f"consent.{key}: '{name}' is not among {', '.join(listed) or 'those accepted (none)'}"
