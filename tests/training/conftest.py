"""What trainings in these tests share."""

import pytest

from platform.training import batch_norm


@pytest.fixture
def few_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """For batch norm's statistics of averaged weights: reading them is most of what a short training costs."""
    monkeypatch.setattr(batch_norm, "IMAGES", 64)
    monkeypatch.setattr(batch_norm, "IMAGES_PER_STREAM", 8)
