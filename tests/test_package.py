"""The wheel carries templates and targets, and works where the checkout is not."""

import shutil
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest

from conftest import ROOT


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The bin folder of a fresh environment with the wheel, its dependencies borrowed."""
    folder = tmp_path_factory.mktemp("wheel")
    build = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", build, str(folder)],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )
    wheel = folder / done.stdout.split()[-1]
    environment = folder / "venv"
    venv.create(environment, with_pip=False)
    bin_folder = environment / "bin"
    site = next((environment / "lib").glob("python*/site-packages"))
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", site, wheel],
        check=True,
    )
    borrowed = Path(np.__file__).parents[1]
    (site / "borrowed.pth").write_text(f"{borrowed}\n")
    return bin_folder


def lstmgen(bin_folder: Path, *args: str, cwd: Path) -> str:
    return subprocess.run(
        [bin_folder / "python", "-m", "lstmgen", *args],
        cwd=cwd, capture_output=True, text=True, check=True,
    ).stdout


def test_the_wheel_knows_its_targets(installed, tmp_path):
    assert "cortex-m4" in lstmgen(installed, "targets", cwd=tmp_path)


def test_a_stray_pyproject_beside_the_package_does_not_matter(installed, tmp_path):
    site = next((installed.parent / "lib").glob("python*/site-packages"))
    stray = [site / "pyproject.toml", site / "targets", site / "templates"]
    stray[0].write_text("")
    stray[1].mkdir()
    stray[2].mkdir()
    try:
        assert "cortex-m4" in lstmgen(installed, "targets", cwd=tmp_path)
    finally:
        stray[0].unlink()
        stray[1].rmdir()
        stray[2].rmdir()


def test_the_wheel_builds_what_the_checkout_builds(installed, tmp_path):
    model = ROOT / "examples" / "weather" / "model.npz"
    lstmgen(installed, "build", str(model), "--target", "arm", "-o", "wheel", cwd=tmp_path)
    here = [sys.executable, "-m", "lstmgen", "build", str(model), "--target", "arm", "-o"]
    subprocess.run([*here, str(tmp_path / "checkout")], cwd=ROOT, check=True, capture_output=True)
    files = sorted(path.name for path in (tmp_path / "wheel").iterdir())
    assert len(files) == 10
    for name in files:
        assert (tmp_path / "wheel" / name).read_bytes() == (
            tmp_path / "checkout" / name
        ).read_bytes()


def other_pythons() -> list[str]:
    """Return the other Pythons on this machine that have what lstmgen needs."""
    names = (f"python3.{minor}" for minor in range(11, 20) if minor != sys.version_info.minor)
    found = [path for path in map(shutil.which, names) if path is not None]
    needed = "import click, jinja2, numpy"
    return [
        path
        for path in found
        if subprocess.run([path, "-c", needed], capture_output=True).returncode == 0
    ]


def test_every_python_writes_the_same_bytes(tmp_path):
    pythons = other_pythons()
    if not pythons:
        pytest.skip("no other Python with click, jinja2 and numpy on this machine")
    examples = sorted(path.parent for path in (ROOT / "examples").glob("*/model.npz"))
    assert examples
    for example in examples:
        arguments = ["build", example / "model.npz", "--calibration", example / "data.npz"]
        written = []
        for at, python in enumerate([sys.executable, *pythons]):
            folder = tmp_path / f"{example.name}{at}"
            subprocess.run(
                [python, "-B", "-m", "lstmgen", *arguments, "--target", "arm", "-o", folder],
                cwd=ROOT, capture_output=True, check=True,
            )
            written.append({path.name: path.read_bytes() for path in folder.iterdir()})
        assert all(files == written[0] for files in written)
