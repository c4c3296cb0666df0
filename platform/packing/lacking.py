"""Samples without an image or label in shards that others made, and which members or fields might be meant instead.

In: such samples, one by one. Out: an error that counts and names them, says what was left out, and what to set.
"""

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from platform.config.checks import ConfigError
from platform.data.cache import Bytes
from platform.data.reader import IMAGE_EXTENSIONS, SampleRule
from platform.data.tar import Place

NAMED = 3  # samples and remedies in a message
MEMBERS_NAMED = 5  # members of a sample in a message
LOOKED_INTO, MOST_FIELDS = 3, 100  # samples of a shard whose JSON is searched; fields found in one sample
LARGEST_JSON, DEEPEST, LONGEST_NAME = 2**20, 3, 60  # of the JSON that is searched: bytes, depth, characters of a name
LABEL_WORDS = ("label", "class", "cls", "categ", "target")


@dataclass
class Lacking:
    """What samples of one or several shards lack."""

    samples: list[str] = field(default_factory=list)  # name and members of each
    no_label: int = 0
    images: Counter[str] = field(default_factory=Counter)  # extension -> images, of samples without the expected image
    fields: dict[str, None] = field(default_factory=dict)  # that hold a string or integer, as pack.label takes them

    def add(self, name: str, content: Bytes, parts: dict[str, Place], *, image: bool, label: bool) -> None:
        """Note a sample that lacks its image, its label or both.

        Args:
            name: of the sample.
            content: of its shard.
            parts: its members: extension -> place in `content`.
            image: whether it has an image.
            label: whether it has a label.
        """
        self.samples.append(f"{name} ({', '.join(list(parts)[:MEMBERS_NAMED])})")
        if not image:
            self.images.update(extension for extension in parts if extension.endswith(IMAGE_EXTENSIONS))
        if not label:
            self.no_label += 1
            if self.no_label <= LOOKED_INTO:
                self.fields |= dict.fromkeys(_fields_of(content, parts)[:MOST_FIELDS])

    def add_all(self, other: "Lacking") -> None:
        """Add what was noted of another shard."""
        self.samples += other.samples
        self.no_label += other.no_label
        self.images += other.images
        self.fields |= other.fields


def refuse_lacking(lacking: Lacking, samples: int, rule: SampleRule, left_out: list[str]) -> None:
    """Refuse shards with samples that lack something.

    Args:
        lacking: those samples.
        samples: of all shards together.
        rule: where image and label are expected.
        left_out: lines about members that belong to no sample.

    Raises:
        ConfigError: names them, with the remedy.
    """
    if not lacking.samples:
        return
    remedies = [_image_remedy(lacking), _label_remedy(lacking, rule), "mend the shards"]
    raise ConfigError(
        f"{len(lacking.samples)} of {samples} samples have no image ({', '.join(rule.images)}) or no label in "
        f"{rule.spec}: {'; '.join(lacking.samples[:NAMED])}{' ...' if len(lacking.samples) > NAMED else ''}"
        f"{''.join(f'; left out: {line}' for line in left_out)}; {', or '.join(filter(None, remedies))}"
    )


def _image_remedy(lacking: Lacking) -> str:
    others = [extension for extension, _ in lacking.images.most_common(NAMED)]
    return f"give pack.image={' or '.join(others)}" if others else ""


def _label_remedy(lacking: Lacking, rule: SampleRule) -> str:
    if not lacking.no_label:
        return ""
    below = [choice for choice in lacking.fields if choice.startswith(f"{rule.spec}.")]  # of the object that was named
    fields = sorted(below or lacking.fields, key=lambda choice: not any(word in choice.lower() for word in LABEL_WORDS))
    more = " ..." if len(fields) > MEMBERS_NAMED else ""
    if fields:
        return f"give pack.label={' or '.join(fields[:MEMBERS_NAMED])}{more}"
    others = [choice for choice in ("cls", "txt", "json:FIELD") if choice != rule.spec]
    return f"give pack.label={', '.join(others[:-1])} or {others[-1]}"


def _fields_of(content: Bytes, parts: dict[str, Place]) -> list[str]:
    """`json:a.b` for each string or integer in the JSON members of a sample."""
    found: list[str] = []
    for extension, (offset, size) in parts.items():
        if extension.rpartition(".")[2] == "json" and size <= LARGEST_JSON:
            try:
                said = json.loads(content[offset : offset + size])
            except (ValueError, RecursionError):
                continue
            if isinstance(said, dict):
                found += [f"{extension}:{name}" for name in _names_of(said)]
    return found


def _names_of(said: dict[str, Any], depth: int = 1) -> list[str]:
    names: list[str] = []
    for name, value in said.items():
        if not name.isprintable() or len(name) > LONGEST_NAME:
            continue
        if isinstance(value, dict) and depth < DEEPEST:
            names += [f"{name}.{inner}" for inner in _names_of(value, depth + 1)]
        elif isinstance(value, str | int) and not isinstance(value, bool):
            names.append(name)
    return names
