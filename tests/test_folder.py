from pathlib import Path

import pytest

from lstmgen.errors import OutputError
from lstmgen.folder import write_folder

FILES = {"kws.c": b"/* lstmgen */", "kws_report.json": b'{"generator": "lstmgen"}'}


def test_writes_and_rewrites_ours(tmp_path):
    folder = tmp_path / "deep" / "out"
    write_folder(FILES, folder)
    (folder / "notes.txt").write_text("the user's own")
    write_folder({**FILES, "kws.c": b"/* lstmgen 2 */"}, folder)
    assert (folder / "kws.c").read_bytes() == b"/* lstmgen 2 */"
    assert (folder / "notes.txt").exists()
    assert [path.name for path in folder.parent.iterdir()] == ["out"]


def test_the_report_is_replaced_last(tmp_path, monkeypatch):
    """An interrupted write leaves the report of the files before."""
    later = {"kws_report.json": b"lstmgen 2", "kws.c": b"/* lstmgen 2 */", "kws.h": b"lstmgen 2"}
    replace = Path.replace

    def interrupted(path, target):
        if path.name == "kws.h":
            raise OSError(28, "No space left on device")
        return replace(path, target)

    write_folder(FILES, tmp_path / "out")
    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(OutputError, match="cannot be written: No space left"):
        write_folder(later, tmp_path / "out")
    assert (tmp_path / "out" / "kws.c").read_bytes() == later["kws.c"]
    assert (tmp_path / "out" / "kws_report.json").read_bytes() == FILES["kws_report.json"]


def test_refuses_what_is_not_ours(tmp_path):
    (tmp_path / "main.c").write_text("int main;")
    message = r"not an earlier output .* \(it holds main.c\); .*--force"
    with pytest.raises(OutputError, match=message):
        write_folder(FILES, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["main.c"]
    write_folder(FILES, tmp_path, force=True)
    assert (tmp_path / "kws.c").exists()


def test_refuses_a_second_model_in_one_folder(tmp_path):
    write_folder(FILES, tmp_path / "out")
    with pytest.raises(OutputError, match="not an earlier output of this model"):
        write_folder({"other_report.json": b"lstmgen"}, tmp_path / "out")


def test_refuses_a_replaced_file(tmp_path):
    write_folder(FILES, tmp_path / "out")
    (tmp_path / "out" / "kws.c").write_text("mine")
    with pytest.raises(OutputError, match=r"kws.c was not written by lstmgen; move it away"):
        write_folder(FILES, tmp_path / "out")
    assert (tmp_path / "out" / "kws.c").read_text() == "mine"


def test_names_what_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="is a file; expected a folder"):
        write_folder(FILES, tmp_path / "file")
    with pytest.raises(OutputError, match="cannot be written"):
        write_folder(FILES, tmp_path / "file" / "below")
