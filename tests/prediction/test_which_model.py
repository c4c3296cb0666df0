"""Which folder a model's setting means."""

from pathlib import Path

from platform.prediction.model import folder_of


def test_members_and_names_are_written_as_for_the_jobs_that_read_runs(tmp_path: Path):
    runs = tmp_path / "runs"
    member = runs / "mine" / "members" / "wider"
    member.mkdir(parents=True)
    for given in (runs / "mine", Path("mine")):
        assert folder_of(given, runs) == runs / "mine"
        assert folder_of(given / "wider", runs) == member
        assert folder_of(given / "members" / "wider", runs) == member
        assert folder_of(given / "plain", runs) is None
