"""lstmgen.npz: exact and reproducible out, bounded and never unpickling in."""

import io
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lstmgen.errors import LstmgenError, ModelError, OutputError
from lstmgen.npz import MAX_ARRAYS, npz_bytes, read_npz, write_npz
from lstmgen.weights import weights_of

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

ARRAYS = {
    "matrix": np.arange(6.0).reshape(2, 3),
    "fortran": np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
    "big_endian": np.array([1.5, -2.0], ">f8"),
    "half": np.array([0.5, 2.0], np.float16),
    "empty": np.zeros((0, 3), np.float32),
    "number": np.array(7),
    "flags": np.array([True, False]),
    "text": np.array("häß", dtype=np.str_),
    "no_text": np.array(""),
}


def archive(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return path


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def lines_of_refusal(path: Path) -> list[str]:
    """Return the lines of the error that reading gives, none if the file is read."""
    try:
        assert all(isinstance(array, np.ndarray) for array in read_npz(path).values())
    except LstmgenError as error:
        return str(error).splitlines()
    return []


def header(text: str, version: bytes = b"\x01\x00") -> bytes:
    encoded = text.encode("latin-1")
    return b"\x93NUMPY" + version + struct.pack("<H", len(encoded)) + encoded


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_npz(tmp_path / "a.npz", ARRAYS)
    read = read_npz(tmp_path / "a.npz")
    assert list(read) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert read[name].dtype == array.dtype.newbyteorder("=")
        assert read[name].shape == array.shape
        np.testing.assert_array_equal(read[name], array)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_numpys_own_files_are_read(tmp_path: Path, save: object) -> None:
    save(tmp_path / "a.npz", **ARRAYS)  # type: ignore[operator]
    for name, array in read_npz(tmp_path / "a.npz").items():
        np.testing.assert_array_equal(array, ARRAYS[name])


def test_numpy_reads_what_is_written(tmp_path: Path) -> None:
    write_npz(tmp_path / "a.npz", ARRAYS)
    with np.load(tmp_path / "a.npz") as read:
        for name in read.files:
            np.testing.assert_array_equal(read[name], ARRAYS[name])


@settings(max_examples=50, deadline=None)
@given(hnp.arrays(st.sampled_from([np.float32, np.float64, np.int64]), hnp.array_shapes()))
def test_any_array_survives(tmp_path_factory: pytest.TempPathFactory, array: np.ndarray) -> None:
    path = tmp_path_factory.getbasetemp() / "any.npz"
    write_npz(path, {"a": array})
    np.testing.assert_array_equal(read_npz(path)["a"], array, strict=True)


def test_the_same_arrays_give_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    first = npz_bytes(ARRAYS)
    monkeypatch.setattr("time.time", lambda: 2e9)
    assert npz_bytes({name: array.copy() for name, array in ARRAYS.items()}) == first


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.npz").mkdir()
    with pytest.raises(OutputError, match=r"a\.npz cannot be written: "):
        write_npz(tmp_path / "a.npz", ARRAYS)
    with pytest.raises(OutputError, match=r"b\.npz cannot be written: No such file"):
        write_npz(tmp_path / "nowhere" / "b.npz", ARRAYS)
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


def test_object_arrays_are_refused_and_never_unpickled(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (tmp_path / "touched",))  # type: ignore[return-value]

    np.savez(tmp_path / "a.npz", good=np.zeros(2), bad=np.array([Bomb()], dtype=object))
    with pytest.raises(ModelError, match=r"a\.npz: bad holds pickled Python objects, which are"):
        read_npz(tmp_path / "a.npz")
    assert not (tmp_path / "touched").exists()


def test_the_stored_object_array_is_refused() -> None:
    if not DATA.is_dir():
        pytest.skip("the test data folder ../shared/data is absent")
    with pytest.raises(ModelError, match=r"lstm0_W holds pickled Python objects"):
        read_npz(DATA / "importers" / "refuse_npz_object_array.npz")


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"none\.npz: no such file"):
        read_npz(tmp_path / "none.npz")
    with pytest.raises(ModelError, match=r"is not a regular file; expected an \.npz file"):
        read_npz(tmp_path)


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (b"", r"is not an \.npz file \(no zip archive\); write it with np\.savez"),
        (b"TFL3 and more", r"is not an \.npz file"),
        (b"\x89HDF\r\n\x1a\n", r"is an HDF5 file; expected an \.npz file.*get_weights"),
        (b"\x93NUMPY\x01\x00", r"is a single \.npy array; expected"),
        (b"\x80\x04\x95", r"is a pickle; expected an \.npz file.*state_dict"),
        (b"PK\x03\x04 and no directory", r"is damaged or truncated \('File is not a zip file'\)"),
    ],
)
def test_other_files_are_named(tmp_path: Path, start: bytes, message: str) -> None:
    (tmp_path / "a.npz").write_bytes(start)
    with pytest.raises(ModelError, match=message):
        read_npz(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("member", "message"),
    [
        ("model/data.pkl", r"is a PyTorch file; expected an \.npz file.*state_dict"),
        ("model.weights.h5", r"is a Keras file; expected an \.npz file.*get_weights"),
        ("notes.txt", r"member 'notes\.txt' is no \.npy array; expected what np\.savez writes"),
        ("a\nb.npy", r"member 'a\\nb\.npy' is no \.npy array"),
    ],
)
def test_other_archives_are_named(tmp_path: Path, member: str, message: str) -> None:
    path = archive(tmp_path / "a.npz", {member: b"anything"})
    with pytest.raises(ModelError, match=message):
        read_npz(path)


def test_all_odd_members_are_listed(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.npz", {"one.txt": b"", "two.txt": b"", "three.npy": b""})
    with pytest.raises(ModelError) as caught:
        read_npz(path)
    assert len(str(caught.value).splitlines()) == 2


def test_a_name_twice_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
        file.writestr("w.npy", npy(np.zeros(1)))
        with pytest.warns(UserWarning, match="Duplicate name"):
            file.writestr("w.npy", npy(np.ones(1)))
    with pytest.raises(ModelError, match=r"member 'w\.npy' occurs 2 times; expected once"):
        read_npz(tmp_path / "a.npz")


def test_encrypted_and_oddly_packed_members_are_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.npz", {"w.npy": npy(np.zeros(3))})
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\x01\x02")
    data[at + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(ModelError, match=r"member 'w\.npy' is encrypted; write it without"):
        read_npz(path)
    path = archive(tmp_path / "b.npz", {"w.npy": npy(np.zeros(3))}, compression=zipfile.ZIP_LZMA)
    with pytest.raises(ModelError, match=r"member 'w\.npy' is packed in an unknown way; expected"):
        read_npz(path)


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, a=np.zeros(200_000), b=np.zeros(200_000))
    assert path.stat().st_size < 10_000
    with pytest.raises(ModelError, match=r"unpacks to 3200\d+ bytes; expected at most 2000000"):
        read_npz(path, limit=2_000_000)


def test_an_understated_size_is_found_out(tmp_path: Path) -> None:
    """The directory says 100 bytes, the stream goes on: nothing beyond the 100 is unpacked."""
    path = tmp_path / "a.npz"
    np.savez_compressed(path, a=np.zeros(1_000_000))
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\x01\x02")
    data[at + 24 : at + 28] = struct.pack("<I", 100)
    path.write_bytes(data)
    with pytest.raises(ModelError, match=r"a has 0 bytes; expected 8000000|damaged or truncated"):
        read_npz(path)


def test_an_overstated_shape_is_found_out(tmp_path: Path) -> None:
    text = "{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }\n"
    path = archive(tmp_path / "a.npz", {"w.npy": header(text) + bytes(16)})
    with pytest.raises(ModelError, match=r"w has 16 bytes; expected 8000000000000 for its shape"):
        read_npz(path)


def test_too_many_arrays(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.npz", {f"{i}.npy": b"" for i in range(MAX_ARRAYS + 1)})
    with pytest.raises(ModelError, match=r"holds 4097 arrays; expected at most 4096"):
        read_npz(path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"w is no \.npy array of version 1 to 3"),
        (b"\x93NUMPY\x09\x00aaaa", r"w is no \.npy array of version 1 to 3"),
        (header("{'descr': "), r"w has a damaged \.npy header; write the file anew"),
        (header("(" * 3000), r"w has a damaged \.npy header"),
        (header("'\\d'"), r"w has a damaged \.npy header"),
        (header("{'descr': '<f8', 'shape': ()}"), r"w has a damaged \.npy header"),
        (
            header("{'descr': '<f8', 'fortran_order': 0, 'shape': ()}"),
            r"w has a damaged \.npy header",
        ),
        (
            header("{'descr': '<f8', 'fortran_order': False, 'shape': (-1,)}"),
            r"w has a damaged \.npy header",
        ),
        (
            header("{'descr': '<f8', 'fortran_order': False, 'shape': (True,)}"),
            r"w has a damaged \.npy header",
        ),
        (header(" " * 20_000), r"w has a header of 20000 bytes; expected at most 10000"),
        (
            header("{'descr': '<f8', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,1)}"),
            r"w has 9 dimensions; expected at most 8",
        ),
        (
            header("{'descr': '<c16', 'fortran_order': False, 'shape': (1,)}"),
            r"w holds values of type '<c16'; expected booleans, integers, floats of 16 to 64",
        ),
        (
            header("{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (1,)}"),
            r"w holds values of type \"\[\('a', '<f8'\)\]\"",
        ),
        (
            header("{'descr': 'f4,O', 'fortran_order': False, 'shape': (1,)}"),
            r"w holds pickled Python objects",
        ),
        (
            header("{'descr': '<U1', 'fortran_order': False, 'shape': ()}") + b"\xff" * 4,
            r"w holds text that is no Unicode",
        ),
    ],
)
def test_damaged_arrays_are_named(tmp_path: Path, data: bytes, message: str) -> None:
    path = archive(tmp_path / "a.npz", {"w.npy": data})
    with pytest.raises(ModelError, match=rf"a\.npz: {message}"):
        read_npz(path)


def test_no_permission_and_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_npz(tmp_path / "a.npz", ARRAYS)

    def fail(error: type[Exception]) -> None:
        def raise_it(*_: object, **__: object) -> None:
            raise error

        monkeypatch.setattr(Path, "open", raise_it)

    fail(PermissionError)
    with pytest.raises(ModelError, match=r"a\.npz: permission denied"):
        read_npz(tmp_path / "a.npz")
    fail(MemoryError)
    with pytest.raises(ModelError, match=r"a\.npz does not fit into this machine's memory"):
        read_npz(tmp_path / "a.npz")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_every_truncation_is_refused(tmp_path: Path, save: object) -> None:
    save(tmp_path / "a.npz", w=np.arange(5.0), text=np.array("abc"))  # type: ignore[operator]
    data = (tmp_path / "a.npz").read_bytes()
    for length in range(len(data)):
        (tmp_path / "a.npz").write_bytes(data[:length])
        assert len(lines_of_refusal(tmp_path / "a.npz")) == 1


@settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    compressed=st.booleans(),
    damage=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1),
)
def test_flipped_bits_are_read_or_refused(
    tmp_path: Path, compressed: bool, damage: list[tuple[float, int]]
) -> None:
    save = np.savez_compressed if compressed else np.savez
    save(tmp_path / "a.npz", w=np.arange(5.0), text=np.array("abc"))
    data = bytearray((tmp_path / "a.npz").read_bytes())
    for where, flip in damage:
        data[int(where * len(data))] ^= flip
    (tmp_path / "a.npz").write_bytes(data)
    lines = lines_of_refusal(tmp_path / "a.npz")
    assert all(line.startswith(str(tmp_path)) for line in lines)


def test_every_single_bit_of_the_directory(tmp_path: Path) -> None:
    """The zip's directory decides how much is read and how: each of its bits, flipped."""
    path = tmp_path / "a.npz"
    np.savez_compressed(path, w=np.arange(5.0))
    data = path.read_bytes()
    for at in range(data.index(b"PK\x01\x02"), len(data)):
        for bit in range(8):
            path.write_bytes(data[:at] + bytes([data[at] ^ (1 << bit)]) + data[at + 1 :])
            assert len(lines_of_refusal(path)) <= 1


def test_a_long_name_is_refused_in_a_short_line(tmp_path: Path) -> None:
    path = tmp_path / "m.npz"
    np.savez(path, **{"W" * 201: np.zeros(1)})
    with pytest.raises(ModelError, match=r"has a name of 205 characters; expected") as caught:
        read_npz(path)
    assert len(str(caught.value)) < len(str(path)) + 200


def test_the_reason_of_a_damaged_archive_is_short(tmp_path: Path) -> None:
    """zipfile quotes both of two names that differ."""
    path = tmp_path / "m.npz"
    np.savez(path, **{"W" * 190: np.zeros(1)})
    data = bytearray(path.read_bytes())
    data[40] ^= 1  # in the name of the local header
    path.write_bytes(data)
    with pytest.raises(ModelError, match="damaged") as caught:
        read_npz(path)
    assert len(str(caught.value)) < len(str(path)) + 250


def test_signalling_nans_are_refused_without_a_warning(tmp_path: Path) -> None:
    values = np.frombuffer(b"\x01\x00\xa0\x7f" * 2, np.float32)
    with pytest.raises(ModelError, match="W holds 2 values that are NaN"):
        weights_of(values, "W")


@pytest.mark.parametrize("descr", [">f4", ">i8", ">U3", "<f4"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_foreign_byte_orders_become_native(tmp_path: Path, descr: str, order: str) -> None:
    values = np.array([[1, 2, 3], [4, 5, 6]]).astype(descr)
    np.savez(tmp_path / "m.npz", a=np.asarray(values, order=order))  # type: ignore[call-overload]
    got = read_npz(tmp_path / "m.npz")["a"]
    np.testing.assert_array_equal(got, values)
    assert got.dtype.isnative
    assert got.flags.c_contiguous
    assert got.flags.writeable


def test_a_large_array_in_fortran_order_is_refused(tmp_path: Path, monkeypatch: Any) -> None:
    """It would be held twice."""
    monkeypatch.setattr("lstmgen.npz._MAX_FORTRAN", 100)
    np.savez(tmp_path / "m.npz", a=np.asfortranarray(np.zeros((4, 4))))
    with pytest.raises(ModelError, match=r"a has 128 bytes in Fortran order; expected at most 100"):
        read_npz(tmp_path / "m.npz")
