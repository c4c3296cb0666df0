"""Which data an experiment is about, as a part of its identity: numbers of samples and digests, no paths."""

from platform.data.index import Index, Split


def fingerprint(index: Index) -> dict[str, str]:
    """Identity of the data: for each split the number of samples and a digest of its shards' checksums; for shards that
    others made also the extension of the images, where their index names it. Of further sets to train on the same of
    their training images, as `also.NAME`."""
    found = {split.name: _fingerprint(split) for split in index.splits.values()}
    if "image" in index.packing:
        found["image"] = str(index.packing["image"])
    for name, other in index.also.items():
        image = f", image {other.packing['image']}" if "image" in other.packing else ""
        found[f"also.{name}"] = _fingerprint(other.split("train")) + image
    return found


def _fingerprint(split: Split) -> str:
    return f"{split.samples} samples in {len(split.shards)} shards, sha256 {split.digest}"
