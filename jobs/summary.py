"""`job=summary`: what a network is made of: its stages with their costs as a table, and a picture of it.

In: an experiment. Out: the table on the terminal, `summary.md`, `summary.csv` and `network.svg` in a folder. Neither
data nor Ray nor MLflow is used, and nothing is trained.
"""

from pathlib import Path

from platform.config.checks import ConfigError
from platform.config.experiment import Experiment


def run(experiment: Experiment) -> int:
    """Tell of the network of an experiment, or of each that its members have; 0.

    Raises:
        ConfigError: there is no such network, it does not take the images, or the files cannot be written.
    """
    from platform.summary.files import different, write_summary
    from platform.summary.network import network_of
    from platform.summary.speed import measure
    from platform.summary.table import lines

    settings, written = experiment.config.summary, []
    firsts = dict.fromkeys(different(experiment.members).values())
    folder = Path(settings.output or Path(experiment.config.output_dir) / f"summary-{experiment.name}")
    for place, name in enumerate(firsts):
        config = experiment.members[name]
        model, data = config.model, config.data
        network = network_of(model, data.classes, data.image_size)
        speed = measure(model, data.classes, data.image_size, settings.seconds) if settings.seconds else None
        if len(firsts) > 1:
            print(f"member {name}:")
        print("\n".join(lines(network, speed)) + "\n", flush=True)
        try:
            written += write_summary(network, folder, name if place else "", speed)
        except OSError as error:
            raise ConfigError(f"{folder} cannot be written ({error.strerror}); give another summary.output") from error
    print("\n".join(f"written   {path}" for path in written))
    return 0
