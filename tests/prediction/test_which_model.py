"""Which folder a model's setting means."""

from dataclasses import asdict, replace
from pathlib import Path

import pytest

from platform.config.checks import ConfigError
from platform.config.experiment import Experiment
from platform.config.sections import Config
from platform.config.table import TableConfig
from platform.experiment.folder import ExperimentFolder, Record
from platform.prediction.model import folder_of, open_model


def test_members_and_names_are_written_as_for_the_jobs_that_read_runs(tmp_path: Path):
    runs = tmp_path / "runs"
    member = runs / "mine" / "members" / "wider"
    member.mkdir(parents=True)
    for given in (runs / "mine", Path("mine")):
        assert folder_of(given, runs) == runs / "mine"
        assert folder_of(given / "wider", runs) == member
        assert folder_of(given / "members" / "wider", runs) == member
        assert folder_of(given / "plain", runs) is None


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (TableConfig(), "mine has no model yet: its run is not finished"),
        (
            TableConfig(against="first"),
            "mine is a table whose rows are compared, .* give .*mine/ROW, of a, b",
        ),
    ],
)
def test_a_table_never_gets_a_model(table: TableConfig, said: str, tmp_path: Path):
    config = Config(name="mine", output_dir=str(tmp_path), table=table)
    members = {name: replace(config, order_seed=number) for number, name in enumerate("ab")}
    (tmp_path / "mine").mkdir()
    record = Record({"data": {}}, {name: asdict(member) for name, member in members.items()})
    ExperimentFolder(tmp_path / "mine").write(record)
    experiment = Experiment(config, members)
    for given in (None, "mine"):
        with pytest.raises(ConfigError, match=said), open_model("predict.model", given, experiment):
            pass
