"""What answers requests, without a network: answers, refusals, batches, limits."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response

from platform.export.classifier import Classifier
from platform.prediction.rows import Opinions
from platform.serving.service import Asked, Service, Settings
from tests.prediction.colours import CLASSES, picture, write_model

pytestmark = pytest.mark.slow  # exporting and loading programs takes seconds
MOST = 100_000


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = write_model(tmp_path_factory.mktemp("colours") / "model")
    return Settings("colours", folder, 1, 10, "cpu", 8, MOST, 30.0)


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


Run = Callable[..., list[Response]]


@pytest.fixture
def ask(settings: Settings, loop: asyncio.Runner) -> Run:
    """Sends requests side by side to a new service, whose network may fail."""

    def run(*requests: Request, fails: Exception | None = None, **changes: Any):
        async def together() -> list[Response]:
            service = Service(replace(settings, **changes))
            classify = service._classifier.predict

            def predict(images: list[bytes], views: int) -> Any:
                if fails:
                    raise fails
                return classify(images, views)

            service._classifier.predict = predict  # pyright: ignore[reportAttributeAccessIssue]
            return await asyncio.gather(*map(service, requests))

        return loop.run(together())

    return run


def request(
    body: bytes = b"", method: str = "POST", path: str = "/predict", query: str = "", *, sent: Awaitable | None = None,
    length: bool = True,
) -> Request:  # fmt: skip
    headers = [(b"content-length", str(len(body)).encode())] if length else []

    async def receive() -> dict[str, Any]:
        if sent is not None:
            await sent
        return {"type": "http.request", "body": body, "more_body": False}

    scope = {"type": "http", "method": method, "path": path, "query_string": query.encode(), "headers": headers}
    return Request(scope, receive)


def content(response: Response) -> Any:
    return json.loads(bytes(response.body))


def test_an_image_gets_its_classes_and_the_members_opinions(ask: Run):
    (response,) = ask(request(picture("red")))
    assert response.status_code == 200
    answer = content(response)
    assert [each["class"] for each in answer["classes"]] == ["red", "green", "blue"]
    assert sum(each["probability"] for each in answer["classes"]) == pytest.approx(1, abs=1e-4)
    assert {name: each["class"] for name, each in answer["members"].items()} == {
        "first": "red",
        "second": "red",
        "contrary": "green",
    }
    assert (answer["disagreement"], answer["views"], answer["model"]) == (0.3333, 1, "colours")
    (response,) = ask(request(picture("blue", kind="WEBP"), query="top_k=1"))
    assert [each["class"] for each in content(response)["classes"]] == ["blue"]


def test_a_request_may_ask_for_more_views_and_those_of_other_requests_stay(ask: Run, loop: asyncio.Runner):
    answers = ask(*[request(picture("red"), query=query) for query in ("views=10", "views=1&top_k=1", "")])
    assert [content(answer)["views"] for answer in answers] == [10, 1, 1]
    assert [len(content(answer)["classes"]) for answer in answers] == [3, 1, 3]


def test_images_of_several_numbers_of_views_are_answered_in_their_order(settings: Settings):
    asked = [Asked(picture(colour), views, 3) for colour, views in zip(CLASSES * 2, (10, 1, 10, 1, 1, 10), strict=True)]
    service = Service(settings)
    answers = service._classified([*asked, Asked(b"torn", 1, 3)])
    assert [isinstance(answer, str) or answer.top[0].name for answer in answers] == [*CLASSES * 2, True]
    alone = Classifier.load(settings.folder).predict([each.image for each in asked[:1]], views=10)
    assert isinstance(answers[0], Opinions)
    assert answers[0].top[0].probability == pytest.approx(float(alone.probs_NK.max()), abs=1e-6)
    assert (service._images, service._batches) == (7, 2)


def test_beyond_the_limit_requests_are_sent_away_with_when_to_come_again(ask: Run):
    answers = ask(*[request(picture("red")) for _ in range(5)], request(path="/health", method="GET"), max_waiting=2)
    assert [answer.status_code for answer in answers] == [200, 200, 503, 503, 503, 200]
    assert int(answers[2].headers["Retry-After"]) >= 1
    assert content(answers[2])["error"] == "2 requests are waiting, as many as are let in (serve.max_waiting)"
    assert (content(answers[5])["waiting"], content(answers[5])["max_waiting"]) == (2, 2)


def test_those_that_were_refused_or_failed_do_not_count_as_waiting(ask: Run, loop: asyncio.Runner, settings: Settings):
    async def one_after_another() -> list[int]:
        service = Service(replace(settings, max_waiting=1))
        bodies = [b"bad", bytes(MOST + 1), b"", picture("red")]
        return [(await service(request(body))).status_code for body in bodies]

    assert loop.run(one_after_another()) == [400, 413, 400, 200]


@pytest.mark.parametrize(
    ("asked", "status", "said"),
    [
        (request(b"GIF89a not known"), 400, "the image cannot be read: no image format known here"),
        (request(picture("red")[:300]), 400, "the image cannot be read: "),
        (request(), 400, "there is no image in the request; send the bytes of a JPEG"),
        (request(bytes(MOST + 1)), 413, "the body has 100,001 bytes or more, at most 100,000 are taken"),
        (request(bytes(MOST + 1), length=False), 413, "at most 100,000 are taken"),
        (request(picture("red"), query="top_k=4"), 400, "top_k is '4'; give 1 to 3"),
        (request(picture("red"), query="topk=1"), 400, "'topk' is not known here; there are top_k and views"),
        (request(picture("red"), query="top_k=x"), 400, "top_k is 'x'; give 1 to 3"),
        (request(picture("red"), query="views=7"), 400, "views is '7'; give 1 or 10"),
        (request(picture("red"), query="views=144"), 400, "views is '144'; give 1 or 10"),
        (request(method="GET"), 405, "GET is not answered here; use POST"),
        (request(path="/nowhere"), 404, "there is no such address; there are /, /health, /predict"),
    ],
)
def test_what_cannot_be_answered_has_a_status_and_a_reason(asked: Request, status: int, said: str, ask: Run):
    (response,) = ask(asked)
    assert response.status_code == status
    assert said in content(response)["error"]
    assert len(content(response)["error"].splitlines()) == 1


def test_a_body_that_does_not_come_is_not_waited_for(ask: Run, loop: asyncio.Runner):
    never = loop.get_loop().create_future()
    (response,) = ask(request(b"x", sent=never, length=False), timeout_s=0.1)
    assert response.status_code == 408
    assert content(response)["error"] == "the body did not come within 0.1 s (serve.timeout_s)"


def test_a_failure_of_ours_shows_nothing_of_it(ask: Run, caplog: pytest.LogCaptureFixture):
    (response,) = ask(request(picture("red")), fails=RuntimeError("of the inside"))
    assert response.status_code == 500
    assert content(response) == {"error": "the server failed (RuntimeError); its log says more"}
    assert "of the inside" in caplog.text


def test_the_page_asks_for_nothing_elsewhere_and_names_are_text(ask: Run):
    (response,) = ask(request(method="GET", path="/"), name="<script>alert(1)</script>")
    page = bytes(response.body).decode()
    assert "&lt;script&gt;alert(1)" in page
    assert "3 networks, 3 classes, 1 view of each image" in page
    assert "{{" not in page
    assert "://" not in page
    assert "default-src 'none'" in response.headers["Content-Security-Policy"]
