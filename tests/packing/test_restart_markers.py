"""JPEGs are packed with restart markers, their pixels the same; what `jpegtran` cannot do is left and counted."""

import io
import shutil
import signal
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from platform.config.checks import ConfigError
from platform.config.data import DataConfig, LoaderConfig
from platform.config.experiment import Experiment
from platform.config.sections import Config
from platform.config.training import TrainingConfig
from platform.data.decode import Box, EncodedImage
from platform.data.index import read_index
from platform.data.jpeg_intervals import edges_of, header, part_of
from platform.experiment.packed_data import open_data
from platform.experiment.plan import plan
from platform.experiment.plan_text import lines
from platform.packing import encode, recipe, restart_markers
from platform.packing.adopt import index_shards
from platform.packing.encode import stored
from platform.packing.pack import pack
from platform.packing.restart_markers import Marked, interval, with_markers
from platform.packing.shard import write_shard
from tests.packing.packed import config, contents, read_split, write_files

JPEGTRAN = shutil.which("jpegtran")
needs_jpegtran = pytest.mark.skipif(JPEGTRAN is None, reason="no jpegtran here (Debian: libjpeg-turbo-progs)")


@pytest.fixture(autouse=True)
def program_anew() -> Iterator[None]:
    restart_markers._program.cache_clear()
    with pytest.MonkeyPatch.context() as patch:  # smaller files than it pays for
        for module in (restart_markers, encode):
            patch.setattr(module, "LEAST_BYTES", 16_384)
        yield
    restart_markers._program.cache_clear()


def rewritten(content: bytes) -> tuple[bytes, str]:
    return with_markers(content, Image.open(io.BytesIO(content)), EncodedImage(content).decode())


def encoded(image: Image.Image, file_format: str = "JPEG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def planned(data: DataConfig) -> str:
    config = Config(data=data, training=TrainingConfig(batch_size=4), loader=LoaderConfig(streams=2))
    return "\n".join(lines(plan(Experiment(config, {"model": config}))))


@pytest.fixture
def photo(photos: list[bytes]) -> Image.Image:
    return Image.open(io.BytesIO(photos[0])).convert("RGB").crop((0, 0, 480, 400))


@needs_jpegtran
@pytest.mark.parametrize("options", [{"subsampling": 0}, {"subsampling": 1}, {"subsampling": 2}, {"progressive": True}])
def test_the_same_pixels_in_tiles(photo: Image.Image, options: dict[str, Any]) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = encoded(photo, quality=90, exif=exif, icc_profile=b"p" * 200, **options)
    made, why = rewritten(content)
    assert why == restart_markers.REWRITTEN
    np.testing.assert_array_equal(EncodedImage(made).decode(), EncodedImage(content).decode())
    tiles = header(made)
    assert tiles is not None
    assert edges_of(made, tiles) is not None
    assert 5 <= tiles.columns <= 12
    again = Image.open(io.BytesIO(made))
    assert (again.getexif()[0x0112], again.info["icc_profile"]) == (6, b"p" * 200)
    part = part_of(made, 300, 250, 400, 350)
    assert part is not None
    assert len(part.content) < 0.3 * len(made)
    assert rewritten(made) == (made, restart_markers.HAD)


@needs_jpegtran
def test_grey_is_rewritten_too(photo: Image.Image) -> None:
    content = encoded(photo.convert("L"), quality=95)
    made, why = rewritten(content)
    assert why == restart_markers.REWRITTEN
    np.testing.assert_array_equal(
        EncodedImage(made).decode(Box(9, 200, 99, 380)), EncodedImage(content).decode()[200:380, 9:99]
    )


@needs_jpegtran
def test_what_is_not_rewritten_says_why(photo: Image.Image) -> None:
    second = encoded(photo, "MPO", quality=95, save_all=True, append_images=[photo])
    odd = bytearray(encoded(photo, quality=95, subsampling=0))
    odd[odd.index(b"\xff\xc0") + 17] = 0x21  # the chroma twice as wide as the luma
    assert rewritten(encoded(photo.resize((40, 40)))) == (encoded(photo.resize((40, 40))), restart_markers.SMALL)
    assert rewritten(encoded(photo.convert("CMYK"), quality=95))[1] == restart_markers.UNUSUAL
    assert rewritten(second) == (second, restart_markers.SECOND)
    assert with_markers(bytes(odd), Image.open(io.BytesIO(odd)), np.empty(0, np.uint8))[1] == restart_markers.UNUSUAL


@pytest.mark.parametrize(
    ("units", "columns"), [(63, 9), (64, 8), (32, 8), (21, 7), (40, 8), (47, 1), (2, 2), (1, 1), (34, 2)]
)
def test_intervals_divide_a_row_in_about_eight_or_are_rows(units: int, columns: int) -> None:
    assert interval(units) * columns == units


def instead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """A program called jpegtran that is the real one for small images, as the first try is, and else does `script`."""
    program = tmp_path / "bin" / "jpegtran"
    program.parent.mkdir()
    dd, wc, rm = (shutil.which(name) for name in ("cat", "wc", "rm"))
    program.write_text(
        textwrap.dedent(f"""\
            #!/bin/sh
            real={JPEGTRAN}
            [ "$1" = -version ] && exec $real -version
            input={tmp_path}/input.$$
            {dd} > $input
            if [ $({wc} -c < $input) -lt 10000 ]; then $real "$@" < $input; else {script}; fi
            status=$?
            {rm} $input
            exit $status
            """)
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))


@needs_jpegtran
@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("exit 1", restart_markers.FAILED),
        (f"kill -{signal.SIGSEGV.value} $$", restart_markers.FAILED),
        ("$real -copy none -restart 8B < $input | /usr/bin/head -c 9000", restart_markers.FAILED),
        ("$real < $input", restart_markers.FAILED),
        ("echo no JPEG", restart_markers.FAILED),
        ("while :; do :; done", restart_markers.FAILED),
        ("$real -flip vertical -trim -restart 1 < $input", restart_markers.OTHER_PIXELS),
        ("/bin/cat $input $input $input", restart_markers.FAILED),
    ],
)
def test_a_program_that_fails_leaves_the_image_as_it_was(
    photo: Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, why: str
) -> None:
    instead(tmp_path, monkeypatch, script)
    restart_markers.require_program()
    if "while" in script:
        monkeypatch.setattr(restart_markers, "TIME_LIMIT_S", 1)
    content = encoded(photo, quality=95)
    assert rewritten(content) == (content, why)


def test_without_the_program_packing_is_refused_before_anything_is_read(
    tmp_path: Path, class_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    message = r"data.restart_markers is true, but jpegtran is not installed on this machine; install it \(Debian and Ub"
    with pytest.raises(ConfigError, match=message) as refused:
        pack(config(tmp_path, class_folder, restart_markers=True))
    assert "\n" not in str(refused.value)
    with pytest.raises(ConfigError, match=message):
        planned(config(tmp_path, class_folder, restart_markers=True))
    pack(config(tmp_path, class_folder))


def test_another_program_of_the_name_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for script in ("#!/bin/sh\n/bin/cat\n", "#!/bin/sh\nexit 3\n", "#!/nowhere\n"):
        program = tmp_path / "jpegtran"
        program.write_text(script)
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))
        restart_markers._program.cache_clear()
        with pytest.raises(ConfigError, match=r"jpegtran does not work as that of libjpeg-turbo 2.1 or later; install"):
            restart_markers.require_program()


def sources(tmp_path: Path, photo: Image.Image, small_jpegs: list[bytes]) -> Path:
    """Of each class four photographs, of which one is grey, a small JPEG and a PNG."""
    files = {}
    for number, name in enumerate(("cat", "dog", "eel")):
        images = [photo.crop((8 * number, 8 * i, 320 + 8 * number, 240 + 8 * i)) for i in range(3)]
        files |= {f"{name}/{i}.jpg": encoded(image, quality=95) for i, image in enumerate(images)}
        files |= {f"{name}/grey.jpg": encoded(images[0].convert("L"), quality=99)}
        files |= {
            f"{name}/small.jpg": small_jpegs[number],
            f"{name}/plain.png": encoded(images[1].resize((50, 40)), "PNG"),
        }
    return write_files(tmp_path / "source", files)


def pixels_of(folder: str) -> list[tuple[str, bytes]]:
    index = read_index(folder)
    return [
        (each.key, EncodedImage(each.image).decode().tobytes())
        for part in ("train", "val")
        for each in read_split(index, part)
    ]


@needs_jpegtran
@pytest.mark.parametrize("shorter_side", [None, 160])
def test_packing_says_what_became_of_the_jpegs(
    tmp_path: Path, photo: Image.Image, small_jpegs: list[bytes], shorter_side: int | None
) -> None:
    source = sources(tmp_path, photo, small_jpegs)
    data = config(tmp_path, source, shorter_side=shorter_side, restart_markers=True)
    report, index = pack(data), read_index(data.shards)
    plain = replace(data, restart_markers=False, shards=str(tmp_path / "plain"))
    pack(plain)
    assert pixels_of(data.shards) == pixels_of(plain.shards)
    marked = report.marked
    assert Marked.of(index.packing[recipe.MARKED]) == marked
    if shorter_side:
        small = marked.left[restart_markers.SMALL]
        assert (marked.encoded + small, marked.rewritten, marked.left.total()) == (15, 0, small)
        assert marked.encoded > 3
        assert marked.line() == f"restart markers: {marked.encoded} encoded with them; {small} without, under 64 kB"
    else:
        assert (marked.encoded, marked.rewritten, marked.left) == (0, 12, Counter({restart_markers.SMALL: 3}))
        sizes = [sum(path.stat().st_size for path in Path(each.shards).glob("*.tar")) for each in (plain, data)]
        assert abs((sizes[1] - sizes[0]) - (marked.bytes_after - marked.bytes_before)) < 15 * 1024  # a tar's blocks
        assert marked.line().startswith("restart markers: 12 JPEGs rewritten (0.")
    large = [
        each.image for each in read_split(index, "train") if each.image[:2] == b"\xff\xd8" and len(each.image) > 17_000
    ]
    tiles = [header(each) for each in large]
    assert len(tiles) > 3
    assert all(each is not None and each.columns > 1 for each in tiles)
    assert marked.line() in planned(data)
    before = contents(Path(data.shards))
    shutil.rmtree(data.shards)
    pack(data)
    assert contents(Path(data.shards)) == before


@needs_jpegtran
def test_shards_with_markers_do_for_a_config_without_and_not_the_other_way(
    tmp_path: Path, photo: Image.Image, small_jpegs: list[bytes]
) -> None:
    data = config(tmp_path, sources(tmp_path, photo, small_jpegs), restart_markers=True)
    assert "restart markers: written when packed" in planned(data)
    pack(data)
    open_data(Config(data=replace(data, restart_markers=False)))
    other = replace(data, shards=str(tmp_path / "other"), restart_markers=False)
    pack(other)
    said = r"packed with data.restart_markers=False, the config asks for data.restart_markers=True; pack into another"
    with pytest.raises(ConfigError, match=said):
        open_data(Config(data=replace(other, restart_markers=True)))
    unpacked = replace(other, source=None, restart_markers=True)
    (tmp_path / "other" / "index.json").unlink()
    with pytest.raises(ConfigError, match=r"data.restart_markers is True, but indexing changes no shard"):
        index_shards(unpacked, Config().storage, "cls")


def test_an_index_of_others_may_say_anything_of_markers(tmp_path: Path, class_folder: Path) -> None:
    data = config(tmp_path, class_folder)
    pack(data)
    path = tmp_path / "shards" / "index.json"
    for said in ("7", '{"rewritten": "x"}', '{"left": [1]}', '{"more": 1}', '{"rewritten": 5}'):
        path.write_text(path.read_text().replace('"seed": 0', f'"seed": 0, "{recipe.MARKED}": {said}', 1))
        text = planned(replace(data, source=None))
        assert "shards      " in text


@needs_jpegtran
def test_a_program_that_goes_away_ends_the_packing_with_its_name(
    tmp_path: Path, class_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = config(tmp_path, class_folder, restart_markers=True)

    def run_on_another_node(tasks: object) -> Iterator[object]:
        monkeypatch.setenv("PATH", str(tmp_path))
        restart_markers._program.cache_clear()
        yield from map(write_shard, tasks)  # type: ignore[call-overload]

    runner: Callable[..., object] = run_on_another_node
    with pytest.raises(ConfigError, match="jpegtran is not installed on this machine"):
        pack(data, run=runner)  # pyright: ignore[reportArgumentType]
    assert not (Path(data.shards) / "index.json").exists()


def test_kept_bytes_stay_the_files_own_without_the_setting(photo: Image.Image) -> None:
    content = encoded(photo, quality=95)
    assert stored(content, None, 90).content is content
    assert DataConfig().restart_markers is False
