"""What is printed fits into its terminal, and loses no image."""

import re
from pathlib import Path

import pytest
from PIL import Image as Pillow

from platform.config.data import StorageConfig
from platform.data.storage import Storage
from platform.export.description import Description
from platform.prediction.images import Files, Images
from platform.prediction.rows import Opinion, Row, Summary
from platform.prediction.sheet import write_sheet
from platform.prediction.table import show

SEVEN = [f"member_{number}" for number in range(7)]
MODEL = Description(["tabby cat", "tiger cat", "<b>lynx</b>"], SEVEN, 32, [0.5] * 3, [0.5] * 3, True, 1)
TOP = [Opinion("tabby cat", 0.5), Opinion("tiger cat", 0.3), Opinion("<b>lynx</b>", 0.2)]
OTHERS = [TOP[0]] * 4 + [Opinion("tiger cat", 0.6)] * 2 + [TOP[2]]


def row(name: str, label: str | None = None, rank: int | None = None, error: str | None = None) -> Row:
    return Row(name, "", [] if error else TOP, [] if error else OTHERS, None if error else 3 / 7, label, rank, error)


def printed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, rows: list[Row], width: int) -> str:
    monkeypatch.setattr("platform.prediction.table.PLAIN_WIDTH", width)
    summary = Summary(shown=20)
    summary.add(rows)
    show(summary, MODEL, rows=20)
    return capsys.readouterr().out


@pytest.mark.parametrize("width", [80, 120])
def test_a_table_of_seven_members_fits(width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    names = [f"folder/of/photographs/with/a/long/name/IMG_{number:04d}.jpg" for number in range(5)]
    text = printed(capsys, monkeypatch, [row(name, "tiger cat", 2) for name in names], width)
    assert max(map(len, text.splitlines())) <= width
    assert text.count("4 of 7; tiger") == text.count("(place 2)") == 5
    assert all(f"IMG_000{number}.jpg" in text for number in range(5))
    assert ("tiger cat 30.0%" in text) == (width == 120)
    assert (
        "top-1 0.00% (0 of 5, 95% CI 0.00 to 43.45%), top-5 100.00% (5 of 5, 95% CI 56.55 to 100.00%); lab"
        in " ".join(text.split())
    )


def test_a_few_are_shown_with_bars_and_who_disagrees(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    text = printed(capsys, monkeypatch, [row("cat.jpg")], 80)
    assert re.search(r"tabby cat +█{12} +50\.0%", text)
    assert "members: 4 of 7 agree; member_4: tiger cat 60.0%, member_5: tiger cat 60.0%," in text
    assert "classified 1 of 1 image\n" in text


def test_what_is_left_out_is_counted(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    rows = [row(f"{number}.jpg") for number in range(22)] + [row(f"x\x1b[2J{n}", error="torn") for n in range(25)]
    text = printed(capsys, monkeypatch, rows, 120)
    assert "... and 27 more; predict.output=FILE.csv" in text
    assert text.count("not classified: x\\x1b[2J") == 20
    assert "not classified: and 5 more" in text
    assert "classified 22 of 47 images, 25 could not be" in text
    assert "\x1b" not in text


def test_a_sheet_needs_no_other_file_and_runs_nothing_of_names(tmp_path: Path, photos: list[bytes]):
    (tmp_path / "a.jpg").write_bytes(photos[0])
    rows = [row(str(tmp_path / "a.jpg"), "tabby cat", 1), row("<script>alert(1)</script>", error="<i>torn</i>")]
    images = Images([Files([str(tmp_path / "a.jpg"), "gone"])], Storage(StorageConfig()))
    write_sheet(str(tmp_path / "sheet.html"), rows, images, MODEL, "runs/<x>")
    page = (tmp_path / "sheet.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 1
    assert "<script" not in page
    assert not re.search(r"<b>lynx|<i>torn|<x>", page)
    assert not re.search(r'(?:src|href)="(?!data:)', page)
    assert "label: tabby cat (right)" in page
    write_sheet(str(tmp_path / "sheet.png"), rows, images, MODEL, "x")
    with Pillow.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 2 * 160
        assert len(sheet.convert("RGB").getcolors(2**20) or []) > 1000  # the photograph
