"""Fractions reach the listener of this thread, parts scale them, silence costs nothing."""

import threading

from cohortium.core.progress import listening, part, tell


def test_without_a_listener_nothing_happens():
    tell(0.5)
    with part(0, 2):
        tell(0.5)


def test_parts_scale_what_is_told_inside_them():
    heard = []
    with listening(heard.append):
        with part(0, 2):
            tell(0.5)
        with part(1, 2), part(1, 2):
            tell(1.0)
        tell(1.0)
    tell(0.1)
    assert heard == [0.25, 1.0, 1.0]


def test_another_thread_has_its_own_listener():
    heard = []
    with listening(heard.append):
        thread = threading.Thread(target=tell, args=(0.5,))
        thread.start()
        thread.join()
    assert heard == []
