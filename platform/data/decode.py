"""Bytes to pixels: decode only the region asked for.

JPEG is decoded by nvImageCodec on the CPU (libjpeg-turbo inside, region decoding, one decoder per thread, without the
GIL), where it has restart markers from the intervals around the region alone (`jpeg_intervals`); every other format,
and JPEG of four components (CMYK), by Pillow: `modes` says what becomes of 16 bits and transparency. Both give the same
pixels, so a model that is used elsewhere does with Pillow alone. EXIF orientation is ignored throughout, as in
torchvision and webdataset: boxes and labels are of the stored pixels. `decoders` chooses between CPU and GPU.
"""

import contextlib
import functools
import importlib.util
import io
import os
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from platform.data.jpeg_intervals import part_of
from platform.data.modes import in_rgb

FORMATS = ("JPEG", "PNG", "WEBP")  # of the many that Pillow knows, some start other programs (EPS: Ghostscript)
MOST_PIXELS = 2 * 89_478_485  # Pillow's own limit against decompression bombs: half a gigabyte decoded
MOST_ASPECT = 1000  # evaluation scales the shorter side up, and the longer one with it


class CorruptImage(ValueError):
    """Bytes that are not an image, or not one that is read here."""


@dataclass(frozen=True)
class Box:
    """Part of an image in pixels; right and bottom exclusive."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.bottom - self.top, self.right - self.left


class EncodedImage:
    """An image whose `width` and `height` are known and whose pixels are not decoded yet.

    Args:
        data: the file's bytes; they must not change.

    Raises:
        CorruptImage: the bytes have no readable header, or the image is too large or too long.
    """

    def __init__(self, data: bytes | memoryview) -> None:
        self._data = data  # whose memory the stream reads
        self._stream = None
        if data[:2] == b"\xff\xd8" and _has_codec():
            with contextlib.suppress(RuntimeError):  # Pillow may read what nvImageCodec does not
                stream = _codec().CodeStream(np.frombuffer(data, np.uint8))
                self.width, self.height = int(stream.width), int(stream.height)
                # CMYK goes to Pillow: without Adobe's marker nvImageCodec assumes that it is not inverted.
                self._stream = stream if stream.num_channels in (1, 3) and stream.precision == 8 else None
        if self._stream is None:
            with _pillow_errors():
                self.width, self.height = _open(data).size
        if not 0 < self.width * self.height <= MOST_PIXELS:
            raise CorruptImage(f"it has {self.width}x{self.height} pixels, none or more than {MOST_PIXELS:,}")
        if max(self.width, self.height) > MOST_ASPECT * min(self.width, self.height):
            raise CorruptImage(
                f"it has {self.width}x{self.height} pixels: more than {MOST_ASPECT} times as long as wide"
            )

    def decode(self, box: Box | None = None) -> NDArray[np.uint8]:
        """Pixels of `box` (default: all), `[H, W, 3]` RGB, uint8.

        Raises:
            CorruptImage: the data are truncated or damaged.
        """
        whole = Box(0, 0, self.width, self.height)
        box = box or whole
        if self._stream is not None:
            pixels = None if box == whole else self._decoded_from_part(box)
            pixels = _decoded(self._stream, box) if pixels is None else pixels
            if pixels is not None:
                return pixels
        with _pillow_errors():
            return np.asarray(in_rgb(_open(self._data), (box.left, box.top, box.right, box.bottom)))

    def region(self, box: Box) -> Any:
        """nvImageCodec's code stream of `box`, which its decoders take; None for an image that it does not read."""
        if self._stream is None:
            return None
        return _region(self._stream, box)

    def _decoded_from_part(self, box: Box) -> NDArray[np.uint8] | None:
        """The same pixels from the restart intervals around `box`; None: the file has none, or they would not pay."""
        part = part_of(self._data, box.left, box.top, box.right, box.bottom)
        if part is None:
            return None
        inside = Box(box.left - part.left, box.top - part.top, box.right - part.left, box.bottom - part.top)
        return _decoded(_codec().CodeStream(part.content), inside)


def _region(stream: Any, box: Box) -> Any:
    return stream.get_sub_code_stream(region=_codec().Region(box.top, box.left, box.bottom, box.right))


def _decoded(stream: Any, box: Box) -> NDArray[np.uint8] | None:
    """nvImageCodec's pixels of `box`; None: it cannot decode them."""
    decoder, as_stored = _decoder()
    image = decoder.decode(_region(stream, box), params=as_stored)
    pixels = None if image is None else np.asarray(image)
    return pixels if pixels is not None and pixels.shape == (*box.size, 3) else None


def _open(data: bytes | memoryview) -> Image.Image:
    return Image.open(io.BytesIO(data), formats=FORMATS)


@contextlib.contextmanager
def _pillow_errors() -> Iterator[None]:
    try:
        yield
    except Exception as error:  # its decoders raise errors of many types
        reason = "no image format known here" if isinstance(error, UnidentifiedImageError) else str(error)
        raise CorruptImage(reason or type(error).__name__) from error


_thread = threading.local()
_module: Any = None
_module_lock = threading.Lock()


@functools.cache
def _has_codec() -> bool:
    """Whether nvImageCodec is installed: this file is also part of models that are used elsewhere."""
    try:
        return importlib.util.find_spec("nvidia.nvimgcodec") is not None
    except ModuleNotFoundError:  # nothing of NVIDIA's is
        return False


def _codec() -> Any:
    """nvImageCodec's module. Its import writes to stderr that nvJPEG is absent, which the CPU decoder does not need."""
    global _module
    if _module is not None:  # called three times an image: without the lock from the second time on
        return _module
    with _module_lock:
        if _module is None:
            os.environ.setdefault("PYNVIMGCODEC_VERBOSITY", "0")  # corrupt images are counted and reported by us
            with _silent_stderr():
                from nvidia import nvimgcodec as loaded

                nvimgcodec: Any = loaded  # its names are made at run time
                nvimgcodec.CodeStream(_SMALLEST_JPEG)  # plug-ins are loaded, and write to stderr, at the first use
            _module = nvimgcodec
    return _module


def _decoder() -> tuple[Any, Any]:
    """This thread's decoder, and its parameters."""
    if not hasattr(_thread, "decoder"):
        _thread.decoder = new_decoder()
    return _thread.decoder


def new_decoder(gpu: int | None = None) -> tuple[Any, Any]:
    """A decoder for one thread, on the CPU or on the GPU of this index; and the parameters of its `decode`."""
    codec = _codec()
    on_cpu = {"backends": [codec.Backend(codec.BackendKind.CPU_ONLY)], "device_id": codec.NVIMGCODEC_DEVICE_CPU_ONLY}
    with _module_lock, _silent_stderr():
        decoder = codec.Decoder(max_num_cpu_threads=1, **(on_cpu if gpu is None else {"device_id": gpu}))
    return decoder, codec.DecodeParams(apply_exif_orientation=False)


@contextlib.contextmanager
def _silent_stderr() -> Iterator[None]:
    """Discard what C code writes to file descriptor 2. Around single calls only: all threads share it."""
    sys.stderr.flush()
    saved = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)


def _smallest_jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "JPEG")
    return buffer.getvalue()


_SMALLEST_JPEG = _smallest_jpeg()
