"""The image in a request's body: raw bytes, or a form with a file, as browsers and curl send it.

In: headers and chunks. Out: the bytes of one image file, or `Refusal` with the status and reason of an HTTP answer.
"""

from collections.abc import AsyncIterator
from email.message import Message

TYPES = "send the bytes of a JPEG, PNG or WebP file, or a form (multipart/form-data) with one file"

# Times the limit that is read of a body whose length nobody has said: whoever still sends when the connection is closed
# gets a broken pipe in place of the answer.
DISCARDED = 2


class Refusal(Exception):
    """A request that gets no classes. The message is for whoever sent it."""

    def __init__(self, status: int, reason: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(reason)
        self.status, self.reason, self.retry_after_s = status, reason, retry_after_s


async def read_body(chunks: AsyncIterator[bytes], length: str | None, most: int) -> bytes:
    """The whole body.

    Args:
        chunks: of the body, as they come.
        length: the header Content-Length.
        most: bytes that are taken.

    Raises:
        Refusal: 413, and never more than `most` bytes are held; 400 for a length that is none.
    """
    if length is not None and not length.isdecimal():
        raise Refusal(400, "Content-Length is no number")
    if length is not None and int(length) > most:
        raise _too_large(int(length), most)
    body, size = bytearray(), 0
    async for chunk in chunks:
        size += len(chunk)
        if size > DISCARDED * most:
            break
        if size <= most:
            body += chunk
    if size > most:
        raise _too_large(size, most)
    return bytes(body)


def _too_large(size: int, most: int) -> Refusal:
    return Refusal(413, f"the body has {size:,} bytes or more, at most {most:,} are taken (serve.max_body_mb)")


def image_in(body: bytes, content_type: str) -> bytes:
    """The image file in a body.

    Args:
        body: whole.
        content_type: the header; everything but a form is taken for the file itself.

    Raises:
        Refusal: 400, there is none in it.
    """
    header = Message()
    header["Content-Type"] = content_type or "application/octet-stream"
    if header.get_content_type() == "multipart/form-data":
        boundary = header.get_boundary()
        if not boundary:
            raise Refusal(400, f"the form has no boundary; {TYPES}")
        body = _file_of_form(body, boundary.encode("latin-1", "replace"))
    if not body:
        raise Refusal(400, f"there is no image in the request; {TYPES}")
    return body


def _file_of_form(body: bytes, boundary: bytes) -> bytes:
    """The content of the form's first file. Lines end in CR LF, parts begin and end with the boundary (RFC 7578)."""
    for part in (b"\r\n" + body).split(b"\r\n--" + boundary)[1:]:
        if part.startswith(b"--"):  # the end of the form
            break
        head, found, content = part.partition(b"\r\n\r\n")
        if found and b"filename" in head.lower():
            return content
    raise Refusal(400, f"the form has no file; {TYPES}")
