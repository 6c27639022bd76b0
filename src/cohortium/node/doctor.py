"""`doctor`: every check of this node in one table, each finding with its fix, in less than 20 seconds.

    examine(home, study=..., survey=...)  ->  [Check, ...] in the order in which a person would mend them

Checks live with their subject (`transport/checks`, `ledger/checks`, `data/checks`, `node/checks`); here they are called
together. What waits for others runs side by side in threads that are left behind when the time is over: a name server
that never answers must not hold the table back. Nothing is changed. `survey`: what the running node heard from its
peers just now; without one, what only peers can tell is `skipped`.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cohortium.core.check import Check
from cohortium.core.identity import Membership
from cohortium.core.study import Study
from cohortium.errors import CohortiumError, UsageError
from cohortium.ledger.checks import check_etcd, check_rpc, ledger_checks
from cohortium.ledger.roster import Roster
from cohortium.node.cards import CardBook
from cohortium.node.chain import client_tls
from cohortium.node.checks import (
    check_consortium,
    check_disk,
    check_folder,
    check_heads,
    check_keys,
    check_memory,
    check_needs,
    check_paths,
    check_shared_memory,
    check_threads,
    check_versions,
    memory_available,
)
from cohortium.node.founding import Founding
from cohortium.node.home import Home
from cohortium.transport.checks import (
    check_certificate,
    check_clocks,
    check_contact,
    check_echoes,
    check_listen,
    check_on_ledger,
    check_proxy,
)

if TYPE_CHECKING:
    from cohortium.ledger.replica import Replica

__all__ = ["Findings", "examine"]

DEADLINE_S: Final = 18.0
_MANY_PEERS = 32


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What was found, and how long it took."""

    checks: tuple[Check, ...]
    seconds: float

    @property
    def failed(self) -> int:
        """How many checks failed."""
        return sum(check.level == "fail" for check in self.checks)


def examine(
    path: Path,
    *,
    study: Study | None = None,
    survey: Callable[[Home], Mapping[str, Any]] | None = None,
    now_s: Callable[[], float] = time.time,
    deadline_s: float = DEADLINE_S,
) -> Findings:
    """All checks of the node in a folder. survey: asks the running node for `survey.survey`.

    Never raises for what it is there to find; UsageError where there is no node at all.
    """
    began = time.monotonic()
    try:
        home = Home.open(path)
    except UsageError:
        raise
    except CohortiumError as error:
        fix = "correct node.toml; the reference is docs/reference/node-toml.md"
        checks = [Check(id="settings", level="fail", found=str(error), fix=error.hint or fix)]
        return Findings(checks=tuple(checks), seconds=time.monotonic() - began)
    running = bool(home.holder())
    checks = [check_folder(home.path), check_keys(home), check_consortium(home)]
    checks += check_paths(home)
    checks += _machine(home, study)
    checks += _ledger(home, running=running)
    told = _survey(home, survey, checks) if running else _not_asked(checks)
    answers: Mapping[str, Mapping[str, Any]] = told.get("peers", {})
    checks += _own_certificate(home, now_s(), told=told)
    checks += _beside(_network(home, running=running), until=began + deadline_s)
    checks += [
        check_clocks({peer: one["offset_s"] for peer, one in answers.items() if "offset_s" in one}),
        check_versions(answers),
        check_heads(answers),
        check_echoes(
            {peer: one.get("why", "damaged on the way") for peer, one in answers.items() if not one.get("echo")},
            asked=len(answers),
        ),
    ]
    checks += _beside([("data", lambda: _data(home, study))], until=began + deadline_s)
    return Findings(checks=tuple(checks), seconds=time.monotonic() - began)


def _machine(home: Home, study: Study | None) -> list[Check]:
    limits = home.settings.limits
    payload = limits.max_update_mb << 20 if study is None else _payload_bytes(study, limits.max_update_mb << 20)
    table = home.table.stat().st_size if home.table is not None and home.table.is_file() else 0
    networks = study is not None and _by_weights(study)
    return [
        check_disk(home, payload_bytes=payload),
        check_memory(payload_bytes=payload if study else 0, table_bytes=table, available_bytes=memory_available()),
        check_shared_memory(needed=networks),
        check_threads(limits.train_threads, environment=os.environ),
        check_needs(study),
        *(_deployable(study) if study is not None else ()),
    ]


def _deployable(study: Study) -> list[Check]:
    """Whether a study that can be simulated can also be run between hospitals."""
    from cohortium.node.work import deployable

    fix = "cohortium study pin STUDY.toml --data FILE, then send the pinned file to all sites"
    found = [f"{one.key}: {one.message}" for one in deployable(study)]
    checks = [Check(id="study", level="fail", found=one, fix=fix) for one in found]
    return checks or [Check(id="study", level="ok", found=f"study '{study.name}' can be run between hospitals")]


def _ledger(home: Home, *, running: bool) -> list[Check]:
    """The engine's own checks, and what the chain here says. A running node holds its chain: it is not opened then."""
    try:
        founding = home.founding
    except CohortiumError:
        return []  # told by `consortium`
    if founding is None or not founding.complete:
        return []
    local = founding.genesis.engine == "local"
    checks = ledger_checks(
        engine=founding.genesis.engine,
        path=None if running else home.chain,
        n_institutions=len(founding.sites),
    )
    if not running and _other_chain(home, founding):
        found = f"'{home.chain}' is the chain of another consortium than consortium.json"
        fix = (
            "put back the file that belongs to it, or move it away and start: the chain is read again from the members"
        )
        checks.append(Check(id="chain", level="fail", found=found, fix=fix))
    if local and home.ledger_host != home.site:
        checks.append(
            Check(id="ledger-engine", level="ok", found=f"the chain is hosted by {home.ledger_host}; see that peer")
        )
    return checks


def _not_asked(checks: list[Check]) -> Mapping[str, Any]:
    fix = "cohortium node start, then run this again"
    checks.append(Check(id="node", level="warn", found="no node runs in this home; peers were not asked", fix=fix))
    return {}


def _survey(home: Home, survey: Callable[[Home], Mapping[str, Any]] | None, checks: list[Check]) -> Mapping[str, Any]:
    """What the members said; adds what the own node says of itself."""
    if survey is None:
        return {}
    try:
        told = survey(home)
    except (CohortiumError, OSError) as error:
        fix = "stop the node and start it again; its log is logs/node.jsonl"
        checks.append(Check(id="node", level="fail", found=f"the node here does not answer: {error}", fix=fix))
        return {}
    checks.append(Check(id="node", level="ok", found="the node runs and answers"))
    if told["ledger"]:
        fix = "see whether its host or its members run; endpoints stand in [ledger] of node.toml"
        checks.append(Check(id="ledger-engine", level="fail", found=str(told["ledger"]), fix=fix))
    return told


def _own_certificate(home: Home, now_s: float, *, told: Mapping[str, Any]) -> list[Check]:
    """told: by the running node; without, the chain file here is read."""
    try:
        certificate = home.keys.certificate
    except CohortiumError:
        return []  # told by `keys`
    checks = [check_certificate(certificate, now_s=now_s)]
    if "tls" in told:
        checks.append(check_on_ledger(certificate, bytes.fromhex(told["tls"]) or None))
    elif (known := _recorded(home)) is not None:
        site = known.named(home.site)
        checks.append(check_on_ledger(certificate, site.tls if site is not None and site.active else None))
    return checks


def _recorded(home: Home) -> Membership | None:
    """The members as the chain file here knows them; None where it cannot be read now."""
    with _chain(home) as replica:
        if replica is None:
            return None
        roster = Roster()
        for block in replica.blocks():
            roster.tell(block.events)
        return roster.membership()


def _other_chain(home: Home, founding: Founding) -> bool:
    with _chain(home) as replica:
        return replica is not None and replica.genesis != founding.genesis


@contextlib.contextmanager
def _chain(home: Home) -> Iterator[Replica | None]:
    """The chain file here, None where there is none, or none that can be read now: the ledger's checks say so."""
    replica = None
    if home.chain.is_file():
        with contextlib.suppress(CohortiumError):
            from cohortium.ledger.replica import Replica

            replica = Replica.open(home.chain)
    try:
        yield replica
    finally:
        if replica is not None:
            replica.close()


def _network(home: Home, *, running: bool) -> list[tuple[str, Callable[[], list[Check]]]]:
    network = home.settings.network
    known = None if running else _recorded(home)
    try:
        founding = home.founding
    except CohortiumError:
        founding = None
    book = CardBook(home.peers, founding.cards if founding else ())
    names = [site.name for site in known.active] if known is not None else list(founding.sites if founding else ())
    contacts = []
    for name in names:
        site = known.named(name) if known is not None else None
        card = book.fitting(site) if site is not None else next(iter(book.of(name)), None)
        if card is not None and name != home.site:
            contacts.append(card.to_contact())
    dialled = [contact for contact in contacts if contact.endpoint][:_MANY_PEERS]
    target = dialled[0].endpoint if dialled else ""
    jobs: list[tuple[str, Callable[[], list[Check]]]] = [
        ("port", lambda: [check_listen(network.listen, running=running)]),
        ("proxy", lambda: [check_proxy(network.proxy, target=target)]),
    ]
    plan, tls = home.settings.ledger, client_tls(home)
    if founding is not None and founding.genesis.engine == "replicated":
        jobs.append(("etcd", lambda: [check_etcd(plan.endpoints, tls=tls)]))
    if founding is not None and founding.genesis.engine == "evm-rpc":
        chain_id = founding.genesis.chain_id
        jobs.append(("chain-node", lambda: [check_rpc(plan.endpoints, chain_id=chain_id, tls=tls)]))
    jobs += [(f"peer-{one.name}", lambda one=one: [check_contact(one, proxy=network.proxy)]) for one in contacts]  # type: ignore[misc]
    return jobs


def _data(home: Home, study: Study | None) -> list[Check]:
    """The table against the study. Reads it whole."""
    from cohortium.data.checks import check_file, cohort_checks, discreet
    from cohortium.data.mapping import parse_mapping
    from cohortium.data.readers import read
    from cohortium.sim.cohorts import schema_of, split_of
    from cohortium.sim.synth_program import split_study

    file = check_file(home.table)
    if home.table is None or file.level == "fail" or study is None:
        return [file]
    try:
        table = read(home.table)
        schema = schema_of(study, {home.site: table})
        text = home.mapping.read_text(encoding="utf-8") if home.mapping is not None else ""
        mapping = parse_mapping(text, path=str(home.mapping), schema=schema) if text else None
        found, _ = cohort_checks(
            table,
            schema,
            site=home.site,
            secret=home.keys.patients,
            split=split_of(study if study.synth is None else split_study(study)),
            mapping=mapping,
            acknowledged=study.study.acknowledged,
        )
    except (CohortiumError, OSError) as error:
        said = str(error) if isinstance(error, CohortiumError) else f"'{home.mapping}' cannot be read"
        fix = getattr(error, "hint", "") or "correct the table or cohort.toml; see docs/how-to/own-data.md"
        return [file, discreet(Check(id="schema", level="fail", found=said, fix=fix))]
    return [file, *found]


def _beside(jobs: Sequence[tuple[str, Callable[[], list[Check]]]], *, until: float) -> list[Check]:
    """Results in the order of the jobs; who is not done in time is `skipped` and left to its thread."""
    done: dict[int, list[Check]] = {}

    def work(number: int, job: Callable[[], list[Check]]) -> None:
        try:
            done[number] = job()
        except (CohortiumError, OSError, ValueError) as error:
            found = f"the check ended with {type(error).__name__}"
            done[number] = [Check(id=jobs[number][0], level="fail", found=found, fix="report it to the project")]

    threads = [threading.Thread(target=work, args=(n, job), daemon=True) for n, (_, job) in enumerate(jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.1, until - time.monotonic()))
    late = [Check(id=name, level="skipped", found="not done in time") for name, _ in jobs]
    return [check for number in range(len(jobs)) for check in done.get(number, [late[number]])]


def _payload_bytes(study: Study, most: int) -> int:
    """Bytes of one update: the study's own model where its columns are pinned, else the limit."""
    from cohortium.node.work import empty_program

    try:
        state = empty_program(study, sites=("a", "b")).start()
    except CohortiumError:
        return most
    return sum(int(array.nbytes) for array in state.values())


def _by_weights(study: Study) -> bool:
    from cohortium.assembly import build_learner
    from cohortium.synth.generators import GENERATORS

    try:
        if study.synth is not None:
            return bool(GENERATORS.resolve(study.synth.generator).learns_by == "weights")
        return build_learner(study).learns_by == "weights"
    except CohortiumError:
        return False
