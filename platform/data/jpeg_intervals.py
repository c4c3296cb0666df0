"""A smaller JPEG of those restart intervals of a JPEG that a box needs: the others need no Huffman decoding.

Restart markers (ITU-T T.81, B.2.1) cut the entropy-coded data into intervals that are decoded on their own. In: a file
and a box of pixels. Out: a file of the tiles around it, whose pixels there are those of the whole one, to the bit.
Files are foreign: whatever is out of the ordinary makes None, and is decoded the ordinary way.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# The second byte of a marker.
RST0, SOI, EOI, SOS, DQT, DHT, DRI, COM = 0xD0, 0xD8, 0xD9, 0xDA, 0xDB, 0xC4, 0xDD, 0xFE
SEQUENTIAL = (0xC0, 0xC1)  # frames of one scan with Huffman codes
JFIF, ADOBE = 0xE0, 0xEE  # application segments that say what the components are
FIRST_APP, LAST_APP = 0xE0, 0xEF
# Of (luma, chroma, chroma): 4:4:4, 4:2:2, 4:4:0, 4:2:0.
SAMPLINGS = ((0x11, 0x11, 0x11), (0x21, 0x11, 0x11), (0x12, 0x11, 0x11), (0x22, 0x11, 0x11))
MARGIN = 2  # pixels around the box that its chroma is interpolated from, where it has half the resolution
LEAST_SAVED = 24_576  # bytes: making a part takes about as long as decoding so many
NUMBERS = RST0 + (np.arange(1 << 16) % 8).astype(np.uint8)  # second bytes of the markers of a scan, in turn


@dataclass(frozen=True)
class Header:
    """What a baseline JPEG's header says, as far as it decides where its tiles are."""

    kept: bytes  # segments that pixels depend on, to the beginning of the scan
    size_at: int  # place of height and width in `kept`, two bytes each
    scan_at: int  # place of the entropy-coded data in the file
    width: int  # pixels
    height: int
    columns: int  # of tiles; a tile is an interval
    rows: int
    tile_width: int  # pixels
    tile_height: int


class Part(NamedTuple):
    """A JPEG of some of the tiles of another one."""

    content: NDArray[np.uint8]
    left: int  # of its first pixel, in the other
    top: int


def part_of(data: bytes | memoryview, left: int, top: int, right: int, bottom: int) -> Part | None:
    """The tiles of a JPEG that a box of pixels needs; None: it has none, or hardly fewer would be decoded.

    Args:
        data: the file.
        left: of the box, as are `top`, `right` and `bottom`; the last two are not part of it.
        top: pixels.
        right: pixels.
        bottom: pixels.
    """
    # One column at an edge of 4:2:0 depends on the way it is decoded.
    found = header(data) if right - left > 1 else None
    if found is None or right > found.width or bottom > found.height:
        return None
    first_column, first_row = max(left - MARGIN, 0) // found.tile_width, max(top - MARGIN, 0) // found.tile_height
    stop_column = min((right - 1 + MARGIN) // found.tile_width + 1, found.columns)
    stop_row = min((bottom - 1 + MARGIN) // found.tile_height + 1, found.rows)
    # The ordinary way ends at the bottom of the box, too.
    spared = found.columns * stop_row - (stop_column - first_column) * (stop_row - first_row)
    if spared * (len(data) - found.scan_at) < LEAST_SAVED * found.columns * found.rows:
        return None
    edges = edges_of(data, found)
    if edges is None:
        return None
    wanted = slice(first_row, stop_row), slice(first_column, stop_column)
    ends = edges[1:].reshape(found.rows, found.columns)[wanted]
    starts = edges[:-1].reshape(found.rows, found.columns)[wanted]
    first, last = starts[:, 0].tolist(), ends[:, -1].tolist()
    coded = memoryview(data)[found.scan_at :]
    content = bytearray().join((found.kept, *(coded[start:stop] for start, stop in zip(first, last, strict=True))))
    x, y = first_column * found.tile_width, first_row * found.tile_height
    height = min(stop_row * found.tile_height, found.height) - y
    width = min(stop_column * found.tile_width, found.width) - x
    content[found.size_at : found.size_at + 4] = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    made = np.frombuffer(content, np.uint8)
    made[len(found.kept) - 1 + (ends - starts).cumsum()] = _numbers(ends.size)
    made[-1] = EOI
    return Part(made, x, y)


def edges_of(data: bytes | memoryview, found: Header) -> NDArray[np.int64] | None:
    """Where each interval begins and, with the marker behind it, the last one ends, counted from the beginning of the
    scan: int64 `[N + 1]`; None: the markers are not those that the header announces, one after the other and the end of
    the image behind them."""
    coded = np.frombuffer(data, np.uint8)[found.scan_at :]
    places = np.flatnonzero(coded[:-1] == 0xFF)
    codes = coded[places + 1]
    is_marker = codes != 0  # of a coded 0xFF
    places, codes = places[is_marker], codes[is_marker]
    count = found.columns * found.rows
    if len(places) != count or places[-1] != len(coded) - 2 or codes[-1] != EOI:
        return None
    if codes[:-1].tobytes() != _numbers(count - 1).tobytes():
        return None
    edges = np.zeros(count + 1, np.int64)
    np.add(places, 2, out=edges[1:])
    return edges


def _numbers(count: int) -> NDArray[np.uint8]:
    """The second bytes of so many restart markers in turn."""
    return NUMBERS[:count] if count <= len(NUMBERS) else np.resize(NUMBERS, count)


def header(data: bytes | memoryview) -> Header | None:
    """The header of a JPEG whose restart intervals are tiles: parts of a row of blocks that divide it, or whole rows.

    None: it has no restart intervals, or is another kind of JPEG than the usual one.
    """
    kept: list[bytes | memoryview] = [b"\xff\xd8"]
    at, size_at, interval, frame = 2, 0, 0, None
    while at + 4 <= len(data):
        code, length = data[at + 1], data[at + 2] << 8 | data[at + 3]
        segment = data[at : at + 2 + length]
        if data[at] != 0xFF or len(segment) != 2 + length or length < 2:
            return None
        at += 2 + length
        if code in SEQUENTIAL and frame is None:
            size_at, frame = sum(map(len, kept)) + 5, segment
        elif code == DRI and not interval and length == 4:
            interval = segment[4] << 8 | segment[5]
        elif code == SOS:
            kept.append(segment)
            if not interval or frame is None or not _is_usual(frame, segment):
                return None
            return _header(b"".join(kept), size_at, at, frame, interval)
        elif FIRST_APP <= code <= LAST_APP or code == COM:
            if code not in (JFIF, ADOBE):
                continue
        elif code not in (DQT, DHT):
            return None
        kept.append(segment)
    return None


def _is_usual(frame: bytes | memoryview, scan: bytes | memoryview) -> bool:
    """Whether a frame has 8 bits, one or three components in a usual sampling, and one scan of all of them."""
    components = frame[9] if len(frame) > 9 else 0
    if components not in (1, 3) or len(frame) != 10 + 3 * components or len(scan) != 8 + 2 * components:
        return False
    whole = tuple(scan[-3:]) == (0, 63, 0)  # all coefficients with all their bits
    same = scan[4] == components and bytes(frame[10::3]) == bytes(scan[5:-3:2])
    return frame[4] == 8 and whole and same and (components == 1 or tuple(frame[11::3]) in SAMPLINGS)


def _header(kept: bytes, size_at: int, scan_at: int, frame: bytes | memoryview, interval: int) -> Header | None:
    """The tiles of a frame in intervals of so many units; None: the intervals are no tiles."""
    height, width = frame[5] << 8 | frame[6], frame[7] << 8 | frame[8]
    if not height or not width:  # a height of 0 comes behind the scan
        return None
    # Pixels of a unit (MCU). A scan of one component has a block of 8x8 pixels in each, whatever its sampling.
    wide, high = (8 * (frame[11] >> 4), 8 * (frame[11] & 15)) if frame[9] == 3 else (8, 8)
    across, down = -(-width // wide), -(-height // high)
    if across % interval == 0:
        return Header(kept, size_at, scan_at, width, height, across // interval, down, interval * wide, high)
    if interval % across == 0:
        high *= interval // across
        return Header(kept, size_at, scan_at, width, height, 1, -(-height // high), across * wide, high)
    return None
