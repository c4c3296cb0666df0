"""A member's folder: its state, and when its checkpoints may go."""

from pathlib import Path

import pytest
import torch

from platform.experiment.member_folder import FINISHED, MemberFolder, MemberState


def test_a_torn_state_file_counts_as_unfinished(tmp_path: Path):
    member = MemberFolder(tmp_path / "m")
    member.set_state(MemberState(FINISHED))
    (member.path / "state.json").write_text('{"state": "fin')
    assert member.state() == MemberState()


def test_checkpoints_go_only_where_the_weights_are_whole(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    folder = MemberFolder(tmp_path / "m")
    folder.checkpoints.mkdir(parents=True)
    torch.save({"weight": torch.arange(1000.0)}, folder.weights)
    content = bytearray(folder.weights.read_bytes())
    endless = bytearray(content)
    sizes = endless.rindex(b"PK\x01\x02") + 20
    endless[sizes : sizes + 8] = b"\xff\xff\xff\x7f" * 2  # of the last file, which the archive does not have
    content[len(content) // 2] ^= 1
    for unusable in (content, content[:3000], endless):
        folder.weights.write_bytes(unusable)
        folder.remove_checkpoints()
        assert folder.checkpoints.exists()
    assert caplog.text.count("so the checkpoints beside it stay") == 3
    torch.save({"weight": torch.arange(1000.0)}, folder.weights)
    folder.remove_checkpoints()
    assert not folder.checkpoints.exists()


def test_weights_without_checkpoints_beside_them_are_not_read_again(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    folder = MemberFolder(tmp_path)
    folder.weights.write_bytes(b"torn")
    folder.remove_checkpoints()
    assert not caplog.text
