"""What each sampling method feeds the network: the same few training images, cropped and coloured as in training.

In: the training split and the members' configs. Out: a sheet of crops, made by the loader and the pixels of the
training itself: exactly what a network sees, but for the normalisation, which is undone.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from platform.config.sections import Config
from platform.config.transforms import TransformsConfig
from platform.data.index import Split
from platform.drawing.drawing import WIDTH, Drawing, shortened
from platform.report.section import Picture, Section
from platform.report.thumbnails import EXACT_UP_TO, uri_of

if TYPE_CHECKING:
    from platform.data.batch import Batch

TITLE = "What the networks are fed"
IMAGES = 4  # training images
EPOCHS = 2  # crops of each: those of the first epochs
SIDE = 112  # pixels stored of a crop
GAP, LINE = 4.0, 18.0


def section(split: Split, members: Mapping[str, Config]) -> Section:
    """The section of the crops.

    Args:
        split: of the training images.
        members: name -> config.

    Raises:
        ShardError: the shards cannot be read; other errors of the data path, too.
    """
    ids = _ids(split)
    groups: dict[str, list[str]] = {}
    for name, config in members.items():
        groups.setdefault(str((asdict(config.sampling), asdict(config.transforms), config.data.mirror)), []).append(
            name
        )
    rows = [(names, members[names[0]], _crops(split, members[names[0]], ids)) for names in groups.values()]
    drawing = _sheet(_stored(split, ids), rows)
    notes = [
        f"Above, {len(ids)} training images as they are stored; below, for each sampling the {EPOCHS} crops of them "
        "that its member draws in its first epochs, as the network gets them, before normalisation."
    ]
    return Section("crops", TITLE, notes, pictures=[Picture("crops", drawing)])


def _ids(split: Split) -> NDArray[np.int64]:
    """Spread over the split; over the first shard where others would have to be fetched."""
    remote = split.shards.any_remote
    samples = int(split.starts[1]) if remote else split.samples
    return np.unique(np.linspace(0, samples - 1, IMAGES + 1).astype(np.int64)[:IMAGES])


def _stored(split: Split, ids: NDArray[np.int64]) -> list[NDArray[np.uint8] | None]:
    """The whole images; None for one that cannot be decoded."""
    from platform.data.decode import CorruptImage, EncodedImage

    found: list[NDArray[np.uint8] | None] = []
    for sample_id in ids.tolist():
        try:
            found.append(EncodedImage(split.read(sample_id).image).decode())
        except CorruptImage:
            found.append(None)
    return found


def _crops(split: Split, config: Config, ids: NDArray[np.int64]) -> list[list[NDArray[np.uint8]]]:
    """The crops of each image, one an epoch."""
    from platform.data import draws
    from platform.data.sampling import DRAWS
    from platform.data.train_loader import TrainLoader
    from platform.data.training_order import draw_seed, training_order

    order, seed = training_order(config, split), draw_seed(config)
    with TrainLoader(split, order, config.data, config.sampling, prefetch=1) as loader:
        asked = (loader.request(ids.copy(), draws.uniforms(seed, epoch, ids, DRAWS)) for epoch in range(EPOCHS))
        epochs = [_as_fed(batch, config, epoch) for epoch, batch in enumerate(loader.batches(asked))]
    return [list(crops) for crops in zip(*epochs, strict=True)]


def _as_fed(batch: "Batch", config: Config, epoch: int) -> NDArray[np.uint8]:
    """`[N, H, W, 3]`: as they are handed to the network; those of the sheet mix with each other."""
    import torch

    from platform.data import draws
    from platform.data.inputs import BatchInputs
    from platform.data.pixels import Pixels
    from platform.data.sampling import DRAWS

    shown = len(batch.ids_N)
    batch.per_stream, batch.step_draws = shown, draws.uniforms(0, epoch, np.array([0]), DRAWS)[0]
    pixels = Pixels(config.data, torch.device("cpu"))
    images = BatchInputs(batch, pixels, config.sampling, config.transforms).part(slice(0, shown)).images
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (config.data.mean, config.data.std))
    shown = ((images * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)
    return np.ascontiguousarray(shown.permute(0, 2, 3, 1).numpy())


def _sheet(
    stored: list[NDArray[np.uint8] | None], rows: list[tuple[list[str], Config, list[list[NDArray[np.uint8]]]]]
) -> Drawing:
    slot = WIDTH / len(stored)
    cell = (slot - GAP * EPOCHS - 4) / EPOCHS
    top = 1.25 * cell + 2 * LINE
    drawing = Drawing(top + (cell + LINE + 16) * len(rows), f"crops of {len(stored)} images by {len(rows)} samplings")
    drawing.text(0, 12, "as stored", "small strong")
    for number, image in enumerate(stored):
        if image is not None:
            height, width = image.shape[:2]
            scale = min(1.25 * cell / height, (slot - 8) / width)
            x = slot * number
            drawing.image(
                x, LINE, width * scale, height * scale, uri_of(image), pixels=max(width, height) <= EXACT_UP_TO
            )
    for row, (names, config, images) in enumerate(rows):
        y = top + (cell + LINE + 16) * row
        drawing.text(0, y, shortened(", ".join(names), 60), "small strong")
        drawing.text(0, y + 12, shortened(_described(config), 92), "quiet tiny")
        for number, crops in enumerate(images):
            for turn, crop in enumerate(crops):
                x = slot * number + (cell + GAP) * turn
                drawing.image(x, y + LINE, cell, cell, uri_of(crop, SIDE), pixels=len(crop) <= EXACT_UP_TO)
    return drawing


def _described(config: Config) -> str:
    """The settings that matter to what is seen, as they are on this data set."""
    from platform.data.sampling import area_range

    sampling, data = config.sampling, config.data
    parts = [sampling.method.replace("_", " ")]
    if sampling.method == "area_aspect":
        low, high = (f"{100 * area:.3g}" for area in area_range(sampling, data))
        parts.append(f"area {low} to {high}%, aspect {sampling.aspect[0]:.3g} to {sampling.aspect[1]:.3g}")
    parts += ["colours distorted"] if sampling.photometric else []
    parts.append(f"interpolation {sampling.interpolation}")
    parts.append("mirrored at random" if data.mirror and sampling.mirror else "never mirrored")
    return ", ".join([*_transformed(config.transforms), *parts])  # what does not fit is cut off


def _transformed(transforms: TransformsConfig) -> list[str]:
    policies = {
        "none": [],
        "trivial": ["TrivialAugment"],
        "rand": [f"RandAugment {transforms.rand_ops} x {transforms.rand_magnitude:g}"],
    }
    boxes = ["boxes erased"] if transforms.erase_probability > 0 else []
    mixed = [name for name, alpha in (("mixup", transforms.mixup_alpha), ("CutMix", transforms.cutmix_alpha)) if alpha]
    return policies[transforms.name] + boxes + (mixed if transforms.mixes else [])
