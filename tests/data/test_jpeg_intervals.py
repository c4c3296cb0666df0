"""The part of a JPEG that a crop needs has the whole one's pixels; foreign files are decoded as ever."""

import contextlib
import io
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from platform.data import jpeg_intervals
from platform.data.decode import Box, CorruptImage, EncodedImage
from platform.data.jpeg_intervals import EOI, RST0, edges_of, header, part_of

Pixels = NDArray[np.uint8]


@contextlib.contextmanager
def pays_from(least_saved: int) -> Iterator[None]:
    """Parts are made where they save at least so many bytes; fewer than none: always."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jpeg_intervals, "LEAST_SAVED", least_saved)
        yield


ALWAYS, NEVER = -(10**9), 10**9


def scene(width: int, height: int, seed: int) -> Image.Image:
    """Edges and colours at all scales: neighbours differ, also in the chroma."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (height // 5 + 2, width // 5 + 2, 3), dtype=np.uint8))
    fine = rng.integers(0, 60, (height, width, 3))
    return Image.fromarray((np.asarray(coarse.resize((width, height))) * 0.75 + fine).astype(np.uint8))


def jpeg(image: Image.Image, sampling: str, blocks: int, **options: object) -> bytes:
    """The image with a marker after so many units; 4:4:0 is made of 4:2:2 of another shape, which has the same data."""
    buffer = io.BytesIO()
    if sampling == "grey" or sampling == "grey 2x2":
        image.convert("L").save(buffer, "JPEG", restart_marker_blocks=blocks, **options)
    else:
        coded = "4:2:2" if sampling == "4:4:0" else sampling
        image.save(buffer, "JPEG", subsampling=coded, restart_marker_blocks=blocks, **options)
    content = bytearray(buffer.getvalue())
    frame = content.index(b"\xff\xc0") if b"\xff\xc0" in content else 0
    if sampling == "grey 2x2":
        content[frame + 11] = 0x22
    if sampling == "4:4:0":
        high, wide = image.height * 2 - image.height % 2, (image.width + 1) // 2
        content[frame + 5 : frame + 9] = high.to_bytes(2, "big") + wide.to_bytes(2, "big")
        content[frame + 11] = 0x12
    return bytes(content)


def pillow(content: bytes) -> Pixels:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def box_in(width: int, height: int, data: st.DataObject) -> Box:
    """Any but those of one column: of these nvImageCodec 0.9 has other pixels than Pillow at an edge of 4:2:0, with
    intervals or without."""
    left, top = data.draw(st.integers(0, max(0, width - 2))), data.draw(st.integers(0, height - 1))
    return Box(left, top, data.draw(st.integers(min(left + 2, width), width)), data.draw(st.integers(top + 1, height)))


def decoded(content: bytes, box: Box) -> Pixels | str:
    """Pixels, or that it is corrupt."""
    try:
        image = EncodedImage(content)
        return image.decode(box) if box.right <= image.width and box.bottom <= image.height else "smaller"
    except CorruptImage:
        return "corrupt"


SAMPLINGS = ("4:4:4", "4:2:2", "4:2:0", "4:4:0", "grey", "grey 2x2")


@pytest.mark.parametrize("sampling", SAMPLINGS)
@given(data=st.data(), width=st.integers(1, 190), height=st.integers(1, 120), blocks=st.integers(1, 40))
@settings(max_examples=25, deadline=None)
def test_a_part_has_the_pixels_of_the_whole(
    sampling: str, data: st.DataObject, width: int, height: int, blocks: int
) -> None:
    content = jpeg(scene(width, height, blocks), sampling, blocks, quality=data.draw(st.sampled_from([30, 90, 100])))
    whole = pillow(content)
    for _ in range(3):
        box = box_in(whole.shape[1], whole.shape[0], data)
        with pays_from(ALWAYS):
            part = part_of(content, box.left, box.top, box.right, box.bottom)
            pixels = EncodedImage(content).decode(box)
        assert (part is not None) == (header(content) is not None and box.size[1] > 1)
        np.testing.assert_array_equal(pixels, whole[box.top : box.bottom, box.left : box.right], str(box))
        if part is not None:  # a JPEG of its own, of which Pillow has the same pixels
            assert part.content[-2:].tolist() == [0xFF, EOI]
            own, y, x = pillow(part.content.tobytes()), box.top - part.top, box.left - part.left
            np.testing.assert_array_equal(own[y : y + pixels.shape[0], x : x + pixels.shape[1]], pixels)


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_intervals_are_tiles_where_they_divide_a_row_or_are_rows(sampling: str) -> None:
    wide, high = {"4:2:2": (16, 8), "4:2:0": (16, 16), "4:4:0": (8, 16)}.get(sampling, (8, 8))
    image = scene(12 * 16 - 3, 90, 0)
    across = {"4:2:2": 12, "4:2:0": 12, "4:4:0": 12}.get(sampling, 24)
    for blocks in (1, 2, 4, across, 2 * across, 5, across - 1, across + 1):
        content = jpeg(image, sampling, blocks)
        found, shape = header(content), pillow(content).shape
        if across % blocks and blocks % across:
            assert found is None
            continue
        assert found is not None
        assert (found.width, found.height) == (shape[1], shape[0])
        each = max(1, blocks // across)
        assert (found.columns, found.rows) == (max(1, across // blocks), -(-shape[0] // (high * each)))
        assert (found.tile_width, found.tile_height) == (wide * min(blocks, across), high * each)
        edges = edges_of(content, found)
        assert edges is not None
        assert found.scan_at + edges[-1] == len(content)


def test_only_the_bytes_around_a_crop_are_read(photos: list[bytes]) -> None:
    """A ninth of the area, in the lower right: about a ninth of the bytes, not all down to there."""
    buffer = io.BytesIO()
    Image.open(io.BytesIO(photos[0])).save(buffer, "JPEG", quality=95, subsampling=0, restart_marker_blocks=4)
    content = buffer.getvalue()
    part = part_of(content, 400, 280, 613, 422)
    assert part is not None
    assert len(part.content) < 0.2 * len(content)
    assert part_of(content, 0, 0, 640, 427) is None  # all of it
    assert part_of(content, 0, 0, 640, 300) is None  # the ordinary way ends there, too


def test_small_savings_are_not_worth_finding_the_intervals() -> None:
    content = jpeg(scene(64, 64, 0), "4:4:4", 1)
    assert part_of(content, 40, 40, 50, 50) is None
    with pays_from(ALWAYS):
        assert part_of(content, 40, 40, 50, 50) is not None


def plain(**options: object) -> bytes:
    return jpeg(scene(96, 64, 1), "4:2:0", 2, **options)


def marker(content: bytes, number: int) -> int:
    """Place of the `number`-th restart marker."""
    found = header(content)
    assert found is not None
    edges = edges_of(content, found)
    assert edges is not None
    return found.scan_at + int(edges[number + 1]) - 2


def changed(content: bytes, at: int, new: bytes, old: int | None = None) -> bytes:
    return content[:at] + new + content[at + (len(new) if old is None else old) :]


def odd_files() -> dict[str, bytes]:
    content = plain()
    frame, restart = content.index(b"\xff\xc0"), content.index(b"\xff\xdd")
    cmyk = io.BytesIO()
    scene(96, 64, 1).convert("CMYK").save(cmyk, "JPEG", restart_marker_blocks=2)
    return {
        "no markers": jpeg(scene(96, 64, 1), "4:2:0", 0),
        "progressive": plain(progressive=True),
        "four components": cmyk.getvalue(),
        "a number out of turn": changed(content, marker(content, 3) + 1, bytes([RST0 + 5])),
        "a marker less": changed(content, marker(content, 3), b"", 2),
        "a marker more": changed(content, marker(content, 3), bytes([0xFF, RST0 + 3, 0xFF, RST0 + 4]), 2),
        "fill bytes": changed(content, marker(content, 3), b"\xff", 0),
        "fill bytes in the header": changed(content, frame, b"\xff", 0),
        "a height that comes later": changed(content, frame + 5, b"\0\0"),
        "a height that comes behind the scan": changed(content, len(content) - 2, b"\xff\xdc\0\4\0\x40\xff\xd9", 2),
        "another interval than is there": changed(content, restart + 4, b"\0\3"),
        "an interval of none": changed(content, restart + 4, b"\0\0"),
        "two intervals": changed(content, restart, content[restart : restart + 6], 0),
        "cut in a marker": content[: marker(content, 9) + 1],
        "cut behind a marker": content[: marker(content, 9) + 2],
        "without its end": content[:-2],
        "bytes behind the end": content + b"trailing",
        "a second image": content + content,
        "12 bits": changed(content, frame + 4, b"\x0c"),
        "chroma of another sampling": changed(content, frame + 14, b"\x21"),
        "more components than said": changed(content, frame + 9, b"\x04"),
        "a segment beyond the end": changed(content, content.index(b"\xff\xdb") + 2, b"\xff\xff"),
    }


@pytest.mark.parametrize("name", odd_files())
def test_what_is_out_of_the_ordinary_is_decoded_the_ordinary_way(name: str) -> None:
    content = odd_files()[name]
    for box in (Box(40, 30, 50, 40), Box(0, 0, 20, 20), Box(70, 50, 96, 64)):
        with pays_from(NEVER):
            expected = decoded(content, box)
        with pays_from(ALWAYS):
            assert part_of(content, box.left, box.top, box.right, box.bottom) is None
            np.testing.assert_array_equal(decoded(content, box), expected)


@given(data=st.data(), sampling=st.sampled_from(SAMPLINGS))
@settings(max_examples=100, deadline=None)
def test_damage_gives_what_the_ordinary_way_gives(data: st.DataObject, sampling: str) -> None:
    damaged = bytearray(jpeg(scene(96, 64, 1), sampling, 2))
    start = data.draw(st.sampled_from([0, damaged.index(b"\xff\xda")]))
    for place in data.draw(st.lists(st.integers(start, len(damaged) - 1), min_size=1, max_size=5)):
        damaged[place] = data.draw(st.one_of(st.sampled_from([0, 0xFF, RST0, RST0 + 1, EOI]), st.integers(0, 255)))
    content = bytes(damaged[: data.draw(st.sampled_from([len(damaged), len(damaged) // 2]))])
    box = box_in(48, 64, data)
    with pays_from(NEVER):
        expected = decoded(content, box)
    with pays_from(ALWAYS):
        np.testing.assert_array_equal(decoded(content, box), expected)


def test_the_markers_that_say_what_colours_are_stay_and_others_go() -> None:
    """Adobe's says that components are red, green and blue: without it they would be taken for YCbCr."""
    image, buffer = scene(96, 64, 1), io.BytesIO()
    options = {"icc_profile": b"p" * 300, "comment": b"c" * 300, "exif": b"Exif\0\0" + b"x" * 300}
    image.save(buffer, "JPEG", keep_rgb=True, quality=95, restart_marker_blocks=2, **options)
    changing = bytearray(buffer.getvalue())
    frame, scan = changing.index(b"\xff\xc0"), changing.index(b"\xff\xda")
    assert bytes(changing[frame + 10 : frame + 19 : 3]) == b"RGB"  # names of components, by which one could tell, too
    changing[frame + 10 : frame + 19 : 3] = changing[scan + 5 : scan + 11 : 2] = b"\1\2\3"
    content = bytes(changing)
    with pays_from(ALWAYS):
        part = part_of(content, 40, 30, 50, 40)
        assert part is not None
        assert not {b"p" * 300, b"c" * 300, b"x" * 300} & {part.content.tobytes()[i : i + 300] for i in range(1500)}
        np.testing.assert_array_equal(EncodedImage(content).decode(Box(40, 30, 50, 40)), pillow(content)[30:40, 40:50])
    assert np.abs(pillow(content).astype(int) - np.asarray(image)).mean() < 9


def test_one_column_is_decoded_the_ordinary_way() -> None:
    content = plain()
    with pays_from(ALWAYS):
        assert part_of(content, 95, 3, 96, 9) is None
        assert part_of(content, 94, 3, 96, 9) is not None


def test_a_view_of_memory_will_do() -> None:
    content = plain()
    with pays_from(ALWAYS):
        part, same = (part_of(each, 40, 30, 50, 40) for each in (content, memoryview(b"xx" + content)[2:]))
    assert part is not None
    assert same is not None
    assert part.content.tobytes() == same.content.tobytes()
