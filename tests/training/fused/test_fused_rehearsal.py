"""Whether networks are known to be computed together is seen without training them."""

import pytest

from platform.config.models import GoogLeNetConfig, model_of
from platform.training.fused.rehearsal import refusal


@pytest.mark.slow
def test_networks_of_convolutions_are_and_those_of_attention_are_not():
    assert refusal(GoogLeNetConfig(width=0.1, batch_norm=True, local_response_norm=True), 10, 32) == ""
    assert "VisionTransformer" in refusal(model_of({"name": "timm/vit_tiny_patch16_224"}), 10, 224)
