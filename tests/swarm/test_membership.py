from cohortium.swarm.membership import Members


def test_site_keeps_its_name_through_a_new_key_and_the_old_address_is_nobody() -> None:
    members = Members()
    members.admit("porto", b"\1" * 20)
    members.admit("porto", b"\2" * 20)
    assert members.name_of(b"\2" * 20) == "porto"
    assert members.name_of(b"\1" * 20) == ""
    assert members.addresses() == {"porto": b"\2" * 20}


def test_excluded_and_left_are_told_apart_and_may_come_back() -> None:
    members = Members()
    for name in ("lund", "porto"):
        members.admit(name, name.encode().ljust(20))
    members.remove("lund", excluded=False)
    members.remove("porto", excluded=True)
    assert members.active == set()
    assert members.excluded == {"porto"}
    members.admit("porto", b"\3" * 20)
    assert members.is_active("porto")
    assert members.excluded == set()
