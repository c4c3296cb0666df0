"""What a model's folder says of it: `classifier.json` beside the members' programs.

This file is also part of the package in each model's folder: it imports the standard library only.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

FILE_NAME = "classifier.json"
ARTIFACTS = "artifacts"  # where MLflow's model folders have it
MOST_PIXELS, MOST_CLASSES = 4096, 1_000_000  # of a network's input, along each side; of a classifier
MOST_FLOAT = 1e6  # of values 0..1 a mean is far below; NaN is not below
FORMAT = 1  # raise it when an older package cannot read what a newer one writes


@dataclass(frozen=True)
class Description:
    """Everything that preprocessing and the names of the classes need, and where the model comes from."""

    classes: list[str]
    members: list[str]  # each has the files MEMBER.pt2 and MEMBER.safetensors
    image_size: int  # height and width in pixels of a network's input
    mean: list[float]  # per channel, of values 0..1
    std: list[float]  # per channel, too
    mirror: bool  # whether a mirror image is of the same class, and so a view
    views: int  # of each image, unless somebody asks for another number: as many as were evaluated, but not 144
    named: bool = True  # false: nobody named the classes, and `classes` are their numbers
    experiment: str = ""
    data_digest: dict[str, str] = field(default_factory=dict)  # split -> samples, shards and their digest
    config_digests: dict[str, str] = field(default_factory=dict)  # member -> digest of its config's identity
    weights: dict[str, str] = field(default_factory=dict)  # member -> digest of the file that was trained
    commit: str | None = None  # of the code that trained it

    @property
    def preprocessing(self) -> tuple[object, ...]:
        """What members of one model must have in common."""
        return self.classes, self.image_size, self.mean, self.std, self.mirror

    def metadata(self) -> dict[str, Any]:
        """For MLflow's model: where it comes from, in a few words."""
        found = {
            "experiment": self.experiment,
            "members": ", ".join(self.members),
            "views": f"{self.views} of each image, unless the parameter views says 1, 10, 12 or 144",
            "data": "; ".join(f"{split}: {what}" for split, what in self.data_digest.items()),
            "class names": "of the data" if self.named else "numbers: the data has no names",
            "commit": self.commit or "",
        }
        return {key: value for key, value in found.items() if value}

    def text(self) -> str:
        """The content of `classifier.json`."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1) + "\n"

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read it from a model's folder, or from the artifacts in it.

        Raises:
            ValueError: there is none, or another version wrote it.
        """
        path = artifacts_of(folder) / FILE_NAME
        try:
            content = json.loads(path.read_text())
        except (OSError, ValueError, RecursionError) as error:
            raise ValueError(f"{folder} has no {FILE_NAME} that can be read; give the folder of a model") from error
        found = content.get("format") if isinstance(content, dict) else None
        if found != FORMAT:
            raise ValueError(f"{path} is of format {str(found)[:20]}, this code reads {FORMAT}; export the model again")
        return cls._checked(path, {key: value for key, value in content.items() if key != "format"})

    @classmethod
    def _checked(cls, path: Path, content: dict[str, Any]) -> Self:
        try:
            found = cls(**content)
            found._require_plain()
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path} does not describe a classifier ({error}); export the model again") from error
        return found

    def _require_plain(self) -> None:
        """Raise ValueError for what no export has written: a file from elsewhere could name any path, or any size."""
        plain = {
            "members": _are(self.members, _is_file_name) and len(set(self.members)) == len(self.members),
            "classes": _are(self.classes, lambda name: isinstance(name, str)) and len(self.classes) <= MOST_CLASSES,
            "image_size": _is_whole(self.image_size) and 1 <= self.image_size <= MOST_PIXELS,
            "views": _is_whole(self.views) and self.views in (1, 10, 12, 144),
            "mean": _are(self.mean, _is_finite) and len(self.mean) == 3,
            "std": _are(self.std, lambda each: _is_finite(each) and each > 0) and len(self.std) == 3,
            "mirror": isinstance(self.mirror, bool),
            "experiment": isinstance(self.experiment, str),
            "data_digest": isinstance(self.data_digest, dict),
        }
        if wrong := [name for name, right in plain.items() if not right]:
            raise ValueError(f"{wrong[0]} is {str(getattr(self, wrong[0]))[:40]}")


def artifacts_of(folder: Path) -> Path:
    """The folder of the members' files: inside a model's folder, or the one given."""
    return folder / ARTIFACTS if (folder / ARTIFACTS / FILE_NAME).exists() else folder


def _are(values: object, right: Callable[[Any], bool]) -> bool:
    return isinstance(values, list) and bool(values) and all(map(right, values))


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < MOST_FLOAT


def _is_file_name(name: object) -> bool:
    return isinstance(name, str) and bool(name) and not set(name) & set("/\\") and not name.startswith(".")
