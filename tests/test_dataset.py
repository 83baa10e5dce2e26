import numpy as np
import pytest

from lstmgen.dataset import load_calibration, load_dataset
from lstmgen.errors import ModelError


def saved(path, **arrays):
    np.savez(path, **arrays)
    return path


def test_npy_is_memory_mapped(tmp_path):
    np.save(tmp_path / "x.npy", np.ones((3, 4, 2), np.float32))
    data = load_dataset(tmp_path / "x.npy", 2)
    assert isinstance(data.x, np.memmap)
    assert data.label is None


def test_npz_brings_labels_and_targets(tmp_path):
    file = saved(tmp_path / "d.npz", x=np.ones((3, 4, 2)), label=np.arange(3), target=np.ones(3))
    data = load_dataset(file, 2)
    assert data.label.tolist() == [0, 1, 2]
    assert data.target.shape == (3,)


def test_calibration_is_x_calib_or_x(tmp_path):
    x = np.ones((3, 4, 2))
    both = saved(tmp_path / "a.npz", x=x, x_calib=2 * x[:2], label=np.arange(3))
    assert load_calibration(both, 2).max() == 2
    assert load_calibration(saved(tmp_path / "b.npz", x=x), 2).max() == 1


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"data": np.ones((3, 4, 2))}, r"holds data; expected the inputs as x"),
        ({"x": np.ones((3, 4, 5))}, r"inputs are \(3, 4, 5\); expected \(sequences, steps, 2\)"),
        ({"x": np.ones((4, 2))}, r"inputs are \(4, 2\)"),
        ({"x": np.ones((0, 4, 2))}, r"inputs are \(0, 4, 2\)"),
        ({"x": np.full((3, 4, 2), np.inf)}, r"24 inputs are NaN or infinite"),
        ({"x": np.array([[["a", "b"]]])}, r"of type <U1; expected numbers"),
        ({"x": np.ones((3, 4, 2)), "label": np.ones(2)}, r"label is \(2,\); expected 3 entries"),
        ({"x": np.ones((3, 4, 2)), "target": np.ones(())}, r"target is \(\); expected 3 entries"),
    ],
)
def test_bad_data(tmp_path, arrays, message):
    with pytest.raises(ModelError, match=message):
        load_dataset(saved(tmp_path / "d.npz", **arrays), 2)


@pytest.mark.parametrize("change", [
    (b"(50,", b"(50\0"), (b"(50, 4, 2)", b"(" * 10), (b"(50, 4", b"9" * 6), (b"'<f8'", b"L'<f8"),
    (b"(50, 4, 2), }  ", b"(50, " + b"9" * 25 + b"), }"), (b"descr", b"\x1b[2Jx"), (b": ", b"\n\n"),
])
def test_damaged_headers(tmp_path, change):
    """numpy reads them as Python, and lets several exceptions of its parser pass."""
    np.save(tmp_path / "odd.npy", np.ones((50, 4, 2)))
    data = (tmp_path / "odd.npy").read_bytes()
    assert change[0] in data
    body, head = data[128:], data[:128].replace(change[0], change[1])
    (tmp_path / "odd.npy").write_bytes(head[:128] + body)
    with pytest.raises(ModelError, match=r"odd.npy: not a readable .npy array") as caught:
        load_dataset(tmp_path / "odd.npy", 2)
    assert str(caught.value).isprintable()


def test_bad_files(tmp_path):
    with pytest.raises(ModelError, match="no such file"):
        load_dataset(tmp_path / "absent.npy", 2)
    np.save(tmp_path / "objects.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(ModelError, match=r"objects.npy: not a readable .npy array"):
        load_dataset(tmp_path / "objects.npy", 2)
    np.save(tmp_path / "short.npy", np.ones((50, 4, 2)))
    data = (tmp_path / "short.npy").read_bytes()
    (tmp_path / "short.npy").write_bytes(data[:200])
    with pytest.raises(ModelError, match=r"short.npy: not a readable .npy array"):
        load_dataset(tmp_path / "short.npy", 2)
