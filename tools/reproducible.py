"""Makes artefacts and C in many environments, and compares their hashes with the golden ones.

    make reproducible        # or: python tools/reproducible.py [--python PATH ...] [--keep DIR]

Every Python from 3.11 on that is found (in PATH, and in pyenv) gets two environments: with the
oldest numpy that lstmgen supports and that has a wheel for it, and with the newest. In each,
tests/golden_hashes.py runs with one thread of linear algebra and with more, and with the
instructions of old processors alone. Exit 1 if one hash differs from tests/golden/hashes.json.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "tests" / "golden_hashes.py"
GOLDEN = ROOT / "tests" / "golden" / "hashes.json"
OLDEST_PYTHON = (3, 11)

FIRST_WITH_WHEELS = {(3, 13): "2.1.0", (3, 14): "2.3.2"}
"""By Python, the first numpy that has wheels for it, where older ones are supported."""

WAYS: dict[str, dict[str, str]] = {
    "1 thread": {"OPENBLAS_NUM_THREADS": "1"},
    "2 threads": {"OPENBLAS_NUM_THREADS": "2"},
    "7 threads": {"OPENBLAS_NUM_THREADS": "7"},
    "Haswell's linear algebra": {"OPENBLAS_CORETYPE": "Haswell"},
    "SSE only": {
        "OPENBLAS_CORETYPE": "Nehalem",
        "NPY_DISABLE_CPU_FEATURES": "AVX2 FMA3 AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL "
        "AVX512_ICL AVX512_SPR X86_V3 X86_V4",
    },
}
"""By what is special about a run, the environment variables that make it so."""


def pythons() -> list[str]:
    """Return the interpreters from OLDEST_PYTHON on, one a version."""
    names = [f"python3.{minor}" for minor in range(OLDEST_PYTHON[1], 30)]
    found = [path for name in names if (path := shutil.which(name))]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found += [str(path) for path in sorted(pyenv.glob("3.*/bin/python"))]
    by_version: dict[tuple[int, ...], str] = {}
    for path in [sys.executable, *found]:
        version = _version(path)
        if version >= OLDEST_PYTHON:
            by_version.setdefault(version, path)
    return [by_version[version] for version in sorted(by_version)]


def _version(python: str) -> tuple[int, ...]:
    """Return (3, 12) of an interpreter; () of one that does not run."""
    code = "import sys; print(*sys.version_info[:2])"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    return tuple(map(int, done.stdout.split())) if done.returncode == 0 else ()


def numpys(python: str) -> list[str]:
    """Return what pip is asked for: the oldest numpy, and the newest."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    lower = re.search(r'"numpy>=([\d.]+)"', text)
    assert lower, "pyproject.toml has no lower bound for numpy"
    oldest = lower[1] if lower[1].count(".") == 2 else f"{lower[1]}.0"
    return [f"numpy=={FIRST_WITH_WHEELS.get(_version(python)[:2], oldest)}", "numpy"]


def environment(python: str, numpy: str, folder: Path) -> Path:
    """Return the interpreter of a new virtual environment that has that numpy."""
    if not folder.exists():
        subprocess.run([python, "-m", "venv", str(folder)], check=True)
    own = folder / "bin" / "python"
    wanted = [numpy, "jinja2", "click"]
    pip = [str(own), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted]
    subprocess.run(pip, check=True)
    return own


def differences(python: Path, variables: dict[str, str], golden: dict[str, dict[str, str]]) -> str:
    """Run the script; return a line with numpy's version and what differs."""
    done = subprocess.run(
        [str(python), str(SCRIPT)], env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
        capture_output=True, text=True, check=False,
    )
    if done.returncode:
        return f"failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}"
    answer = json.loads(done.stdout)
    found = answer["hashes"]
    wrong = [
        f"{name}:{what}" for name, own in golden.items() for what in own
        if found[name][what] != own[what]
    ]
    start = f"numpy {answer['numpy']:6} floats {answer['floats']}"
    return f"{start}  {'DIFFERS: ' + ', '.join(wrong) if wrong else 'equal'}"


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--python", action="append", help="an interpreter; default: all found")
    parser.add_argument("--keep", type=Path, help="a folder where environments stay")
    arguments = parser.parse_args()
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    bad = runs = 0
    with tempfile.TemporaryDirectory() as place:
        for python in arguments.python or pythons():
            version = ".".join(map(str, _version(python)))
            for numpy in numpys(python):
                folder = (arguments.keep or Path(place)) / f"{version}-{numpy.replace('=', '')}"
                own = environment(python, numpy, folder.absolute())
                for way, variables in WAYS.items():
                    line = differences(own, variables, golden)
                    print(f"Python {version:5} {way:25} {line}", flush=True)
                    runs += 1
                    bad += not line.endswith("equal")
    print(f"{runs} runs, {bad} with other bytes than {GOLDEN.relative_to(ROOT)}")
    return int(bad > 0 or not runs)


if __name__ == "__main__":
    raise SystemExit(main())
