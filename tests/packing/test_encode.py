"""What a shard holds of an image: its own bytes where that can be, a smaller JPEG only if asked."""

import io
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, JpegImagePlugin

from platform.data.decode import EncodedImage
from platform.data.index import read_index
from platform.packing.encode import stored
from platform.packing.pack import pack
from tests.packing.packed import config, member_names, one_image, read_split, write_files


@pytest.mark.parametrize(
    ("name", "kept"), [("PNG", True), ("WEBP", True), ("BMP", False), ("GIF", False), ("TIFF", False)]
)
def test_formats_that_are_decoded_are_kept_and_others_become_jpeg(
    tmp_path: Path, class_folder: Path, name: str, kept: bool
) -> None:
    content = one_image(name)
    write_files(class_folder, {f"fox/{i}.{name.lower()}": content for i in range(2)})
    pack(config(tmp_path, class_folder, classes=4, val_fraction=0.5, jpeg_quality=97))
    index = read_index(tmp_path / "shards")
    (sample,) = [s for s in read_split(index, "train") if index.classes[s.label] == "fox"]
    assert (sample.image == content) == kept
    image = Image.open(io.BytesIO(sample.image))
    assert image.format == (name if kept else "JPEG")
    original = np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(float)
    assert np.abs(np.asarray(image.convert("RGB")) - original).mean() < 4


def test_the_suffix_does_not_decide_about_the_format(tmp_path: Path, class_folder: Path) -> None:
    write_files(class_folder, {f"fox/{i}.jpg": one_image("PNG") for i in range(2)})
    pack(config(tmp_path, class_folder, classes=4, val_fraction=0.5))
    assert Counter(Path(name).suffix for name in member_names(tmp_path / "shards")) == {
        ".cls": 14,
        ".jpg": 12,
        ".png": 2,
    }


def sampling(content: bytes) -> int:
    image = Image.open(io.BytesIO(content))
    assert isinstance(image, JpegImagePlugin.JpegImageFile)
    return JpegImagePlugin.get_sampling(image)


@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_a_shrunk_jpeg_has_half_the_chroma_and_looks_the_same(photos: list[bytes], subsampling: int) -> None:
    buffer = io.BytesIO()
    original = Image.open(io.BytesIO(photos[0]))
    original.save(buffer, "JPEG", quality=95, subsampling=subsampling, exif=b"Exif\0\0" + b"x" * 8)
    extension, content, *_ = stored(buffer.getvalue(), 200, 90)
    shrunk = Image.open(io.BytesIO(content))
    assert (extension, shrunk.size, shrunk.format) == ("jpg", (300, 200), "JPEG")
    assert sampling(content) == 2  # 4:2:0
    assert "exif" not in shrunk.info
    assert len(content) < len(buffer.getvalue())
    expected = np.asarray(original.resize((300, 200), Image.Resampling.LANCZOS)).astype(float)
    assert np.abs(np.asarray(shrunk) - expected).mean() < 4


def test_orientation_is_not_applied(photos: list[bytes]) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    buffer = io.BytesIO()
    Image.open(io.BytesIO(photos[0])).save(buffer, "JPEG", exif=exif)
    assert stored(buffer.getvalue(), None, 90) == ("jpg", buffer.getvalue(), None, None)
    assert Image.open(io.BytesIO(stored(buffer.getvalue(), 200, 90)[1])).size == (300, 200)


@pytest.mark.parametrize("shorter_side", [None, 200, 201])
def test_images_that_are_small_enough_keep_their_bytes(shorter_side: int | None) -> None:
    for file_format in ("PNG", "WEBP", "JPEG"):
        content = one_image(file_format)
        assert stored(content, shorter_side, 90)[1] == content


def test_other_formats_become_jpeg_with_all_their_chroma_and_grey_stays_grey() -> None:
    for file_format in ("PNG", "BMP", "WEBP"):
        assert sampling(stored(one_image(file_format), 100, 90)[1]) == 2
    assert sampling(stored(one_image("BMP"), None, 90)[1]) == 0
    grey = Image.open(io.BytesIO(stored(one_image("JPEG", "L"), 100, 90)[1]))
    assert (grey.mode, grey.size) == ("L", (100, 100))


def test_a_decoded_image_is_shrunk_too() -> None:
    content = stored(Image.new("RGB", (400, 300)), 150, 90)[1]
    assert Image.open(io.BytesIO(content)).size == (200, 150)


DEEP = np.repeat(np.arange(256, dtype=np.uint16)[:, None], 256, 1)  # 0 .. 255 of what should be shown


def saved(image: Image.Image, file_format: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format)
    return buffer.getvalue()


def shown(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)).convert("L")).astype(int)


@pytest.mark.parametrize("file_format", ["TIFF", "PPM", "PNG", None])
def test_16_bits_are_scaled_when_packed_and_png_keeps_its_bytes(file_format: str | None) -> None:
    image = Image.fromarray(DEEP * 257)
    content = image if file_format is None else saved(image, file_format)
    for shorter_side in (None, 128):
        extension, packed, converted, _ = stored(content, shorter_side, 95)
        assert "values 0 to 65535 as 0 to 255" in (converted or "")
        if file_format == "PNG" and shorter_side is None:
            assert (extension, packed) == ("png", content)
            continue
        assert extension == "jpg"
        assert Image.open(io.BytesIO(packed)).mode == "L"
        assert np.abs(shown(packed) - DEEP[:: 256 // (shorter_side or 256), : shorter_side or 256]).max() <= 2


def test_a_range_is_asked_for_by_name_and_then_used() -> None:
    floats, twelve_bits = (
        saved(Image.fromarray(DEEP.astype(np.float32)), "TIFF"),
        saved(Image.fromarray(DEEP * 16), "PNG"),
    )
    with pytest.raises(ValueError, match=r"floating-point numbers \(0 to 255 in it\).*data.value_range"):
        stored(floats, None, 95)
    for content, value_range in ((floats, (0.0, 255.0)), (twelve_bits, (0.0, 4080.0))):
        extension, packed, *_ = stored(content, None, 95, value_range)
        assert extension == "jpg"
        assert np.abs(shown(packed) - DEEP).max() <= 2


@pytest.mark.parametrize("file_format", ["PNG", "BMP", None])
def test_an_image_too_long_to_be_used_is_not_packed(file_format: str | None) -> None:
    image = Image.new("RGB", (4000, 2))
    with pytest.raises(ValueError, match="4000x2 pixels: more than 1000 times as long as wide"):
        stored(image if file_format is None else saved(image, file_format), None, 90)


def test_transparent_images_are_packed_on_white() -> None:
    hidden = Image.new("RGBA", (40, 40), (200, 0, 0, 0))
    for content in (hidden, saved(hidden, "TIFF"), saved(hidden, "PNG")):
        for shorter_side in (None, 32):
            _, packed, converted, _ = stored(content, shorter_side, 95)
            assert converted == "RGBA (what is transparent on white)"
            assert (EncodedImage(packed).decode() == 255).all()


def test_a_packing_counts_what_it_converted(tmp_path: Path, class_folder: Path) -> None:
    deep, hidden = Image.fromarray(DEEP * 257), Image.new("RGBA", (40, 40), (200, 0, 0, 0))
    write_files(class_folder, {f"cat/deep{i}.png": saved(deep, "PNG") for i in range(3)})
    write_files(class_folder, {f"cat/hidden{i}.tif": saved(hidden, "TIFF") for i in range(2)})
    write_files(class_folder, {"cat/float.tif": saved(Image.fromarray(DEEP.astype(np.float32)), "TIFF")})
    report = pack(config(tmp_path, class_folder))
    assert list(report.converted.items()) == [
        ("I;16 (values 0 to 65535 as 0 to 255)", 3),
        ("RGBA (what is transparent on white)", 2),
    ]
    (refused,) = report.unreadable
    assert refused.startswith("cat/float.tif: its values are floating-point numbers")
    assert "give data.value_range=[BLACK,WHITE]" in refused
    report = pack(config(tmp_path / "again", class_folder, value_range=[0.0, 65535.0]))
    assert report.unreadable == []
    assert report.converted["I;16 (values 0 to 65535 as 0 to 255)"] == 3
    assert report.converted["F (values 0 to 65535 as 0 to 255)"] == 1
    assert read_index(tmp_path / "again" / "shards").packing["value_range"] == [0.0, 65535.0]


@pytest.mark.parametrize("share", [0.01, 0.5, 0.999])
def test_a_torn_file_is_refused(photos: list[bytes], share: float) -> None:
    with pytest.raises((ValueError, OSError)):
        stored(photos[0][: int(len(photos[0]) * share)], None, 90)


@pytest.mark.parametrize("content", [b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"DDS " + b"\x7c" * 200])
def test_formats_that_start_other_programs_are_not_packed(content: bytes, ghostscript_ran: Path) -> None:
    with pytest.raises((OSError, ValueError)):
        stored(content, None, 90)
    assert not ghostscript_ran.exists()
