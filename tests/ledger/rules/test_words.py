"""The numbers of the rules are those of the contract's source."""

import re

from cohortium.ledger.contracts import source
from cohortium.ledger.rules import words

CONSTANTS = dict(re.findall(r"^([A-Z][A-Z_]*): constant\(uint256\) = ([\d_]+)", source().decode(), flags=re.M))


def test_every_word_has_the_contracts_number():
    assert len(words.__all__) > 40
    for name in words.__all__:
        assert getattr(words, name) == int(CONSTANTS[name].replace("_", "")), name


def test_reasons_are_the_numbers_their_letters_make():
    reasons = {name: int(value) for name, value in CONSTANTS.items() if name.startswith("R_")}
    assert len(reasons) == 27
    for name, number in reasons.items():
        word = name.removeprefix("R_").lower()
        assert number.to_bytes(len(word), "big") == word.encode()
