"""What a model's folder says of it: `classifier.json` beside the members' programs.

This file is also part of the package in each model's folder: it imports the standard library only.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

FILE_NAME = "classifier.json"
ARTIFACTS = "artifacts"  # where MLflow's model folders have it
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
            "views": f"{self.views} of each image, unless the parameter views says 1, 10 or 144",
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
        except (OSError, ValueError) as error:
            raise ValueError(f"{folder} has no {FILE_NAME} that can be read; give the folder of a model") from error
        found = content.get("format") if isinstance(content, dict) else None
        if found != FORMAT:
            raise ValueError(f"{path} is of format {str(found)[:20]}, this code reads {FORMAT}; export the model again")
        return cls._checked(path, {key: value for key, value in content.items() if key != "format"})

    @classmethod
    def _checked(cls, path: Path, content: dict[str, Any]) -> Self:
        try:
            found = cls(**content)
            plain = all(_is_file_name(name) for name in found.members) and found.members
            numbers = [*found.mean, *found.std, found.image_size, found.views]
            if not plain or not all(isinstance(number, int | float) for number in numbers):
                raise ValueError("it names no members, or numbers that are none")
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path} does not describe a classifier ({error}); export the model again") from error
        return found


def artifacts_of(folder: Path) -> Path:
    """The folder of the members' files: inside a model's folder, or the one given."""
    return folder / ARTIFACTS if (folder / ARTIFACTS / FILE_NAME).exists() else folder


def _is_file_name(name: object) -> bool:
    return isinstance(name, str) and bool(name) and not set(name) & set("/\\") and not name.startswith(".")
