"""Networks of timm by name: random weights, settings by their names and types, image sizes, auxiliary logits."""

from typing import Any

import pytest
import torch

from platform.config.checks import ConfigError
from platform.config.models import ModelConfig
from platform.models.build import build, logits_and_auxiliary
from platform.models.dropout import SampleDropPath, layers, set_keys
from platform.models.rehearsal import rehearse

pytestmark = pytest.mark.slow  # importing timm takes seconds

SMALL = {"channels": [8, 8, 16, 16], "stem_width": 8}


def resnet(**settings: Any) -> ModelConfig:
    return ModelConfig("timm/resnet18", settings=SMALL | settings)


def test_the_seed_decides_the_weights_and_settings_arrive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    one, same, other = (build(resnet(), 7, 32, seed) for seed in (1, 1, 2))
    assert one.state_dict()["layer4.0.conv1.weight"].shape == (16, 16, 3, 3)
    assert one(torch.rand(2, 3, 32, 32)).shape == (2, 7)
    weights = [network.state_dict()["layer1.0.conv1.weight"] for network in (one, same, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("resnett18", {}, r"'timm/resnett18', which timm [\d.]+ has not; did you mean resnet18 or"),
        ("hf-hub:somebody/net", {}, r"'timm/hf-hub:somebody/net', which timm"),
        ("resnet18.xyz", {}, r"no weights 'xyz' of resnet18, only .*a1_in1k.*; give timm/resnet18$"),
        (
            "resnet18",
            {"drop_pth_rate": 0.1},
            r"^model.settings.drop_pth_rate: timm.* did you mean drop_path",
        ),
        (
            "resnet18",
            {"drop_path_rate": "much"},
            r"^model.settings.drop_path_rate is 'much'; .* takes a number",
        ),
        ("resnet18", {"drop_path_rate": True}, r"is True; timm/resnet18 takes a number"),
        ("resnet18", {"channels": [1, "x"]}, r"is \[1, 'x'\]; timm/resnet18 takes a list, each a whole number"),
        ("resnet18", {"num_classes": 5}, r"is 5, and data.classes says so already; leave it out"),
        ("resnet18", {"drop_rate": None}, r"is null, which timm ignores"),
        ("resnet18", {"device": "cuda"}, r"has no such setting"),
        ("resnet18", {"stem_type": "deep", "block": "x"}, r"takes something that no text can give|cannot be made with"),
        ("nf_resnet50", {"alfa": 0.3}, r"did you mean alpha"),
        ("vit_tiny_patch16_224", {"img_size": 32}, r"data.image_size says so already"),
        ("vit_tiny_patch16_224", {"num_heads": 5}, r"cannot be made with model.settings=\{num_heads: 5\} \("),
    ],
)
def test_wrong_names_and_values_are_refused(name: str, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        rehearse(ModelConfig(f"timm/{name}", settings=settings), 10, 32, 2)


def test_settings_of_a_networks_own_dataclass_and_of_its_bases_are_known() -> None:
    assert rehearse(ModelConfig("timm/nf_resnet50", settings={"alpha": 0.3}), 10, 32, 2) is None
    model = ModelConfig("timm/deit_tiny_distilled_patch16_224", settings={"depth": 2, "drop_path_rate": 0.1})
    assert rehearse(model, 10, 32, 2) is None


def test_a_network_of_one_image_size_is_made_for_that_of_the_data() -> None:
    model = ModelConfig("timm/vit_tiny_patch16_224", settings={"depth": 1})
    assert build(model, 10, 48, seed=0)(torch.rand(2, 3, 48, 48)).shape == (2, 10)


def test_what_gives_no_logits_is_refused() -> None:
    model = ModelConfig("timm/vit_tiny_patch16_224", settings={"depth": 1, "global_pool": "", "class_token": False})
    with pytest.raises(
        ConfigError, match=r"gives a tensor \[2, 4, 10\] in training, where logits .* = \[2, 10\] belong"
    ):
        rehearse(model, 10, 32, 2)


def test_auxiliary_logits_come_in_training_only() -> None:
    model = ModelConfig("timm/inception_v3", settings={"aux_logits": True})
    with torch.device("meta"):
        network = build(model, 10, 299, seed=0)
    images = torch.empty(2, 3, 299, 299, device="meta")
    assert len(logits_and_auxiliary(network.train()(images))[1]) == 1
    assert isinstance(network.eval()(images), torch.Tensor)


def test_stochastic_depth_follows_from_the_images_and_other_draws_are_said() -> None:
    model = resnet(drop_path_rate=0.5, zero_init_last=False)
    assert rehearse(model, 10, 32, 2) is None
    network = build(model, 10, 32, seed=0).train()
    assert [layer.p for layer in layers(network) if isinstance(layer, SampleDropPath)][-1] == 0.5
    images, keys_N = torch.rand(8, 3, 32, 32), torch.arange(8) * 12345
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):  # which does not follow from one image
            layer.eval()
    set_keys(layers(network), keys_N)
    whole = network(images)
    set_keys(layers(network), keys_N[3:5])
    assert torch.allclose(network(images[3:5]), whole[3:5], atol=1e-6)
    set_keys(layers(network), keys_N[:2])
    assert not torch.allclose(network(images[3:5]), whole[3:5], atol=1e-6)
    said = rehearse(resnet(drop_rate=0.5), 10, 32, 2)
    assert said is not None
    assert said.startswith("timm/resnet18 draws random numbers of its own in training (bernoulli), which follow from")
