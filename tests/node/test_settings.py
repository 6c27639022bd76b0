"""node.toml is read whole or refused with every problem at its line; what `init` writes is read again."""

import json
import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from cohortium.core.study_text import parse_plan
from cohortium.errors import StudyError, UsageError
from cohortium.node.settings import NodeSettings, check_settings, read_settings, settings_text, split_endpoint


def parse(text):
    return parse_plan(text, NodeSettings, path="node.toml")


def refusal(text):
    with pytest.raises(StudyError) as caught:
        parse(text)
    return str(caught.value)


def test_the_file_of_the_design_is_read():
    settings = parse(
        'node = { site = "porto" }\n'
        'network = { listen = "0.0.0.0:443", advertise = "swarm.porto.example:443", relays = ["lund", "bonn"],'
        ' relay_for_others = true, proxy = "" }\n'
        'ledger = { engine = "replicated", endpoints = ["https://etcd.porto.example:2379"], host = "" }\n'
        "limits = { max_update_mb = 2048, max_parallel_runs = 2, disk_reserve_gb = 5, train_threads = 1 }\n"
        '[consent]\nautomatic = false\nmodels = ["logistic", "cox"]\ncode_digests = []\n'
        "require_secure_aggregation = true\nmax_epsilon_per_run = 3.0\n"
    )
    assert settings.site == "porto"
    assert settings.network.relays == ["lund", "bonn"]
    assert settings.consent.models == ["logistic", "cox"]


def test_defaults_take_no_port_and_need_a_person():
    settings = parse('[node]\nsite = "porto"\n')
    assert (settings.network.listen, settings.consent.automatic, settings.ledger.engine) == ("", False, "local")


def test_an_unknown_key_is_refused_with_its_line_and_the_nearest_name():
    text = refusal('[node]\nsite = "porto"\n[consent]\nautomatik = true\n')
    assert text == "node.toml:4 consent.automatik: unknown key 'automatik'; did you mean 'automatic'?"


def test_every_problem_is_said_at_once_in_the_order_of_the_file():
    lines = refusal('[node]\nsite = "Porto"\n[network]\nlisten = "443"\nproxy = "a b"\n[limits]\ntrain_threads = 0\n')
    assert [line.split(" ")[0] for line in lines.splitlines()] == [f"node.toml:{n}" for n in (2, 4, 5, 7)]


@pytest.mark.parametrize("listen", ["0.0.0.0:443", "127.0.0.1:0", "[::1]:8443", ""])
def test_addresses_to_listen_on(listen):
    assert parse(f'[node]\nsite = "porto"\n[network]\nlisten = "{listen}"\n').network.listen == listen


@pytest.mark.parametrize("advertise", ["porto", "porto:0", "porto:70000", "http://porto:443"])
def test_addresses_nobody_can_dial_are_refused(advertise):
    assert "network.advertise" in refusal(f'[node]\nsite = "porto"\n[network]\nadvertise = "{advertise}"\n')


def test_a_site_cannot_be_its_own_relay():
    assert "relays" in refusal('[node]\nsite = "porto"\n[network]\nrelays = ["porto"]\n')


def test_broken_toml_is_named_with_its_line():
    assert refusal("[node]\nsite = \n").startswith("node.toml:2: not valid TOML")


def test_what_init_writes_is_read_again_and_names_every_key():
    text = settings_text(site="porto", listen="0.0.0.0:443", advertise="porto.example:443", contact="it, tel. 1")
    settings = parse(text)
    assert (settings.site, settings.network.advertise, settings.node.contact) == (
        "porto",
        "porto.example:443",
        "it, tel. 1",
    )
    for section, field in NodeSettings.model_fields.items():
        assert issubclass(field.annotation, BaseModel)
        part = text.split(f"[{section}]\n")[1].split("\n[")[0]
        assert [key for key in field.annotation.model_fields if f"{key} " not in part] == []


def test_a_commented_default_is_the_default():
    text = settings_text(site="porto")
    opened = "\n".join(line.removeprefix("# ") if " = " in line else line for line in text.splitlines()[1:])
    assert parse(opened) == parse('[node]\nsite = "porto"\n')


def test_every_key_stands_in_the_reference_with_its_default():
    page = (Path(__file__).parents[2] / "docs" / "reference" / "node-toml.md").read_text(encoding="utf-8")
    for section, field in NodeSettings.model_fields.items():
        part = page.split(f"\n## [{section}]\n")[1].split("\n## ")[0]
        for key, one in field.annotation.model_fields.items():
            default = one.get_default()
            shown = "(required)" if one.is_required() else json.dumps(default) if default is not None else r"\w+"
            written = re.escape(shown) if shown != r"\w+" else shown
            assert re.search(rf"^\| `{key}` \| {written} \|", part, re.MULTILINE), f"{section}.{key} = {shown}"


def test_values_of_a_command_line_are_refused_as_usage():
    with pytest.raises(UsageError, match=r"network\.advertise: endpoint must be host:port"):
        check_settings(settings_text(site="porto", advertise="porto"))


def test_a_file_that_is_missing_or_no_text_is_refused(tmp_path):
    with pytest.raises(UsageError, match="cannot read settings"):
        read_settings(tmp_path / "node.toml")
    (tmp_path / "node.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(StudyError, match="UTF-8"):
        read_settings(tmp_path / "node.toml")


def test_an_endpoint_is_split():
    assert split_endpoint("porto.example:443") == ("porto.example", 443)
    assert split_endpoint("[::1]:8443") == ("::1", 8443)
