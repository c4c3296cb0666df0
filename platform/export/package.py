"""The classifier and all that it imports of this repository, as a package of another name that imports nothing of it.

In: nothing. Out: files, made from the very ones that evaluation uses: only the imports between them are renamed.
"""

import re
from pathlib import Path

from platform.checkout import ROOT

NAME = "image_classifier"
MODULES = (
    "platform.data.modes",
    "platform.data.jpeg_intervals",
    "platform.data.decode",
    "platform.data.resize",
    "platform.data.normalise",
    "platform.evaluation.views",
    "platform.evaluation.forward",
    "platform.export.description",
    "platform.export.program",
    "platform.export.classifier",
)
_IMPORT = re.compile(r"^from (platform\.[\w.]+) import ", re.MULTILINE)
_INIT = '''"""Classes of images by trained networks. In: bytes of JPEG, PNG or WebP files. Out: probabilities in numpy.

    from image_classifier import Classifier
    Classifier.load(FOLDER).predict([BYTES, ...])

It needs torch, numpy and Pillow. With `nvidia-nvimgcodec` JPEG files are decoded faster, into the same pixels.
"""

from .classifier import Classifier, Predictions

__all__ = ["Classifier", "Predictions"]
'''


def package_files() -> dict[str, str]:
    """Name -> content of each file of the package.

    Raises:
        RuntimeError: one of them imports what the package does not have.
    """
    return {"__init__.py": _INIT} | {f"{_short(module)}.py": _renamed(module) for module in MODULES}


def write_package(folder: Path) -> None:
    """Write the package as `folder`/image_classifier."""
    (folder / NAME).mkdir(parents=True)
    for name, content in package_files().items():
        (folder / NAME / name).write_text(content)


def _short(module: str) -> str:
    return module.rpartition(".")[2]


def _renamed(module: str) -> str:
    def relative(found: re.Match[str]) -> str:
        if found[1] not in MODULES:
            raise RuntimeError(f"{module} imports {found[1]}, which is not in the package of models; add it to MODULES")
        return f"from .{_short(found[1])} import "

    source = (ROOT / Path(*module.split("."))).with_suffix(".py").read_text()
    return _IMPORT.sub(relative, source)
