from cohortium.swarm.reasons import REASONS, code_of, word_of


def test_codes_are_unique_and_fit_the_contract() -> None:
    assert len(set(REASONS.values())) == len(REASONS)
    assert all(1 <= code <= 255 for code in REASONS.values())
    assert REASONS["declined"] == 9, "the contract itself ends a declined run with code 9"


def test_words_and_codes_go_both_ways_and_unknown_ones_are_said() -> None:
    assert all(word_of(code_of(word)) == word for word in REASONS)
    assert code_of("cosmic-rays") == REASONS["error"]
    assert word_of(200) == "code 200"
