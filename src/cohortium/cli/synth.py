"""`cohortium synth fit|sample|validate|bench`: synthetic patients, learned together and judged in the open."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cohortium.cli.output import Screen
from cohortium.cli.study import AsJson, Data, SiteColumn, StudyFile
from cohortium.cli.synth_seals import seals
from cohortium.cli.synth_use import app as use_app
from cohortium.cli.synth_world import GuessedStudy, TableOrSim, canary, simulate

__all__ = ["app", "bench", "fit", "gate", "impute", "sample", "validate"]

app = typer.Typer(no_args_is_help=True)
app.command()(simulate)
app.command()(canary)
app.command()(seals)
app.add_typer(use_app, name="use", help="Uses of synthetic patients, judged on real ones.")

Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for the generator and the ledger.")]
File = Annotated[Path, typer.Option("-o", "--output", metavar="FILE.csv", help="Where the patients are written.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Of all that is drawn; the same seed gives the same result.")]


@app.command()
def fit(
    path: StudyFile,
    data: Data = None,
    site_column: SiteColumn = None,
    out: Out = Path("generator"),
    ledger: Annotated[str, typer.Option("--ledger", help="memory or local.")] = "memory",
    split: Annotated[
        Path | None,
        typer.Option("--split", metavar="DIR", help="Also write the real training.csv and reserve.csv, to judge with."),
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Overwrite a generator that is in --out.")] = False,
    as_json: AsJson = False,
) -> None:
    """Learn the study's generator by a swarm of the sites. No row leaves a site; a reserve of each trains nothing."""
    from cohortium.sim.inputs import placed, read_sites, read_study
    from cohortium.sim.synthesis import check_place
    from cohortium.sim.synthesis import fit as fit_generator

    screen = Screen(as_json=as_json)
    if not replace:
        check_place(out, split)
    tables = read_sites(data or [], site_column=site_column)
    study = read_study(path, n_sites=len(tables))
    with placed(path):
        fitted = fit_generator(
            study, tables, out=out, ledger=ledger, split=split, site_column=site_column or "site", say=screen.say
        )
    screen.document(fitted.document())
    screen.result(f"generator: {out / 'generator.safetensors'} (digest {fitted.saved.state.digest.hex()[:16]})")
    if fitted.epsilon is not None:
        screen.result(
            f"noise for epsilon {fitted.epsilon:g} a patient, from the operating system; nothing was booked for it:"
            " between hospitals every site books its part"
        )
    if split is not None:
        screen.result(f"real patients, for judging: {split / 'training.csv'}, {split / 'reserve.csv'}")
    screen.say(f"next: cohortium synth sample {out} -n {fitted.saved.n_real} -o synthetic.csv")


@app.command()
def sample(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a fitted generator.")],
    output: File,
    n: Annotated[int, typer.Option("-n", min=1, max=1_000_000, help="Patients to draw.")] = 1000,
    where: Annotated[str, typer.Option("--where", help='A condition, e.g. "age>70 and TP53=1".')] = "",
    sets: Annotated[int, typer.Option("--sets", min=1, max=20, help="Tables to draw, for pooled inference.")] = 1,
    replace: Annotated[bool, typer.Option("--replace", help="Overwrite files that are there.")] = False,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Draw synthetic patients. With --sets m the files are FILE-1.csv to FILE-m.csv."""
    import numpy as np

    from cohortium.data.csv_writer import csv_bytes
    from cohortium.sim.folder import check_free, not_over, write_together
    from cohortium.sim.synthesis import FILE, open_generator
    from cohortium.synth.rows import table_of_rows

    screen = Screen(as_json=as_json)
    saved = open_generator(folder)
    files = [output] if sets == 1 else [output.with_name(f"{output.stem}-{k + 1}{output.suffix}") for k in range(sets)]
    not_over(files, folder / FILE)
    if not replace:
        check_free(files)
    broken: dict[str, int] = {}
    content = {}
    for k, file in enumerate(files):
        drawn = saved.sample(n, rng=np.random.default_rng([seed, k]), where=where)
        content[file] = [csv_bytes(table_of_rows(drawn.rows))]
        for rule, count in drawn.broken.items():
            broken[rule] = broken.get(rule, 0) + count
    write_together(content)
    screen.document({"files": [str(file) for file in files], "n": n, "where": where, "broken_rules": broken})
    for rule, count in broken.items():
        screen.warn(f"{count} patients still break the rule '{rule}' after 20 draws")
    screen.result(f"wrote {', '.join(str(file) for file in files)} ({n} patients{' each' if sets > 1 else ''})")


@app.command()
def impute(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a fitted generator.")],
    table: Annotated[Path, typer.Argument(metavar="FILE", help="Real patients with gaps, columns as in the study.")],
    output: File,
    sets: Annotated[int, typer.Option("--sets", min=1, max=100, help="Tables to fill, for pooled inference.")] = 5,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Fill the gaps of a table by the generator, each time by another draw. With --sets m: FILE-1.csv to FILE-m.csv.

    The output holds real patients: it stays where the table is.
    """
    from cohortium.sim.imputing import impute_file

    screen = Screen(as_json=as_json)
    found = impute_file(folder, table, out=output, sets=sets, seed=seed)
    screen.document(found.document())
    for name, count in found.left.items():
        screen.warn(f"column '{name}': {count} gaps are left; no site ever measured it")
    for rule, count in found.broken.items():
        screen.warn(f"{count} filled patients of all tables break the rule '{rule}'; gaps are filled without it")
    screen.result(f"filled {found.filled} gaps of {found.n} patients: {', '.join(str(file) for file in found.files)}")


@app.command()
def validate(
    real: Annotated[Path, typer.Option("--real", metavar="FILE", help="Rows the generator learned from.")],
    synthetic: Annotated[Path, typer.Option("--synthetic", metavar="FILE", help="The table to judge.")],
    schema: Annotated[Path, typer.Option("--schema", metavar="STUDY.toml", help="The study that names the columns.")],
    holdout: Annotated[
        Path | None, typer.Option("--holdout", metavar="FILE", help="Real rows the generator never saw.")
    ] = None,
    site_column: SiteColumn = None,
    report: Annotated[Path | None, typer.Option("--report", metavar="FILE.html", help="Also write the page.")] = None,
    bench_file: Annotated[
        Path | None, typer.Option("--bench", metavar="FILE.json", help="Of `synth bench --json`, for the page.")
    ] = None,
    by_site: Annotated[
        bool, typer.Option("--by-site", help="Also judge at every hospital: sums, and the worst of them.")
    ] = False,
    draws: Annotated[int, typer.Option("--draws", min=2, max=50, help="Draws behind each score.")] = 5,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Judge a synthetic table: fidelity, utility, privacy, each beside a floor, a ceiling and controls that must fail.

    Exits 1 when a control does not fail as it must: then nothing is proven.
    """
    from cohortium.sim.folder import not_over, write_whole
    from cohortium.sim.inputs import placed, read_study
    from cohortium.sim.synth_tables import validate_files

    screen = Screen(as_json=as_json)
    not_over([report], real, synthetic, schema, holdout, bench_file)
    study = read_study(schema)
    with placed(schema):
        found = validate_files(
            study,
            real=real,
            synthetic=synthetic,
            holdout=holdout,
            site_column=site_column,
            by_site=by_site,
            bench=bench_file,
            seed=seed,
            draws=draws,
        )
    screen.document(found.judgement.document())
    for note in found.judgement.notes:
        screen.warn(note)
    for topic, word in found.judgement.verdict.items():
        reason = found.judgement.reasons.get(topic, "")
        screen.result(f"{topic}: {word}" + (f" ({reason})" if reason else ""))
    if report is not None:
        write_whole(report, [found.page().encode()])
        screen.result(f"report: {report}")
    if not found.judgement.credible:
        raise typer.Exit(1)


@app.command()
def gate(
    synthetic: Annotated[Path, typer.Option("--synthetic", metavar="FILE", help="The table that wants to leave.")],
    schema: Annotated[Path, typer.Option("--schema", metavar="STUDY.toml", help="The study that names the columns.")],
    real: Annotated[
        Path | None, typer.Option("--real", metavar="FILE", help="The site's patients the table was learned from.")
    ] = None,
    holdout: Annotated[
        Path | None, typer.Option("--holdout", metavar="FILE", help="The site's reserve; it trained nothing.")
    ] = None,
    site_column: SiteColumn = None,
    verdict: Annotated[
        Path | None, typer.Option("--verdict", metavar="FILE.json", help="Write pass or fail, and of which table.")
    ] = None,
    check: Annotated[
        Path | None, typer.Option("--check", metavar="FILE.json", help="Check an earlier verdict instead.")
    ] = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Ask, at a site, whether a synthetic table may leave; or check a verdict somebody shows. 1 when it may not."""
    from cohortium.errors import UsageError
    from cohortium.sim.folder import not_over, write_whole
    from cohortium.sim.inputs import placed, read_study
    from cohortium.sim.synth_gate import ask_gate, check_verdict

    screen = Screen(as_json=as_json)
    not_over([verdict], synthetic, schema, real, holdout)
    study = read_study(schema)
    if check is not None:
        check_verdict(study, table=synthetic, verdict=check)
        screen.document({"passed": True})
        screen.result(f"'{check}' is the verdict on '{synthetic}': pass")
        return
    if real is None or holdout is None:
        raise UsageError("give the site's own patients by --real and its reserve by --holdout, or a verdict by --check")
    with placed(schema):
        found = ask_gate(study, training=real, reserve=holdout, table=synthetic, site_column=site_column, seed=seed)
    screen.document(found.document())
    if verdict is not None:
        write_whole(verdict, [found.file()])
    screen.result("pass: the table may leave" if found.verdict.passed else f"fail: {found.verdict.reason}")
    if not found.verdict.passed:
        raise typer.Exit(1)


@app.command()
def bench(
    data: TableOrSim = "sim",
    site_column: SiteColumn = None,
    study: GuessedStudy = None,
    generators: Annotated[str, typer.Option("--generators", help="Names, separated by commas.")] = "bn",
    strategies: Annotated[
        str, typer.Option("--strategies", help="Names, by commas; exact for sums, fedavg for networks if not given.")
    ] = "",
    settings: Annotated[str, typer.Option("--settings", help="Of all three.")] = "central,isolated,federated",
    partition: Annotated[
        str, typer.Option("--partition", help="natural, iid, or uneven: 100, 1,000 and the rest.")
    ] = "natural",
    seeds: Annotated[int, typer.Option("--seeds", min=1, max=50)] = 3,
    draws: Annotated[int, typer.Option("--draws", min=2, max=50)] = 3,
    jobs: Annotated[int, typer.Option("--jobs", min=1, max=64, help="Processes that share the work out.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Compare generators when trained on pooled data, at single sites, and together by each strategy."""
    from cohortium.sim.inputs import placed, read_study
    from cohortium.sim.synth_bench import bench as run_bench
    from cohortium.sim.synth_bench import consortium

    screen = Screen(as_json=as_json)
    plan = None if study is None else read_study(study)
    with placed(study):
        found = run_bench(
            consortium(data, site_column=site_column, study=plan, partition=partition),
            data=data,
            partition=partition,
            generators=_names(generators),
            strategies=_names(strategies) or None,
            settings=_names(settings),
            seeds=seeds,
            draws=draws,
            jobs=jobs,
            say=screen.say,
        )
    screen.document(found.document())
    header = ("generator", "setting", "CSF skill", "GSF skill", "classic CSF", "classic GSF", "KM gap", "CPU s")
    screen.table(header, found.rows())
    for name, reasons in found.refused.items():
        for reason in reasons.values():
            screen.say(f"{name}: {reason}")
    for name, equal in found.equal.items():
        screen.result(f"{name}: federated {'equals' if equal else 'DIFFERS from'} central")


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]
