import io
import zipfile

import numpy as np
import pytest
from numpy.lib import format as npy

from cohortium.data.npz_reader import read_npz
from cohortium.errors import DataError


def save(path, **arrays):
    np.savez_compressed(path, **arrays)
    return path


def test_images_and_labels_become_columns(tmp_path):
    images = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5)
    table = read_npz(
        save(tmp_path / "x.npz", images=images, labels=np.array([[0], [1], [1]]), age=np.array([1.0, 2, 3]))
    )
    assert table.names == ("images", "label", "age")
    np.testing.assert_array_equal(table.column("images"), images)
    assert table.column("label").tolist() == [0, 1, 1]


def test_labels_of_several_tasks_get_their_names(tmp_path):
    labels = np.array([[0, 1], [1, np.nan]], dtype=np.float32)
    named = read_npz(
        save(tmp_path / "x.npz", fp=np.zeros((2, 4), np.uint8), labels=labels, tasks=np.array(["p53", "AhR"]))
    )
    assert named.names == ("fp", "p53", "AhR")
    assert np.isnan(named.column("AhR")[1])
    assert read_npz(save(tmp_path / "y.npz", labels=labels)).names == ("label_0", "label_1")


def test_a_published_split_is_kept(tmp_path):
    arrays = {
        f"{part}_{kind}": np.zeros((n, 2, 2), np.uint8) if kind == "images" else np.arange(n)
        for part, n in (("train", 3), ("val", 1), ("test", 2))
        for kind in ("images", "labels")
    }
    table = read_npz(save(tmp_path / "x.npz", **arrays))
    assert table.column("part").tolist() == ["train"] * 3 + ["calibration"] + ["test"] * 2
    assert table.column("label").tolist() == [0, 1, 2, 0, 0, 1]


def test_arrays_of_another_length_are_no_columns(tmp_path):
    table = read_npz(
        save(tmp_path / "x.npz", labels=np.array([0, 1]), version=np.array(3), names=np.array(["a", "b", "c"]))
    )
    assert table.names == ("label",)


def member(path, name, content):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return path


def header(shape, dtype="|u1"):
    file = io.BytesIO()
    npy.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
    return file.getvalue()


def test_object_arrays_are_refused_unread(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, labels=np.array([print, None], dtype=object))
    with pytest.raises(DataError, match=r"x\.npz: array 'labels' holds Python objects; they are never read"):
        read_npz(path)


def test_a_small_file_cannot_claim_a_large_array(tmp_path):
    path = member(tmp_path / "x.npz", "images.npy", header((10**6, 1000, 1000)) + b"abc")
    with pytest.raises(DataError, match=r"array 'images' declares 1000000000000 bytes, the file holds 3"):
        read_npz(path)


def test_the_limit_is_checked_before_allocation(tmp_path):
    path = save(tmp_path / "x.npz", images=np.zeros((4, 100, 100), np.uint8))
    with pytest.raises(DataError, match=r"x\.npz: declares 40000 bytes of arrays; the limit is 39999"):
        read_npz(path, max_bytes=39_999)
    assert read_npz(path, max_bytes=40_000).n_rows == 4


@pytest.mark.parametrize("content", [b"", b"no npy at all", b"\x93NUMPY\x09\x00", header((3,))[:20]])
def test_a_broken_header_is_one_sentence(tmp_path, content):
    with pytest.raises(DataError, match=r"array 'a' has no readable header"):
        read_npz(member(tmp_path / "x.npz", "a.npy", content))


def test_a_stranger_in_the_archive_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"holds 'run\.py', which is no array"):
        read_npz(member(tmp_path / "x.npz", "run.py", "print(1)"))


def test_bytes_that_are_no_archive_are_refused(tmp_path):
    path = tmp_path / "x.npz"
    path.write_bytes(b"PK" + bytes(50))
    with pytest.raises(DataError, match=r"x\.npz: not a readable NPZ file"):
        read_npz(path)


def test_every_truncation_and_flip_is_refused_or_read_as_an_array(tmp_path):
    content = save(tmp_path / "x.npz", labels=np.arange(50), images=np.zeros((50, 3, 3), np.uint8)).read_bytes()
    path = tmp_path / "y.npz"
    for at in range(0, len(content), 3):
        for changed in (content[:at], content[:at] + bytes([content[at] ^ 0x55]) + content[at + 1 :]):
            path.write_bytes(changed)
            try:
                assert read_npz(path).n_rows in (50, 0)
            except DataError:
                continue


def test_images_of_another_kind_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"images of shape \(2, 3\) and type uint8; expected \[n, h, w\]"):
        read_npz(save(tmp_path / "x.npz", images=np.zeros((2, 3), np.uint8), labels=np.zeros(2)))
    with pytest.raises(DataError, match="type int64"):
        read_npz(save(tmp_path / "x.npz", images=np.zeros((2, 3, 3), np.int64)))


def test_an_archive_without_rows_is_refused(tmp_path):
    with pytest.raises(DataError, match="holds no array with rows"):
        read_npz(save(tmp_path / "x.npz", version=np.array(1)))
