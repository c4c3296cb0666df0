"""What a run takes on disk: each file once."""

from pathlib import Path

from platform.experiment.disk_use import disk_use


def test_links_count_once_and_checkpoints_are_named_where_they_are_much(tmp_path: Path):
    checkpoints, model = tmp_path / "members" / "m" / "checkpoints", tmp_path / "model"
    for folder in (checkpoints, model):
        folder.mkdir(parents=True)
    (model / "m.pt2").write_bytes(bytes(1_000_000))
    (tmp_path / "members" / "m" / "m.pt2").hardlink_to(model / "m.pt2")
    assert disk_use(tmp_path) == "1.0 MB"
    (checkpoints / "step.pt").write_bytes(bytes(500_000))
    assert disk_use(tmp_path) == "1.5 MB, 500 kB of it checkpoints"
    assert disk_use(tmp_path / "nowhere") == "0 kB"
