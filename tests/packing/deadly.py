"""Sources that go wrong, where Ray's workers can import them."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from platform.packing.items import Item, Parts
from platform.packing.sources import DigitsSource


@dataclass(frozen=True)
class DeadlyOnce:
    """The digits; who reads a certain one first, dies."""

    marker: str

    def parts(self) -> Parts:
        return DigitsSource().parts()

    def read(self, item: Item) -> Image.Image:
        if item.where == 1000 and not Path(self.marker).exists():
            Path(self.marker).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return DigitsSource().read(item)

    def stamp(self, item: Item) -> str:
        return ""


@dataclass(frozen=True)
class Torn(DigitsSource):
    """Of which nothing can be read."""

    def read(self, item: Item) -> Image.Image:
        raise OSError(5, "Input/output error")
