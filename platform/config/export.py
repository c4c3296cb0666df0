"""`export`: what is written of a finished training for use elsewhere."""

from dataclasses import dataclass


@dataclass
class ExportConfig:
    """Which files a finished training leaves for use elsewhere."""

    models: bool = True  # for each member and the ensemble a model folder: programs, weights, MLflow's format
