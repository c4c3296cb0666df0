"""What answers requests: one process with the model, whoever brings it the requests.

In: HTTP requests. Out: JSON, or the page. Beyond `max_waiting` requests further ones are sent away. Ray Serve, which
collects those that wait, is in `server`.
"""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from platform.evaluation.views import RENDERED
from platform.export.classifier import Classifier
from platform.prediction.rows import Opinions, opinions_of
from platform.serving.bodies import Refusal, image_in, read_body

log = logging.getLogger("platform")
PAGE = Path(__file__).with_name("page.html")
TOP_K = 5
PARAMETERS = ("top_k", "views")  # of a request
LONGEST_RETRY_S = 60
HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "img-src data: blob:; connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
}


@dataclass(frozen=True)
class Settings:
    """Of one process."""

    name: str  # of the model, for people
    folder: Path  # of the model
    views: int  # of each image, where a request does not say
    max_views: int  # that a request may ask for
    device: str
    max_waiting: int
    max_body: int  # bytes
    timeout_s: float


@dataclass(frozen=True)
class Asked:
    """An image file, how many views of it are averaged, and how many classes are answered."""

    image: bytes
    views: int
    top_k: int


Answer = Opinions | str  # or why the image cannot be read


class Service:
    """The model, and the requests that wait for it."""

    def __init__(self, settings: Settings, together: Callable[[Asked], Awaitable[Answer]] | None = None) -> None:
        """Load the model.

        Args:
            settings: of this process.
            together: calls `classify` with several at once and returns one answer; None: each alone.

        Raises:
            ValueError: its files are damaged.
        """
        self._settings = settings
        self._classifier = Classifier.load(settings.folder, settings.device)
        self._thread = ThreadPoolExecutor(1, "classify")  # the event loop goes on meanwhile
        self._together = together or self._alone
        self._waiting, self._images, self._batches, self._seconds_per_image = 0, 0, 0, 0.1
        self._routes: dict[str, dict[str, Callable[[Request], Awaitable[Response]]]] = {
            "/": {"GET": self._page},
            "/health": {"GET": self._health},
            "/predict": {"POST": self._predict},
        }

    async def __call__(self, request: Request) -> Response:
        """Answer any request; no error leaves it as anything but a status and a reason."""
        try:
            methods = self._routes.get(request.url.path)
            if methods is None:
                raise Refusal(404, f"there is no such address; there are {', '.join(self._routes)}")
            if request.method not in methods and not (request.method == "HEAD" and "GET" in methods):
                raise Refusal(405, f"{request.method} is not answered here; use {', '.join(methods)}")
            response = await methods.get(request.method, methods.get("GET", self._page))(request)
        except Refusal as refusal:
            response = JSONResponse({"error": refusal.reason}, refusal.status)
            if refusal.retry_after_s is not None:
                response.headers["Retry-After"] = str(refusal.retry_after_s)
        except ClientDisconnect:
            response = JSONResponse({"error": "the client has gone"}, 400)
        except Exception as error:
            log.exception("a request failed")
            response = JSONResponse({"error": f"the server failed ({type(error).__name__}); its log says more"}, 500)
        response.headers.update(HEADERS)
        return response

    async def _page(self, request: Request) -> Response:
        about, settings = self._classifier.description, self._settings
        page = PAGE.read_text(encoding="utf-8")
        facts = {
            "name": settings.name,
            "members": f"{len(about.members)} networks" if len(about.members) > 1 else "One network",
            "classes": str(len(about.classes)),
            "views": f"{settings.views} view{'s' if settings.views > 1 else ''}",
            "megabytes": f"{settings.max_body / 1e6:g}",
        }
        for key, value in facts.items():
            page = page.replace(f"{{{{{key}}}}}", escape(value))
        return HTMLResponse(page)

    async def _health(self, request: Request) -> Response:
        about, settings = self._classifier.description, self._settings
        return JSONResponse(
            {
                "status": "ok",
                "model": settings.name,
                "classes": len(about.classes),
                "members": about.members,
                "views": settings.views,
                "device": settings.device,
                "waiting": self._waiting,
                "max_waiting": settings.max_waiting,
                "images": self._images,
                "batches": self._batches,
            }
        )

    async def _predict(self, request: Request) -> Response:
        """Classes of the image in the body."""
        if unknown := sorted({*request.query_params} - {*PARAMETERS}):
            raise Refusal(400, f"{unknown[0][:20]!r} is not known here; there are {' and '.join(PARAMETERS)}")
        top_k, views = self._top_k(request), self._views(request)
        if self._waiting >= self._settings.max_waiting:
            again_s = math.ceil(self._waiting * self._seconds_per_image)
            raise Refusal(
                503,
                f"{self._waiting} requests are waiting, as many as are let in (serve.max_waiting)",
                retry_after_s=max(1, min(again_s, LONGEST_RETRY_S)),
            )
        self._waiting += 1
        try:
            body = await self._in_time(self._body(request), 408, "the body did not come")
            image = image_in(body, request.headers.get("content-type", ""))
            said = await self._in_time(self._together(Asked(image, views, top_k)), 503, "there was no answer")
        finally:
            self._waiting -= 1
        if isinstance(said, str):
            raise Refusal(400, f"the image cannot be read: {said}")
        return JSONResponse(self._answer(said, views))

    def _top_k(self, request: Request) -> int:
        given, classes = request.query_params.get("top_k", ""), len(self._classifier.classes)
        if not given:
            return min(TOP_K, classes)
        if not given.isdecimal() or not 1 <= int(given) <= classes:
            raise Refusal(400, f"top_k is {given[:20]!r}; give 1 to {classes}, the number of classes")
        return int(given)

    def _views(self, request: Request) -> int:
        given, most = request.query_params.get("views", ""), self._settings.max_views
        if not given:
            return self._settings.views
        answered = [str(views) for views in RENDERED if views <= most]
        if given not in answered:
            raise Refusal(400, f"views is {given[:20]!r}; give {' or '.join(answered)}")
        return int(given)

    async def _body(self, request: Request) -> bytes:
        return await read_body(request.stream(), request.headers.get("content-length"), self._settings.max_body)

    async def _in_time(self, what: Awaitable[Any], status: int, failed: str) -> Any:
        try:
            return await asyncio.wait_for(what, self._settings.timeout_s)
        except TimeoutError:
            reason = f"{failed} within {self._settings.timeout_s:g} s (serve.timeout_s)"
            raise Refusal(status, reason, retry_after_s=1 if status == 503 else None) from None

    def _answer(self, said: Opinions, views: int) -> dict[str, Any]:
        members = self._classifier.members
        return {
            "classes": [_json(opinion) for opinion in said.top],
            "members": {name: _json(each) for name, each in zip(members, said.members, strict=True)},
            "disagreement": round(said.disagreement, 4),
            "views": views,
            "model": self._settings.name,
        }

    async def _alone(self, asked: Asked) -> Answer:
        return (await self.classify([asked]))[0]

    async def classify(self, asked: list[Asked]) -> list[Answer]:
        """Classify images together; returns what is said of each, or why it cannot be read."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._classified, asked)

    def _classified(self, asked: list[Asked]) -> list[Answer]:
        """The answers in their order; images of the same number of views are one batch."""
        answers: dict[int, Answer] = {}
        for views in sorted({each.views for each in asked}):
            places = [place for place, each in enumerate(asked) if each.views == views]
            answers |= zip(places, self._batch([asked[place] for place in places], views), strict=True)
        return [answers[place] for place in range(len(asked))]

    def _batch(self, asked: list[Asked], views: int) -> list[Answer]:
        began = time.monotonic()
        found = self._classifier.predict([each.image for each in asked], views)
        self._seconds_per_image = (time.monotonic() - began) / len(asked)
        self._images, self._batches = self._images + len(asked), self._batches + 1
        about = self._classifier.description
        return [
            opinions_of(found.probs_NK[place], found.members_MNK[:, place], about, each.top_k)
            if error is None
            else error
            for place, (each, error) in enumerate(zip(asked, found.errors, strict=True))
        ]


def _json(opinion: Any) -> dict[str, Any]:
    return {"class": opinion.name, "probability": round(opinion.probability, 6)}
