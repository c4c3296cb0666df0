"""The receptive field: how many pixels each way of the image a value of a map depends on, by the sizes of windows.

In: the receptive field of an operation's input, its window. Out: that of its output. It is the theoretical one, which
padding lets exceed the image; statistics of normalisation layers are not counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Span:
    """In one direction.

    Args:
        size: pixels that a value depends on.
        step: pixels between neighbours on the map.
        places: values on the map.
    """

    size: int = 1
    step: int = 1
    places: int = 1

    def windowed(self, kernel: int, stride: int, dilation: int, places: int) -> "Span":
        """Of a convolution or pooling on this map, whose own map has so many places."""
        return Span(self.size + (kernel - 1) * dilation * self.step, self.step * stride, places)

    @property
    def folded(self) -> "Span":
        """Of a value that all of the map goes into."""
        return Span(self.size + (self.places - 1) * self.step, self.step * self.places, 1)

    def joined(self, other: "Span") -> "Span":
        """Of values that come from both; where one has a single place, it goes into all of the other's."""
        finer = self if self.places >= other.places else other
        return Span(max(self.size, other.size), finer.step, finer.places)


@dataclass(frozen=True)
class Field:
    """In both directions; `whole`: a value depends on the whole image by other ways than windows, such as attention."""

    height: Span
    breadth: Span
    whole: bool = False
    weights: bool = False  # what attention weighs values by, and no values of a map

    @classmethod
    def of_image(cls, height: int, breadth: int) -> "Field":
        """Of the image itself: each pixel is its own."""
        return cls(Span(places=height), Span(places=breadth))

    @property
    def places(self) -> int:
        """Values on the map."""
        return self.height.places * self.breadth.places

    def windowed(
        self, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int], places: Sequence[int]
    ) -> "Field":
        """Of a convolution or pooling; all height first."""
        windows = zip(kernel, stride, dilation, places, strict=True)
        height, breadth = (
            span.windowed(*each) for span, each in zip((self.height, self.breadth), windows, strict=True)
        )
        return Field(height, breadth, whole=self.whole)

    @property
    def folded(self) -> "Field":
        """Of a value that all of the map goes into."""
        return Field(self.height.folded, self.breadth.folded, self.whole)

    @property
    def of_everything(self) -> "Field":
        """Of values that see the whole image."""
        return Field(self.height, self.breadth, whole=True)

    @property
    def as_weights(self) -> "Field":
        return Field(self.height, self.breadth, self.whole, weights=True)

    def joined(self, other: "Field") -> "Field":
        """Of values that come from both."""
        weights = self.weights or other.weights
        spans = self.height.joined(other.height), self.breadth.joined(other.breadth)
        return Field(*spans, whole=self.whole or other.whole, weights=weights)

    @property
    def text(self) -> str:
        """Pixels: `27`, `3x15` (height first) where they differ, `all` of the image."""
        if self.whole:
            return "all"
        height, breadth = self.height.size, self.breadth.size
        return str(height) if height == breadth else f"{height}x{breadth}"


def joined(fields: Sequence[Field | None]) -> Field | None:
    """Of values that come from all of these; unknown where one is."""
    known = [each for each in fields if each is not None]
    if not known or len(known) < len(fields):
        return None
    found = known[0]
    for each in known[1:]:
        found = found.joined(each)
    return found
