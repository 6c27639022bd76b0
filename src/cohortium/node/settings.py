"""`NodeSettings`: what one hospital says about its own node, read from `node.toml` in its home.

Nothing here is agreed with others, so nothing here is in any digest; what a study may do at this site
(`[consent]`) can only be stricter than the study. Unknown keys are errors with their line.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from cohortium.core.identity import check_site_name
from cohortium.core.study_text import MAX_STUDY_BYTES, parse_plan
from cohortium.errors import Problem, StudyError, UsageError
from cohortium.transport.directory import check_endpoint

__all__ = [
    "BudgetPlan",
    "ConsentPlan",
    "DataPlan",
    "Engine",
    "LedgerPlan",
    "LimitsPlan",
    "NetworkPlan",
    "NodePlan",
    "NodeSettings",
    "check_settings",
    "check_text",
    "read_settings",
    "settings_text",
    "split_endpoint",
]

_URL = re.compile(r"https?://[A-Za-z0-9.\[\]:-]+(?:/[A-Za-z0-9._/-]*)?")


def split_endpoint(endpoint: str) -> tuple[str, int]:
    """Host (an IPv6 one without its brackets) and port of "host:port"."""
    host, _, port = endpoint.rpartition(":")
    return host.strip("[]"), int(port)


def check_text(text: str) -> str:
    """A line of text without control characters. Raises ValueError."""
    if not text.isprintable():
        raise ValueError("must be one line of printable text")
    return text


def _check_url(text: str) -> str:
    if not _URL.fullmatch(text):
        raise ValueError(f"must be a URL like https://etcd.porto.example:2379, got {text!r:.80}")
    return text


def _check_proxy(text: str) -> str:
    return _check_address(text.removeprefix("http://").rstrip("/"))


def _check_address(text: str) -> str:
    return text and check_endpoint(text)


def _check_listen(text: str) -> str:
    """Like an address; port 0 takes any free one."""
    _check_address(f"{text.removesuffix(':0')}:1" if text.endswith(":0") else text)
    return text


Engine = Literal["local", "replicated", "evm-rpc"]
SiteName = Annotated[str, AfterValidator(check_site_name)]
Address = Annotated[str, AfterValidator(_check_address)]
Line = Annotated[str, Field(max_length=200), AfterValidator(check_text)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Url = Annotated[str, Field(max_length=300), AfterValidator(_check_url)]
Name = Annotated[str, Field(min_length=1, max_length=200)]


class _Plan(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class NodePlan(_Plan):
    """Whose node this is. contact: a person, shown to the other sites. passphrase_file: opens the keys at start."""

    site: SiteName
    contact: Line = ""
    passphrase_file: Line = ""


class NetworkPlan(_Plan):
    """How this node is reached. listen empty: it only dials out. advertise: the address other sites dial.

    heartbeat_s: how often this node tells its peers how far it is.
    """

    listen: Annotated[str, AfterValidator(_check_listen)] = ""
    advertise: Address = ""
    relays: Annotated[list[SiteName], Field(max_length=8)] = []
    relay_for_others: bool = False
    proxy: Annotated[str, Field(max_length=300), AfterValidator(_check_proxy)] = ""
    heartbeat_s: Annotated[float, Field(ge=0.1, le=300)] = 15.0


class LedgerPlan(_Plan):
    """Where the ledger is. engine: what `node found` founds. host: the site that hosts `local`, if not the founding's.

    certificate, key, authority: files of this node's client certificate for `replicated` over https.
    """

    engine: Engine = "local"
    endpoints: Annotated[list[Url], Field(max_length=16)] = []
    host: Annotated[str, AfterValidator(lambda name: name and check_site_name(name))] = ""
    certificate: Line = ""
    key: Line = ""
    authority: Line = ""

    @model_validator(mode="after")
    def _all_files_or_none(self) -> LedgerPlan:
        named = [bool(self.certificate), bool(self.key), bool(self.authority)]
        if any(named) and not all(named):
            raise ValueError("certificate, key and authority are named together, or none of them")
        return self


class LimitsPlan(_Plan):
    """What this node may use of its machine."""

    max_update_mb: Annotated[int, Field(ge=1, le=65_536)] = 2048
    max_parallel_runs: Annotated[int, Field(ge=1, le=64)] = 2
    disk_reserve_gb: Annotated[float, Field(ge=0, le=100_000)] = 5.0
    train_threads: Annotated[int, Field(ge=1, le=1024)] = 1


class ConsentPlan(_Plan):
    """The site's own veto. models, strategies: None takes any; code_digests: own code is taken by digest only.

    min_cohort: fewest patients of this site that may take part. max_epsilon_per_run: also refuses a run without any.
    generators: of synthetic patients, None leaves them to `models`; generators_from: sites that may ask for one;
    min_cohort_generator: fewest patients of this site that may teach one.
    """

    automatic: bool = False
    models: list[Name] | None = None
    generators: list[Name] | None = None
    generators_from: Annotated[list[SiteName], Field(max_length=128)] | None = None
    strategies: list[Name] | None = None
    code_digests: list[Digest] = []
    require_secure_aggregation: bool = False
    min_sites: Annotated[int, Field(ge=2, le=128)] = 2
    min_cohort: Annotated[int, Field(ge=1, le=10_000_000)] = 1
    min_cohort_generator: Annotated[int, Field(ge=1, le=10_000_000)] = 1
    max_epsilon_per_run: Annotated[float, Field(gt=0)] | None = None


class BudgetPlan(_Plan):
    """What this site's patients may lose to differential privacy. max_epsilon_total: over all studies on them.

    when_short: `decline` a run that cannot be paid for whole, or take part and `stop`. accept_weak_privacy: allow runs
    above epsilon 8, where a fair coin's posterior can move to 99.97 %.
    """

    max_epsilon_total: Annotated[float, Field(gt=0, le=1000)] = 10.0
    accept_weak_privacy: bool = False
    when_short: Literal["decline", "stop"] = "decline"


class DataPlan(_Plan):
    """This site's own table, and the mapping of its columns to the agreed ones (cohort.toml). Paths; neither leaves."""

    table: Line = ""
    mapping: Line = ""


class NodeSettings(_Plan):
    """All of `node.toml`. Sections as in the file."""

    node: NodePlan
    network: NetworkPlan = NetworkPlan()
    ledger: LedgerPlan = LedgerPlan()
    limits: LimitsPlan = LimitsPlan()
    consent: ConsentPlan = ConsentPlan()
    data: DataPlan = DataPlan()
    budget: BudgetPlan = BudgetPlan()

    @model_validator(mode="after")
    def _other_sites_relay(self) -> NodeSettings:
        relays = self.network.relays
        if self.node.site in relays or len(set(relays)) < len(relays):
            raise ValueError(f"network.relays must be different other sites, got {', '.join(relays)}")
        return self

    @property
    def site(self) -> str:
        """The site's name."""
        return self.node.site


def read_settings(path: Path) -> NodeSettings:
    """The settings in a file. Raises StudyError with every problem and its line, UsageError where it cannot be read."""
    try:
        with path.open("rb") as file:
            text = file.read(MAX_STUDY_BYTES + 1).decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"cannot read settings '{path}': {error.strerror}") from None
    except UnicodeDecodeError:
        raise StudyError([Problem("", "the file is not UTF-8 text")], path=str(path)) from None
    return parse_plan(text, NodeSettings, path=str(path))


def check_settings(text: str) -> None:
    """Refuse values from a command line that `node.toml` could not hold. Raises UsageError with all of them."""
    try:
        parse_plan(text, NodeSettings, path="")
    except StudyError as error:
        raise UsageError("; ".join(f"{one.key}: {one.message}" for one in error.problems)) from None


def settings_text(
    *, site: str, listen: str = "", advertise: str = "", contact: str = "", passphrase_file: str = "", engine: str = ""
) -> str:
    """A commented `node.toml`. Every value it leaves out stands as a comment with its default."""
    said: dict[str, dict[str, Any]] = {
        "node": {"site": site, "contact": contact, "passphrase_file": passphrase_file},
        "network": {"listen": listen, "advertise": advertise},
        "ledger": {"engine": engine},
    }
    lines = ["# Settings of this node only; nothing here is agreed with others. Reference: docs/reference/node-toml.md"]
    for section, field in NodeSettings.model_fields.items():
        plan = field.annotation
        lines += ["", f"[{section}]"]
        if not isinstance(plan, type) or not issubclass(plan, BaseModel):
            raise TypeError(f"section {section} is no plan")
        for key, one in plan.model_fields.items():
            value = said.get(section, {}).get(key)
            if value:
                lines.append(f"{key} = {json.dumps(value)}")
            else:
                default = "" if one.is_required() or one.default is None else json.dumps(one.default)
                lines.append(f"# {key} = {default}" if default else f"# {key} is not set")
    return "\n".join(lines) + "\n"
