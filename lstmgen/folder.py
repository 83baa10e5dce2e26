"""Writing a generated folder: all files or none, and nothing that is not ours overwritten."""

import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from .errors import OutputError

MARK = b"lstmgen"
"""What every generated file contains; a file without it is not ours."""


def write_folder(
    files: Mapping[str, bytes], folder: Path, force: bool = False, obsolete: Iterable[str] = ()
) -> None:
    """Write the files, by name, into `folder`, which is made if it does not exist.

    Raises OutputError, before anything is written, if the folder holds other things than an
    earlier output of the same model; `force` writes nevertheless, over ours and theirs.
    obsolete: names of files that an earlier output may have had and that are taken away.
    """
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file; expected a folder: choose another --output")
    if not force:
        _refuse_foreign(files, folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            for name, data in files.items():
                (part / name).write_bytes(data)
            if not folder.exists():
                part.chmod(0o777 & ~_umask())
                part.rename(folder)
            else:
                # The report last: it says what the other files are, and where a write was
                # interrupted `lstmgen check` finds that they are not.
                report = _report_of(files)
                for name in [*(name for name in files if name != report), report]:
                    (part / name).replace(folder / name)
                for name in obsolete:
                    (folder / name).unlink(missing_ok=True)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror or error}") from error


def write_file(data: bytes, file: Path) -> None:
    """Write one file at once: a reader sees the old one or the new one. Raises OutputError."""
    part = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        try:
            part.write_bytes(data)
            part.replace(file)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{file} cannot be written: {error.strerror or error}") from error


def _refuse_foreign(files: Mapping[str, bytes], folder: Path) -> None:
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    # A report of the same name tells that this model was written here before.
    report = _report_of(files)
    if not (folder / report).is_file():
        held = sorted(path.name for path in folder.iterdir())
        shown = ", ".join(held[:4]) + (", ..." if len(held) > 4 else "")
        raise OutputError(
            f"{folder} is not an earlier output of this model (it holds {shown}); "
            "choose an empty folder, or --force to write into it"
        )
    foreign = [
        name
        for name in files
        if (folder / name).exists() and MARK not in (folder / name).read_bytes()
    ]
    if foreign:
        raise OutputError(
            f"{folder}: {', '.join(foreign)} was not written by lstmgen; "
            "move it away, or --force to overwrite it"
        )


def _report_of(names: Iterable[str]) -> str:
    return next(name for name in names if name.endswith("_report.json"))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
