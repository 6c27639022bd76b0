"""`cohortium node init|request|found|approve|start|status|doctor|rotate|exclude|leave`: one hospital's own node."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cohortium.cli.output import Screen
from cohortium.cli.study import AsJson

if TYPE_CHECKING:
    from cohortium.node.cards import Card
    from cohortium.node.founding import Founding
    from cohortium.node.home import Home

__all__ = [
    "HOME",
    "HomeDir",
    "answered",
    "app",
    "approve",
    "doctor",
    "exclude",
    "found",
    "init",
    "leave",
    "members",
    "request",
    "rotate",
    "start",
    "status",
]

app = typer.Typer(no_args_is_help=True)

HomeDir = Annotated[Path, typer.Option("--home", metavar="DIR", help="The node's folder.")]
HOME = Path("~/.cohortium")
Out = Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Instead of SITE.request.json here.")]
Fingerprint = Annotated[
    str, typer.Option("--fingerprint", metavar="'XXXX XXXX ...'", help="As read out on the telephone; for scripts.")
]


@app.command()
def init(
    site: Annotated[str, typer.Option("--site", help="The site's name: a-z, 0-9 and -, unique in the consortium.")],
    listen: Annotated[str, typer.Option("--listen", metavar="HOST:PORT", help="Take calls; else only dial out.")] = "",
    advertise: Annotated[str, typer.Option("--advertise", metavar="HOST:PORT", help="Address others dial.")] = "",
    contact: Annotated[str, typer.Option("--contact", help="A person, shown to the other sites.")] = "",
    ledger: Annotated[str, typer.Option("--ledger", help="Engine this site would found: local, ...")] = "local",
    passphrase_file: Annotated[str, typer.Option("--passphrase-file", help="Wrap the keys with its first line.")] = "",
    home: HomeDir = HOME,
    as_json: AsJson = False,
) -> None:
    """Make keys and folders for this site. Refuses to overwrite."""
    import time

    from cohortium.node.home import Home

    made = Home.create(
        home,
        site=_site(site),
        now=time.time(),
        listen=listen,
        advertise=advertise,
        contact=contact,
        engine=ledger,
        passphrase_file=passphrase_file,
    )
    card = made.card(time.time())
    screen = Screen(as_json=as_json)
    screen.document({"site": made.site, "home": str(made.path), "fingerprint": card.fingerprint})
    screen.result(f"node '{made.site}' made in {made.path}")
    screen.result(f"fingerprint: {card.fingerprint}")
    screen.say(f"next: cohortium node request{_at(home)}")


@app.command()
def request(
    out: Out = None,
    home: HomeDir = HOME,
    as_json: AsJson = False,
) -> None:
    """Write this site's request file for the other sites. It holds no secret; send it by any channel."""
    import time

    from cohortium.node.home import Home
    from cohortium.sim.folder import write_whole

    node = Home.open(home)
    card = node.card(time.time())
    path = out or Path(f"{node.site}.request.json")
    write_whole(path, [card.to_bytes()])
    screen = Screen(as_json=as_json)
    screen.document({"site": node.site, "request": str(path), "fingerprint": card.fingerprint})
    screen.result(f"wrote {path}")
    screen.result(f"fingerprint, to be read out on the telephone: {card.fingerprint}")


@app.command()
def found(
    files: Annotated[list[Path], typer.Argument(metavar="REQUEST...", help="The founders' request files.")],
    ledger: Annotated[str, typer.Option("--ledger", help="Engine; node.toml's if not given.")] = "",
    host: Annotated[str, typer.Option("--host", help="Site that hosts engine local; this site if not given.")] = "",
    chain_id: Annotated[
        int | None, typer.Option("--chain-id", min=1, help="Of an existing chain (evm-rpc); else drawn.")
    ] = None,
    home: HomeDir = HOME,
    as_json: AsJson = False,
) -> None:
    """Write consortium.json from the founders' request files, signed by this site."""
    import secrets
    import time

    from cohortium.errors import UsageError
    from cohortium.node.cards import read_card
    from cohortium.node.founding import propose_founding
    from cohortium.node.home import Home

    node = Home.open(home)
    cards = {card.site: card for card in (read_card(path) for path in files)}
    if len(cards) < len(files):
        raise UsageError("two of the request files are of the same site; give one of each founder")
    mine, now = node.card(time.time()), time.time()
    given = cards.setdefault(node.site, mine)
    if (given.address, given.tls, given.seal) != (mine.address, mine.tls, mine.seal):
        raise UsageError(f"the request file of '{node.site}' is not of this home's keys; write it again")
    engine = ledger or node.settings.ledger.engine
    founding = propose_founding(
        cards.values(),
        engine=engine,
        host=(host or node.site) if engine == "local" else host,
        chain_id=chain_id or secrets.randbelow(2**52) + 1,
        time=int(now),
    ).signed(node.site, node.keys.ledger)
    node.keep_founding(founding)
    _show_founding(Screen(as_json=as_json), node, founding)


@app.command()
def approve(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A request file, or a consortium.json.")],
    fingerprint: Fingerprint = "",
    home: HomeDir = HOME,
    as_json: AsJson = False,
) -> None:
    """A request: compare its fingerprint by telephone, vote to admit. A consortium.json: compare, sign."""
    from cohortium.errors import UsageError
    from cohortium.node.cards import MAX_CARD_BYTES, Card
    from cohortium.node.founding import MAX_FOUNDING_BYTES, Founding
    from cohortium.node.home import Home

    node, screen = Home.open(home), Screen(as_json=as_json)
    try:
        with file.open("rb") as opened:
            raw = opened.read(MAX_FOUNDING_BYTES + 1)
    except OSError as error:
        raise UsageError(f"cannot read '{file}': {error.strerror}") from None
    if b'"cohortium-consortium-' in raw or len(raw) > MAX_CARD_BYTES:
        _sign(screen, node, Founding.from_bytes(raw), fingerprint)
    else:
        _vote(screen, node, Card.from_bytes(raw), raw, fingerprint)


@app.command()
def start(home: HomeDir = HOME, as_json: AsJson = False) -> None:
    """Run the node in the foreground, until SIGTERM or Ctrl-C: then it says goodbye and stops within 10 s."""
    from cohortium.node.home import Home
    from cohortium.node.service import serve

    node, screen = Home.open(home), Screen(as_json=as_json)

    def ready(port: int) -> None:
        screen.document({"site": node.site, "home": str(node.path), "port": port})
        takes = f"takes calls on port {port}" if port else "dials out only"
        screen.say(f"node '{node.site}' runs and {takes}; log: {node.log}")
        screen.say(f"next, in another shell: cohortium node status{_at(home)}")

    serve(node, ready=ready)


@app.command()
def status(home: HomeDir = HOME, as_json: AsJson = False) -> None:
    """Health, peers, ledger, certificate, runs. 1 unless the node is healthy: a living process alone is not."""
    from cohortium.node.control import NodeAway, ask_node
    from cohortium.node.home import Home

    node, screen = Home.open(home), Screen(as_json=as_json)
    try:
        told = ask_node(node.control, {"do": "status"}, timeout_s=30.0)
    except NodeAway as away:
        screen.document({"site": node.site, "healthy": False, "problems": [str(away)]})
        screen.result(f"node '{node.site}': not healthy")
        screen.result(f"problem: {away}; {away.hint}")
        raise typer.Exit(1) from None
    screen.document(told)
    if not as_json:
        _show_status(screen, told)
    if not told["healthy"]:
        raise typer.Exit(1)


@app.command()
def members(home: HomeDir = HOME, as_json: AsJson = False) -> None:
    """Who belongs, by which keys, and the votes that are open."""
    from cohortium.node.home import Home

    answer, screen = answered(Home.open(home), {"do": "members"}), Screen(as_json=as_json)
    screen.document(answer)
    rows = [(one["site"], one["status"], one["address"], one["certificate"]) for one in answer["members"]]
    screen.table(("site", "status", "ledger address", "certificate"), rows)
    for one in answer["ballots"]:
        screen.result(
            f"open vote: {one['about']} '{one['site']}': {one['count']} of {one['need']} ({', '.join(one['by'])})"
        )


@app.command()
def rotate(home: HomeDir = HOME, as_json: AsJson = False) -> None:
    """New certificate and seal key, announced to the peers and put on the ledger."""
    import time

    from cohortium.node.home import Home
    from cohortium.sim.folder import write_whole

    node, screen = Home.open(home), Screen(as_json=as_json)
    running = bool(node.holder())
    answer = answered(node, {"do": "rotate", "now": time.time()})
    path = Path(f"{node.site}.request.json")
    if not running:
        write_whole(path, [answer["card"].encode()])
    screen.document({**answer, "announced": running})
    screen.result(f"'{node.site}' has a new certificate and seal key (ledger height {answer['height']})")
    if not running:
        screen.warn(f"no node runs here, so nobody was told: send {path} to the others; each runs: node approve")


@app.command()
def exclude(
    site: Annotated[str, typer.Argument(help="The site to exclude.")],
    evidence: Annotated[Path, typer.Option("--evidence", metavar="FILE", help="Why; kept in this home.")],
    home: HomeDir = HOME,
    as_json: AsJson = False,
) -> None:
    """Vote to exclude a site; two thirds decide. The evidence stays here, its digest is shown to be compared."""
    import hashlib

    from cohortium.errors import UsageError
    from cohortium.node.home import Home
    from cohortium.node.voting import MAX_EVIDENCE_BYTES, keep_evidence

    node, screen = Home.open(home), Screen(as_json=as_json)
    try:
        with evidence.open("rb") as opened:
            raw = opened.read(MAX_EVIDENCE_BYTES + 1)
    except OSError as error:
        raise UsageError(f"cannot read '{evidence}': {error.strerror}") from None
    if not raw or len(raw) > MAX_EVIDENCE_BYTES:
        raise UsageError(f"'{evidence}' has {len(raw)} bytes; evidence has 1 to {MAX_EVIDENCE_BYTES}")
    digest = hashlib.sha256(raw).hexdigest()
    kept = keep_evidence(node, raw, digest)
    answer = answered(node, {"do": "exclude", "site": site})
    screen.document({**answer, "evidence": digest})
    _show_vote(screen, answer)
    screen.result(f"evidence {digest} kept in {kept}")


@app.command()
def leave(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    home: HomeDir = HOME,
    as_json: AsJson = False,
) -> None:
    """Withdraw from all runs and leave the consortium. The chain stays in this home for audit."""
    from cohortium.errors import PolicyRefused
    from cohortium.node.home import Home

    node, screen = Home.open(home), Screen(as_json=as_json)
    if not yes and _asked(f"Type '{node.site}' to leave the consortium").strip() != node.site:
        raise PolicyRefused("not confirmed; nothing was done")
    answer = answered(node, {"do": "leave"})
    screen.document(answer)
    screen.result(f"'{node.site}' has left (ledger height {answer['height']}); its chain stays in {node.chain}")


@app.command()
def doctor(
    study: Annotated[
        Path | None, typer.Option("--study", metavar="STUDY.toml", help="Also look at the table, packages and room.")
    ] = None,
    home: HomeDir = HOME,
    as_json: AsJson = False,
) -> None:
    """Everything that would keep this node from doing its part, each with its fix; below 20 s. Changes nothing."""
    from dataclasses import asdict

    from cohortium.node.doctor import examine
    from cohortium.sim.inputs import read_study

    screen = Screen(as_json=as_json)
    found = examine(home, study=read_study(study) if study is not None else None, survey=_survey)
    warned = sum(check.level == "warn" for check in found.checks)
    screen.document(
        {
            "checks": [asdict(check) for check in found.checks],
            "failed": found.failed,
            "warned": warned,
            "seconds": round(found.seconds, 1),
        }
    )
    screen.table(("check", "state", "found", "fix"), [(c.id, c.level, c.found, c.fix) for c in found.checks])
    screen.result(f"{len(found.checks)} checks, {found.failed} failed, {warned} warnings, {found.seconds:.1f} s")
    if found.failed:
        raise typer.Exit(1)


def _sign(screen: Screen, node: Home, founding: Founding, fingerprint: str) -> None:
    """Compare, sign as a founder, or take part as a newcomer; join signatures that come back."""
    from cohortium.errors import UsageError

    kept = node.founding
    if kept is not None and node.site in kept.signatures:
        founding = kept.merged(founding)
    else:
        screen.say(f"consortium of {', '.join(founding.sites)}; ledger '{founding.genesis.engine}'{_hosted(founding)}")
        for card in founding.cards:
            screen.say(f"  {card.site}: {card.contact or 'no contact'}, {card.endpoint or 'dials out'}")
        _compare(founding.fingerprint, fingerprint, "the consortium")
        if node.site in founding.sites:
            founding = founding.signed(node.site, node.keys.ledger)
        elif not founding.complete:
            missing = ", ".join(founding.missing)
            raise UsageError(f"'{node.site}' is no founder here, and {missing} have not signed yet")
    node.keep_founding(founding)
    _show_founding(screen, node, founding)


def _vote(screen: Screen, node: Home, card: Card, raw: bytes, fingerprint: str) -> None:
    screen.say(f"site '{card.site}': {card.contact or 'no contact'}, {card.endpoint or 'dials out only'}")
    screen.say(f"  ledger address 0x{card.address.hex()}")
    _compare(card.fingerprint, fingerprint, f"'{card.site}'")
    answer = answered(node, {"do": "admit", "card": raw.decode()})
    screen.document({**answer, "fingerprint": card.fingerprint})
    _show_vote(screen, answer)


def _show_vote(screen: Screen, answer: dict[str, Any]) -> None:
    words = {"admit": "to admit", "exclude": "to exclude", "rekey": "for the new ledger key of"}
    if answer["did"] == "kept":
        screen.result(f"'{answer['site']}' is a member already; its newer card is kept")
        return
    state = "decided" if answer["decided"] else "more votes are needed"
    counted = f"{answer.get('count', 0)} of {answer.get('need', 0)} votes"
    screen.result(f"voted {words[answer['did']]} '{answer['site']}': {counted}, {state}")


def _show_status(screen: Screen, found: dict[str, Any]) -> None:
    screen.result(f"node '{found['site']}': {'healthy' if found['healthy'] else 'not healthy'}")
    for problem in found["problems"]:
        screen.result(f"problem: {problem}")
    ledger = found["ledger"]
    away = f", {ledger['trouble']}" if ledger["trouble"] else ""
    screen.result(f"ledger '{found['engine']}': block {ledger['height']} {ledger['hash'][:16]}{away}")
    certificate = found["certificate"]
    screen.result(f"{certificate['found']}" + (f": {certificate['fix']}" if certificate["fix"] else ""))
    screen.table(
        ("peer", "path", "heard", "chain", "sent", "received"),
        [
            (
                site,
                one["path"],
                "never" if one["heard_s_ago"] is None else f"{one['heard_s_ago']:.0f} s ago",
                {True: "same", False: "DIFFERS", None: "unknown"}[one["same_chain"]],
                f"{one['sent_bytes']:,}",
                f"{one['received_bytes']:,}",
            )
            for site, one in found["peers"].items()
        ],
    )
    for why, count in found["refused"].items():
        screen.result(f"turned away: {count} x {why}")
    for run in found["runs"]:
        screen.result(f"run {run['run']} {run['name']}: {run['sentence']} ({run['here']} here)")


def _show_founding(screen: Screen, node: Home, founding: Founding) -> None:
    path = node.path / "consortium.json"
    screen.document(
        {
            "consortium": founding.genesis.consortium.hex(),
            "fingerprint": founding.fingerprint,
            "engine": founding.genesis.engine,
            "host": founding.host,
            "founders": list(founding.sites),
            "missing": list(founding.missing),
            "file": str(path),
        }
    )
    screen.result(f"consortium {founding.fingerprint}")
    if founding.complete:
        screen.result(f"founded by {', '.join(founding.sites)}; all have signed")
        screen.say(f"next: send {path} to the others; then everywhere: cohortium node start{_at(node.path)}")
    else:
        screen.result(f"signatures missing: {', '.join(founding.missing)}")
        screen.say(f"next: send {path} to them; each runs: cohortium node approve consortium.json")


def answered(node: Home, request: dict[str, Any]) -> dict[str, Any]:
    """Ask the running node, or do it here where none runs."""
    import contextlib

    from cohortium.node.chain import open_chain
    from cohortium.node.control import NodeAway, ask_node
    from cohortium.node.objections import object_to
    from cohortium.node.statements import make_statement
    from cohortium.node.voting import perform

    if node.holder():
        with contextlib.suppress(NodeAway):  # the home is held by another command, or by a node about to stop
            return ask_node(node.control, request)
    with node.lock("a command about members"), contextlib.closing(open_chain(node)) as ledger:
        does = {"appeal": object_to, "renew": object_to, "answer": make_statement, "sign": make_statement}
        return does.get(request["do"], perform)(ledger, node, request)


def _survey(node: Home) -> dict[str, Any]:
    from cohortium.node.control import ask_node

    return ask_node(node.control, {"do": "survey"}, timeout_s=12.0)


def _compare(ours: str, given: str, what: str) -> None:
    """Refuse unless the fingerprint that was read out is that of the file."""
    from cohortium.errors import PolicyRefused

    said = given or _asked(f"Fingerprint of {what}, as read out on the telephone")
    if "".join(said.replace(":", " ").split()).lower() != ours.replace(" ", ""):
        raise PolicyRefused(
            f"the fingerprint of {what} in the file is another than the one read out",
            hint="do not go on; ask the site to send the file again, and call a number you know",
        )


def _asked(question: str) -> str:
    from cohortium.errors import UsageError

    if not sys.stdin.isatty():
        raise UsageError("this command asks a person; in a script give --fingerprint, or --yes to 'leave'")
    answer: str = typer.prompt(question, err=True)
    return answer


def _site(name: str) -> str:
    from cohortium.core.identity import check_site_name
    from cohortium.errors import UsageError

    try:
        return check_site_name(name)
    except ValueError as error:
        raise UsageError(str(error)) from None


def _hosted(founding: Founding) -> str:
    return f", hosted by {founding.host}" if founding.host else ""


def _at(home: Path) -> str:
    return "" if home.expanduser() == HOME.expanduser() else f" --home {home}"
