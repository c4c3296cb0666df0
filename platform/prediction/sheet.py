"""`predict.sheet`: the pictures with their classes and the members' opinions, as a page or one picture.

In: rows, and the images they are of. Out: FILE.html, which needs no other file and no network, or FILE.png.
"""

import base64
import html
import io
from collections.abc import Iterator
from pathlib import Path

from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from platform.data.decode import CorruptImage, EncodedImage
from platform.export.description import Description
from platform.files import write_atomically
from platform.prediction.images import Images
from platform.prediction.rows import Row
from platform.prediction.table import opinions
from platform.text import printable

MOST = 200  # pictures on a sheet
SIDE = 160  # pixels of the longer side of a picture
COLUMNS, GAP, LINES = 5, 16, 4  # of the PNG
PAGE = Path(__file__).with_name("sheet.html")


def write_sheet(file: str, rows: list[Row], images: Images, model: Description, title: str) -> None:
    """Write the sheet of the first images.

    Args:
        file: ends in .html or .png.
        rows: of the first images, in order.
        images: read again here.
        model: names of classes and members.
        title: of the page.

    Raises:
        OSError: it cannot be written.
    """
    path = Path(file).expanduser().absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    pictures = [(row, picture) for row, picture in _pictures(rows, images)]
    write_atomically(path, _page(pictures, model, title) if path.suffix.lower() == ".html" else _png(pictures, model))


def _pictures(rows: list[Row], images: Images) -> Iterator[tuple[Row, Pillow.Image | None]]:
    """Each row with its picture, which is small; None: it cannot be decoded."""
    for place, row in enumerate(rows):
        picture = None
        if row.error is None and (data := images.read(place).data) is not None:
            try:
                picture = Pillow.fromarray(EncodedImage(data).decode())
                enlarge = max(1, SIDE // max(picture.size))
                picture = picture.resize((picture.width * enlarge, picture.height * enlarge), Pillow.Resampling.NEAREST)
                picture.thumbnail((SIDE, SIDE))
            except CorruptImage:  # it has changed since
                picture = None
        yield row, picture


def _page(pictures: list[tuple[Row, Pillow.Image | None]], model: Description, title: str) -> bytes:
    cards = "\n".join(_card(row, picture, model) for row, picture in pictures)
    page = PAGE.read_text(encoding="utf-8").replace("{{title}}", html.escape(title))
    return page.replace("{{cards}}", cards).encode("utf-8", "replace")


def _card(row: Row, picture: Pillow.Image | None, model: Description) -> str:
    name = html.escape(printable(row.image))
    shown = f'<p class="error">{html.escape(printable(row.error or "it has changed"))}</p>'
    if picture is not None:
        file = io.BytesIO()
        picture.convert("RGB").save(file, "JPEG", quality=85)
        content = base64.b64encode(file.getvalue()).decode()
        shown = f'<img alt="" width="{picture.width}" height="{picture.height}" src="data:image/jpeg;base64,{content}">'
    bars = "".join(
        f'<li><span>{html.escape(printable(each.name))}</span><meter value="{each.probability:.4f}"></meter>'
        f"<b>{each.probability:.1%}</b></li>"
        for each in row.top
    )
    lines = [f"<p>{html.escape(opinions(row, model))}</p>"] if row.top and len(model.members) > 1 else []
    if row.label is not None:
        right = "right" if row.rank == 1 else "wrong"
        lines.append(f'<p class="{right}">label: {html.escape(printable(row.label))} ({right})</p>')
    return f'<article><h2>{name}</h2><div class="picture">{shown}</div><ol>{bars}</ol>{"".join(lines)}</article>'


def _png(pictures: list[tuple[Row, Pillow.Image | None]], model: Description) -> bytes:
    font = ImageFont.load_default(12)
    cell_w, cell_h = SIDE + GAP, SIDE + GAP + LINES * 16
    columns = min(COLUMNS, len(pictures)) or 1
    lines = -(-len(pictures) // columns)
    sheet = Pillow.new("RGB", (GAP + columns * cell_w, GAP + lines * cell_h), "white")
    draw = ImageDraw.Draw(sheet)
    for place, (row, picture) in enumerate(pictures):
        left, top = GAP + place % columns * cell_w, GAP + place // columns * cell_h
        if picture is not None:
            sheet.paste(picture, (left, top + SIDE - picture.height))
        for number, (text, colour) in enumerate(_captions(row, model)):
            draw.text((left, top + SIDE + 2 + number * 15), _fitted(text, font), colour, font)
    content = io.BytesIO()
    sheet.save(content, "PNG")
    return content.getvalue()


def _captions(row: Row, model: Description) -> list[tuple[str, str]]:
    """(text, colour) of the lines below a picture."""
    grey = "#555555"
    if row.error is not None:
        return [(printable(row.image), "black"), (printable(row.error), "#b00020")]
    first = row.top[0]
    colour = "black" if row.rank is None else "#11701d" if row.rank == 1 else "#b00020"
    said = [(f"{printable(first.name)} {first.probability:.1%}", colour)]
    said.append((" ".join(f"{printable(each.name)} {each.probability:.1%}" for each in row.top[1:3]), grey))
    if len(model.members) > 1:
        said.append((opinions(row, model), grey))
    return [*said, (printable(row.image), grey)]


def _fitted(text: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> str:
    """As much of it as fits below a picture."""
    if font.getlength(text) <= SIDE:
        return text
    while text and font.getlength(f"{text}...") > SIDE:
        text = text[:-1]
    return f"{text}..."
