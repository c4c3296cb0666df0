"""The views of an image: their order, their shapes, and where on the image each of them lies."""

import io

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from platform.data.decode import EncodedImage
from platform.data.resize import resize
from platform.evaluation import views as module
from platform.evaluation.views import RENDERED, SCALES, render, with_mirrors

SIZE = 64
SHORTS = (73, 82, 91, 101)  # 256, 288, 320 and 352 to 224, at 64 px
X_STEP, Y_STEP = 2, 3  # of red and green a pixel, in `gradient`


def encoded(pixels: NDArray[np.uint8]) -> EncodedImage:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return EncodedImage(buffer.getvalue())


def noise(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def gradient(height: int, width: int) -> NDArray[np.uint8]:
    """An image whose red says x and whose green says y."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x * X_STEP, y * Y_STEP, np.zeros_like(x)], axis=-1).astype(np.uint8)


def expected_places(height: int, width: int) -> list[tuple[float, float, float, float]]:
    """(left, top, right, bottom) of the 72 crops in pixels of the image, straight from the paper's description."""
    places = []
    for short in SHORTS:
        scale = short / min(height, width)
        slack = round(max(height, width) * scale) - short
        for square in (slack // 2, 0, slack):  # centre, then left and right, or top and bottom
            x0, y0 = (square, 0) if width >= height else (0, square)
            free = short - SIZE
            corners = [(free // 2, free // 2), (0, 0), (free, 0), (0, free), (free, free)]
            boxes = [(x0 + x, y0 + y, x0 + x + SIZE, y0 + y + SIZE) for x, y in corners]
            boxes.append((x0, y0, x0 + short, y0 + short))  # the whole square, resized
            places += [(a / scale, b / scale, c / scale, d / scale) for a, b, c, d in boxes]
    return places


def shown_place(crop: torch.Tensor) -> tuple[float, float, float, float]:
    """(left, top, right, bottom) that a crop of `gradient` shows, from the colours of its middle row and column."""
    red, green = crop[..., 0].float(), crop[..., 1].float()
    middle = SIZE // 2

    def edges(line: torch.Tensor, step: int) -> tuple[float, float]:
        """Extrapolated from two inner points, because resizing blurs an image's own edges."""
        low, high = line[8].item() / step + 0.5, line[SIZE - 9].item() / step + 0.5
        pixel = (high - low) / (SIZE - 17)
        return low - 8.5 * pixel, high + 8.5 * pixel

    (left, right), (top, bottom) = edges(red[middle], X_STEP), edges(green[:, middle], Y_STEP)
    return left, top, right, bottom


def test_scales_are_the_papers_at_its_own_size() -> None:
    assert [round(224 * scale) for scale in SCALES] == [256, 288, 320, 352]


@pytest.mark.parametrize(("height", "width"), [(73, 120), (80, 73), (73, 73)], ids=["landscape", "portrait", "square"])
def test_the_first_ten_are_exact_pixels_of_the_centre_square(height: int, width: int) -> None:
    """The shorter side is the smallest scale's already, so nothing is resized and every pixel can be told."""
    pixels = torch.from_numpy(gradient(height, width))
    left, top = (width - 73) // 2, (height - 73) // 2
    places = [(4, 4), (0, 0), (9, 0), (0, 9), (9, 9)]  # centre, top left, top right, bottom left, bottom right
    expected = [pixels[top + y : top + y + SIZE, left + x : left + x + SIZE] for x, y in places]
    assert torch.equal(render(encoded(gradient(height, width)), SIZE, 10), torch.stack(expected))


@pytest.mark.parametrize(
    ("height", "width"),
    [(73, 120), (80, 73), (70, 70), (60, 110), (10, 120), (84, 8)],
    ids=["landscape", "portrait", "square", "enlarged", "long", "tall"],
)
def test_all_144_lie_where_the_paper_has_them(height: int, width: int) -> None:
    crops = render(encoded(gradient(height, width)), SIZE, 144)
    expected = expected_places(height, width)
    assert len(crops) == len(expected) == 72
    for number, (crop, place) in enumerate(zip(crops, expected, strict=True)):
        assert shown_place(crop) == pytest.approx(place, abs=0.75), number


def test_the_left_and_right_squares_reach_the_edges() -> None:
    crops = render(encoded(gradient(73, 120)), SIZE, 144)
    for scale in range(4):
        centre, left, right = (crops[18 * scale + 6 * square + 5] for square in range(3))
        assert left[SIZE // 2, 0, 0] <= 2 * X_STEP
        assert right[SIZE // 2, -1, 0] >= 117 * X_STEP
        assert abs(int(centre[SIZE // 2, SIZE // 2, 0]) - 60 * X_STEP) <= 2 * X_STEP


def test_a_portraits_views_are_those_of_the_landscape_turned() -> None:
    pixels = np.kron(noise(8, 13), np.ones((12, 12, 1), np.uint8))
    landscape = render(encoded(pixels), SIZE, 144)
    portrait = render(encoded(pixels.transpose(1, 0, 2)), SIZE, 144).transpose(1, 2)
    turned = [0, 1, 3, 2, 4, 5]  # top right and bottom left change places
    order = [first + place for first in range(0, 72, 6) for place in turned]
    difference = (portrait[order].int() - landscape.int()).abs()
    assert difference.max() <= 2  # the two passes of a resize round in the other order


@pytest.mark.parametrize(
    ("height", "width"), [(90, 140), (140, 90), (100, 100), (1, 1), (3, 2), (20, 900), (64, 64), (73, 73)]
)
@pytest.mark.parametrize("size", [32, 33, SIZE])
def test_every_image_gives_every_view(height: int, width: int, size: int) -> None:
    image = encoded(noise(height, width))
    crops = {views: render(image, size, views) for views in RENDERED}
    for views, rendered in RENDERED.items():
        assert crops[views].shape == (rendered, size, size, 3)
        assert crops[views].dtype == torch.uint8
    assert torch.equal(crops[1], crops[10][:1])
    assert torch.equal(crops[10], crops[144][:5])


@pytest.mark.parametrize(("height", "width"), [(2, 700), (700, 2), (3, 250), (250, 3), (1, 999), (40, 1500)])
@pytest.mark.parametrize("views", [1, 144])
def test_an_image_enlarged_in_strips_gives_the_same_views(
    height: int, width: int, views: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, made = encoded(noise(height, width)), []
    monkeypatch.setattr(module, "LONG", 10_000)
    whole = render(image, 32, views)
    monkeypatch.setattr(module, "LONG", 8)
    monkeypatch.setattr(module, "STRIP_PIXELS", 100_000)

    def recorded(pixels: NDArray[np.uint8], size: tuple[int, int], interpolation: str = "bilinear") -> torch.Tensor:
        made.append(max(size[0] * size[1], len(pixels) * size[1]))
        return resize(pixels, size, interpolation)

    monkeypatch.setattr(module, "resize", recorded)
    assert torch.equal(render(image, 32, views), whole)
    assert max(made) <= 100_000  # pixels; whole it has up to 2.5 million


def test_a_very_long_image_is_never_there_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def recorded(pixels: NDArray[np.uint8], size: tuple[int, int], interpolation: str = "bilinear") -> torch.Tensor:
        made.append(size[0] * size[1])
        return resize(pixels, size, interpolation)

    monkeypatch.setattr(module, "resize", recorded)
    render(encoded(noise(1, 1000)), 224, 144)
    assert max(made) <= module.STRIP_PIXELS  # 124 million whole


def test_fewer_views_are_the_first_of_more() -> None:
    image = encoded(noise(50, 70))
    views = {n: with_mirrors(render(image, 32, n).permute(0, 3, 1, 2)[None], n) for n in (1, 10, 12, 144)}
    assert {n: tuple(images.shape) for n, images in views.items()} == {n: (1, n, 3, 32, 32) for n in views}
    assert torch.equal(views[1], views[144][:, :1])
    assert torch.equal(views[10], views[144][:, :10])
    assert torch.equal(views[12], views[144][:, :12])


@pytest.mark.parametrize("views", [10, 12, 144])
def test_half_of_the_views_are_the_mirror_images_of_the_others(views: int) -> None:
    images = torch.rand(2, RENDERED[views], 3, 8, 8)
    every = with_mirrors(images, views)
    assert every.shape == (2, views, 3, 8, 8)
    pairs = [(view, view + 5) for view in range(5)]
    pairs += [(10, 11)] if views >= 12 else []
    pairs += [(view, view + 66) for view in range(12, 78)] if views == 144 else []
    assert sorted(view for pair in pairs for view in pair) == list(range(views))
    for plain, mirrored in pairs:
        assert torch.equal(every[:, mirrored], every[:, plain].flip(-1))
    assert torch.equal(every[:, [plain for plain, _ in pairs]], images)


def test_a_single_view_is_not_mirrored() -> None:
    images = torch.rand(2, 1, 3, 8, 8)
    assert torch.equal(with_mirrors(images, 1), images)


def test_square_images_show_one_square_three_times() -> None:
    crops = render(encoded(noise(60, 60)), SIZE, 144).unflatten(0, (4, 3, 6))
    assert torch.equal(crops[:, 0], crops[:, 1])
    assert torch.equal(crops[:, 0], crops[:, 2])
