"""The image in a request, whatever way it was sent; a body that is too large is never held."""

import asyncio
import os
from collections.abc import AsyncIterator
from email.generator import _make_boundary  # pyright: ignore[reportAttributeAccessIssue]

import pytest

from platform.serving.bodies import Refusal, image_in, read_body

IMAGE = b"\xff\xd8\r\n--b\r\n\r\n\x00\xff--" + bytes(range(256)) + b"\r\n"


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


def form(boundary: str, *parts: tuple[str, bytes]) -> bytes:
    lines = [f"--{boundary}\r\nContent-Disposition: form-data; {head}\r\n\r\n".encode() + body for head, body in parts]
    return b"".join(line + b"\r\n" for line in lines) + f"--{boundary}--\r\n".encode()


@pytest.mark.parametrize("length", ["5", None])
def test_a_body_is_put_together(length: str | None):
    assert asyncio.run(read_body(chunks(b"ab", b"", b"cde"), length, most=5)) == b"abcde"


@pytest.mark.parametrize(("length", "seen", "size"), [("6", 0, 6), (None, 6, 12)])
def test_a_body_that_is_too_large_is_refused_before_it_is_there(length: str | None, seen: int, size: int):
    """Of one whose length nobody has said, twice as much as is taken is read, and what is too much thrown away."""
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        while True:
            taken += 1
            yield b"ab"

    with pytest.raises(Refusal, match=rf"the body has {size} bytes or more, at most 5 are taken") as refused:
        asyncio.run(read_body(endless(), length, most=5))
    assert (refused.value.status, taken) == (413, seen)


def test_a_length_that_is_none_is_refused():
    with pytest.raises(Refusal, match="Content-Length is no number") as refused:
        asyncio.run(read_body(chunks(b"x"), "-1", most=5))
    assert refused.value.status == 400


@pytest.mark.parametrize("kind", ["", "image/jpeg", "application/x-www-form-urlencoded", "nonsense"])
def test_a_body_that_is_no_form_is_the_image(kind: str):
    assert image_in(IMAGE, kind) == IMAGE


@pytest.mark.parametrize("quote", ["", '"'])
def test_the_first_file_of_a_form_is_the_image_to_the_last_byte(quote: str):
    boundary = "----WebKit4"
    body = form(boundary, ('name="note"', b"hello"), ('name="image"; filename="a.jpg"', IMAGE), ('filename="2"', b"no"))
    assert image_in(body, f"multipart/form-data; boundary={quote}{boundary}{quote}") == IMAGE


def test_bytes_like_a_boundary_stay_in_the_image():
    for _ in range(20):
        boundary = _make_boundary()
        image = os.urandom(1000).replace(b"--", b"-") + f"\r\n-{boundary}".encode()
        assert image_in(form(boundary, ('filename="x"', image)), f"multipart/form-data; boundary={boundary}") == image


@pytest.mark.parametrize(
    ("body", "kind", "said"),
    [
        (b"", "image/png", "there is no image in the request; send the bytes of a JPEG"),
        (b"x", "multipart/form-data", "the form has no boundary"),
        (b"x", "multipart/form-data; boundary=b", "the form has no file"),
        (form("b", ('name="image"', IMAGE)), "multipart/form-data; boundary=b", "the form has no file"),
        (form("b", ('filename="x"', b"")), "multipart/form-data; boundary=b", "there is no image"),
    ],
)
def test_a_request_without_an_image_says_what_to_send(body: bytes, kind: str, said: str):
    with pytest.raises(Refusal, match=said) as refused:
        image_in(body, kind)
    assert refused.value.status == 400
