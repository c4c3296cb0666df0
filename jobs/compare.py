"""`job=compare`: experiments, members or trials side by side on the same images, of validation or of test.

In: the folders of runs, `compare.runs`. Out: the comparison on the terminal, `compare.md` and `changed.csv`. Nothing is
trained; neither Ray nor MLflow is used.
"""

import hashlib
from pathlib import Path

from platform.compare import text
from platform.compare.comparison import Comparison
from platform.compare.entrants import Entrant, entrants
from platform.config.checks import NAME_BYTES, ConfigError, require_effect
from platform.config.experiment import Experiment
from platform.config.jobs import CompareConfig
from platform.data.cache import ShardError
from platform.data.index import read_index
from platform.data.store_errors import StorageError
from platform.files import write_atomically

WITH_EFFECT = ("job", "compare", "output_dir")


def run(experiment: Experiment) -> int:
    """Compare the runs, print and write the comparison; 0.

    Raises:
        ConfigError: a run is not there or not finished, or they are of other images; or the files cannot be written.
    """
    require_effect(experiment.overrides, WITH_EFFECT, ": job=compare reads what was run")
    settings, output_dir = experiment.config.compare, Path(experiment.config.output_dir)
    runs = entrants(settings.runs, output_dir, settings.split)
    found = Comparison.of(runs)
    print("\n".join(text.lines(found)))
    folder = _folder(settings, output_dir, [each.label for each in runs])
    pages = {"compare.md": text.markdown_page(found), "changed.csv": text.changed_csv(found, _classes(runs[0]))}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in pages.items():
            write_atomically(folder / name, content)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be written ({error.strerror}); give another compare.output") from error
    print("\n".join(f"written   {folder / name}" for name in pages))
    return 0


def _folder(settings: CompareConfig, output_dir: Path, labels: list[str]) -> Path:
    """Where the files go: a folder named by the runs, a short one where they are many."""
    if settings.output is not None:
        return Path(settings.output)
    of_split = [] if settings.split == "val" else [settings.split]
    name = "-".join(["compare", *of_split, *(label.replace("/", "-") for label in labels)])
    if len(name.encode()) > NAME_BYTES:
        digest = hashlib.sha256(name.encode()).hexdigest()[:12]
        name = "-".join(["compare", *of_split, str(len(labels)), digest])
    return output_dir / name


def _classes(entrant: Entrant) -> list[str]:
    """Names of the classes, of the shards' index; none where it cannot be read any more."""
    try:
        return read_index(entrant.config.data.shards, entrant.config.storage, ask_all=False).classes
    except (ShardError, StorageError, OSError):
        return []
