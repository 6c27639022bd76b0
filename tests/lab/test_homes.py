from cohortium.core.randomness import Chance
from cohortium.lab.homes import make_homes
from cohortium.lab.state import FORMAT, Lab, LabSite
from cohortium.node.home import Home


def lab_of(engine="local", seed=7):
    sites = (
        LabSite(name="lund", home="lund", port=20_001, wires={"n1": 5, "n2": 6, "n3": 7, "anvil": 8}),
        LabSite(name="bonn", home="bonn", port=0, wires={"n1": 1, "n2": 2, "n3": 3, "anvil": 4}),
    )
    return Lab(format=FORMAT, engine=engine, seed=seed, sites=sites, heartbeat_s=0.5, ports={"n1": 9})


def test_every_home_is_of_one_consortium_that_all_have_signed(tmp_path):
    make_homes(tmp_path, lab_of())
    founded = [Home.open(tmp_path / site).founding for site in ("bonn", "lund")]
    assert founded[0].complete
    assert founded[0].to_bytes() == founded[1].to_bytes()
    assert founded[0].sites == ("bonn", "lund")
    assert founded[0].host == "bonn"


def test_patients_secrets_are_those_of_a_simulation_and_all_other_keys_fresh(tmp_path):
    make_homes(tmp_path / "one", lab_of())
    make_homes(tmp_path / "other", lab_of())
    first, second = (Home.open(tmp_path / folder / "lund").keys for folder in ("one", "other"))
    assert first.patients == Chance(7, secrets_from_system=False).secret(32, "patients", "lund")
    assert first.patients == second.patients
    assert first.ledger.address != second.ledger.address
    assert first.certificate != second.certificate


def test_settings_say_where_a_node_listens_how_it_reaches_the_ledger_and_that_it_consents(tmp_path):
    make_homes(tmp_path, lab_of("replicated"))
    lund, bonn = (Home.open(tmp_path / site).settings for site in ("lund", "bonn"))
    assert (lund.network.listen, lund.network.advertise) == ("127.0.0.1:20001", "127.0.0.1:20001")
    assert (bonn.network.listen, bonn.network.advertise) == ("", ""), "it dials out only"
    assert lund.network.heartbeat_s == 0.5
    assert lund.ledger.endpoints == ["https://127.0.0.1:5", "https://127.0.0.1:6", "https://127.0.0.1:7"]
    assert lund.consent.automatic
    assert lund.data.table == "table.csv"


def test_a_chain_that_is_there_already_gives_its_number(tmp_path):
    make_homes(tmp_path, lab_of("evm-rpc"))
    founding = Home.open(tmp_path / "bonn").founding
    assert founding.genesis.chain_id == 31_337
    assert founding.host == ""
