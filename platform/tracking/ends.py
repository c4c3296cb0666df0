"""What MLflow is told when a member, a trial or the whole experiment ends: scores, files, times, a description.

In: scores, and what is on disk. Out: entries of the tracking journal, through the tracker. Which runs are open, and
when they end, is what `runs` knows.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from platform.config.experiment import Experiment
from platform.data.index import Index
from platform.evaluation import report
from platform.evaluation.table import EnsembleScores
from platform.experiment.cost import Cost
from platform.experiment.folder import ExperimentFolder, Record
from platform.experiment.goodput import Goodput, Times, read_attempts
from platform.export.folder import MODEL
from platform.tracking import descriptions, run_tags
from platform.tracking.figures import datasets, ended_by_scores, interruptions, speed
from platform.tracking.lineage import promotion
from platform.tracking.models import ModelLog, is_new, place_of
from platform.tracking.points import without_zeros
from platform.tracking.tracker import Tracker

DESCRIPTION = "mlflow.note.content"  # what MLflow's page of a run shows as its description, in Markdown
SMALL_ENOUGH_TO_UPLOAD = 100_000_000  # bytes; larger probabilities stay where they are, and the run says where
PROFILE = "profile"  # folder of traces, of the member's and of the run's artifacts
COMPARISON = "comparison_"  # metrics that all members together tell, when the last has ended
TABLES = ("table.md", "table-test.md", "ranking.md")


class Ends:
    """Tells MLflow of ends. Args as those of `Runs`."""

    def __init__(
        self,
        tracker: Tracker,
        experiment: Experiment,
        folder: ExperimentFolder,
        record: Record,
        data: Index | None = None,
    ) -> None:
        self._tracker, self._experiment, self._folder, self._record = tracker, experiment, folder, record
        self._split = experiment.config.evaluation.split
        scored_images = datasets(experiment.config, data, self._split)[-1] if data else None
        self._models = ModelLog(tracker, folder, record, scored_images)

    def scores_and_files(self, name: str, scores: EnsembleScores) -> None:
        """Of a member that is trained and evaluated."""
        run, member = self._record.member_runs[name], self._folder.member(name)
        self.spent(name, scores)
        metrics = report.final_metrics(scores, name, self._split)
        if run != self._record.parent_run:  # which gets its scores with the rest
            self._tracker.summary(run, {key: value for key, value in metrics.items() if not key.startswith(COMPARISON)})
        if not (place_of(self._folder, name) / "MLmodel").exists():  # it has them as safetensors
            self._tracker.artifact(run, member.weights, "model")
        for trace in sorted((member.path / PROFILE).glob("*")):
            self._tracker.artifact(run, trace, PROFILE)
        self._models.member(name, metrics)
        self._upload_probabilities(run, member.probabilities_of(self._split))

    def model_of_trial(self, name: str, scores: EnsembleScores) -> None:
        """Of the trial that stands for its sweep, whose run has its final scores, too."""
        metrics = report.final_metrics(scores, name, self._split)
        assert self._record.parent_run
        self._tracker.summary(self._record.parent_run, metrics)
        self._models.member(name, metrics)
        self._models.ensemble([name], {})

    def spent(self, name: str, scores: EnsembleScores | None = None, said: str = "") -> None:
        """How a member's or trial's wall time was spent, where and on what, and why each of its attempts ended.

        Args:
            name: of the member.
            scores: with this member's; None: there are none.
            said: what became of it, in a sentence, where there are no scores.
        """
        member, run = self._folder.member(name), self._record.member_runs[name]
        attempts = read_attempts(member.path)
        if device := member.state().device:
            self._tracker.tag(run, "device", device)
        if attempts:
            found = Goodput.of(attempts)
            self._tracker.log(run, found.attempts, found.metrics())
            spent = Times.of(attempts).metrics() | Cost.of(attempts).metrics()
            self._tracker.summary(run, without_zeros(spent) | speed(member.metrics.read()))
            self._tracker.tag(run, "host", ", ".join(sorted({node for attempt in attempts for node in attempt.nodes})))
            self._tracker.tag(run, "attempts", found.newest_reasons)
        if text := descriptions.of_member(name, scores, attempts, said):
            self._tracker.tag(run, DESCRIPTION, text)

    def whole(
        self,
        parent: str,
        scores: EnsembleScores | None,
        files: Sequence[Path],
        said: str,
        failed: Mapping[str, str] | None = None,
    ) -> None:
        """Of the experiment: the ensemble's scores and the files for the parent run.

        Args:
            parent: key of its run.
            scores: None: there are none.
            files: in the experiment's folder.
            said: what became of it, in a sentence, where there are no scores.
            failed: members that are not finished, and why.
        """
        if scores:
            metrics = report.final_metrics(scores, None, self._split)
            self._tracker.summary(parent, metrics)
            for name in scores.names:
                of_member = report.final_metrics(scores, name, self._split)
                if gain := {key: value for key, value in of_member.items() if key.startswith(COMPARISON)}:
                    self._tracker.summary(self._record.member_runs[name], gain)
                if is_new(self._folder, self._record, name):  # it could not be made when the member ended
                    self._models.member(name, of_member)
            self._models.ensemble(scores.names, metrics)
        self._files(parent, files)
        several = run_tags.kind_of(self._experiment) == run_tags.SWEEP
        again, folder = run_tags.command(self._experiment), _near(self._folder.path)
        there = {"trained": self._is_anything_trained(), "has_model": (self._folder.path / MODEL).exists()}
        best = scores.compared.best.members[0] if scores and scores.compared else ""
        model = place_of(self._folder, best).relative_to(self._folder.path).as_posix() if best else ""
        commands = descriptions.commands_of(again, folder, several=several, **there, model=model)
        notes = [f"Member {name} failed: {error}." for name, error in (failed or {}).items()] + self._notes(parent)
        told = [file for file in files if file.name in TABLES]
        validated = self._folder.path / TABLES[0]
        told += [validated] if told and self._split != "val" and validated.exists() else []
        pictures = [file.relative_to(self._folder.path) for file in files if file.suffix in descriptions.PICTURES]
        self._tracker.tag(parent, DESCRIPTION, descriptions.of_experiment(said, told, pictures, notes, commands))

    def _is_anything_trained(self) -> bool:
        return any(self._folder.member(name).is_trained() for name in self._record.member_runs)

    def _files(self, parent: str, files: Sequence[Path]) -> None:
        for file in files:
            within = file.parent.relative_to(self._folder.path).as_posix()
            self._tracker.artifact(parent, file, None if within == "." else within)

    def _notes(self, parent: str) -> list[str]:
        """What came between in any member, what all of them cost, and where the experiment comes from; of the first two
        the parent has a tag and metrics as well."""
        attempts_of = {name: read_attempts(self._folder.member(name).path) for name in self._record.member_runs}
        notes = []
        if between := interruptions(attempts_of):
            self._tracker.tag(parent, "interruptions", between)
            notes.append(f"Interrupted on the way: {between}.")
        if parent in self._record.member_runs.values():  # a training of one network is one run
            notes += [each for attempts in attempts_of.values() for each in descriptions.spent(attempts)]
        else:
            times = Times.at_work([Times.of(attempts) for attempts in attempts_of.values() if attempts])
            cost = sum(map(Cost.of, attempts_of.values()), Cost())
            self._tracker.summary(parent, without_zeros(times.metrics() | cost.metrics()))
            notes.append(f"All together took their workers {descriptions.times_text(times)}.")
        members = {name: self._folder.member(name) for name in self._experiment.members}
        notes += filter(None, (ended_by_scores(name, member.metrics.read()) for name, member in members.items()))
        if promoted := promotion(self._experiment):
            notes.append(promoted.sentence())
        return notes

    def _upload_probabilities(self, run: str, folder: Path) -> None:
        files = sorted(folder.iterdir())
        if sum(file.stat().st_size for file in files) > SMALL_ENOUGH_TO_UPLOAD:
            self._tracker.tag(run, folder.name, str(folder))
            return
        for file in files:
            self._tracker.artifact(run, file, folder.name)


def _near(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
