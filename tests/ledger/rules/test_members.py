"""Who belongs."""


def test_founders_are_seated_in_the_order_given(court):
    assert [args["site"] for _, args in court.engine.founding] == court.sites
    assert court.read("n_members") == 5
    assert court.read("active") == 0b11111
    assert court.read("epoch") == 5
