"""Words of PyTorch and timm that are others here: the message names what may be meant, and that exists."""

import pytest

from platform.checkout import ROOT
from platform.config.checks import ConfigError, require_choice
from platform.config.settings import sections
from platform.config.synonyms import CHOICES, SETTINGS
from tests.composing import experiment_of

CONF = ROOT / "conf"
KEYS = {f"{section}.{name}" for section, names in sections().items() for name in names}


@pytest.mark.parametrize("meant", sorted({*SETTINGS.values(), *CHOICES.values()}))
def test_what_may_be_meant_exists(meant: str) -> None:
    overrides = [word.strip(",").partition("=") for word in meant.split() if "." in word or "=" in word]
    assert overrides
    for key, _, value in overrides:
        is_choice = (CONF / key).is_dir() and (value == "NAME" or (CONF / key / f"{value}.yaml").is_file())
        assert is_choice or key in KEYS or key.startswith("model.settings.")


def test_only_what_does_not_exist_has_a_synonym() -> None:
    """But for `scheduler`, which is Ray Tune's in `sweep`, and no other section's."""
    names = {key.rpartition(".")[2].replace("_", "") for key in KEYS if key != "sweep.scheduler"}
    assert not set(SETTINGS) & names
    assert not [each for each in CHOICES if (CONF / each[0] / f"{each[1]}.yaml").exists()]


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["training.ema=0.999"], r"training\.ema does not exist; did you mean training\.averaging=ema\?"),
        (["training.lr=0.1"], r"training\.lr does not exist; did you mean optim\.lr\?"),
        (["lr=0.1"], r"lr does not exist; did you mean optim\.lr\?"),
        (["model.pretrained=true"], r"model\.pretrained does not exist; did you mean model\.init=timm:pretrained or"),
        (["training.mixup=0.2"], r"training\.mixup does not exist; did you mean transforms=mixup\?"),
        (["data.labelSmoothing=0.1"], r"did you mean loss\.smoothing\?"),
        (["transforms=randaugment"], r"choose one of a3, .*, trivial; did you mean transforms=rand\?"),
        (["transforms.name=RandAugment"], r"transforms\.name is 'RandAugment'; .*; did you mean transforms=rand\?"),
        (["optim=adam"], r"optim=adam does not exist; .*, sgd; did you mean optim=adamw optim\.weight_decay=0, which"),
        (
            ["optim.name=adam"],
            r"optim\.name is 'adam'; choose .*, muon; did you mean optim=adamw optim\.weight_decay=0",
        ),
        (["model=resnet18"], r", or give model\.name=torchvision/resnet18 or timm/resnet18, where the library has it$"),
        (["model.name=resnet50"], r"; did you mean torchvision/resnet50 or timm/resnet50, where the library has it\?$"),
        (["model.name=googlnet"], r"MODULE:FUNCTION of your own; did you mean googlenet\?$"),
        (["optim.name=foo"], r"choose one of [^;]*$"),
        (
            ["model=vgg16", "model.dropout=0.2"],
            r"leave it out, or give model\.settings\.dropout, if a network of torch",
        ),
        (
            ["model.dropout=0.2", "model.name=timm/resnet18"],
            r"model\.dropout: timm/resnet18 has no such setting; give model\.settings\.dropout, if it takes that, or",
        ),
        (["model.naive=true", "model.name=nin"], r"^model\.naive: nin has no such setting; leave it out$"),
    ],
)
def test_the_message_says_what_may_be_meant(overrides: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        experiment_of(*overrides)


@pytest.mark.parametrize("value", [3, None])
def test_a_choice_that_is_no_string_is_refused_like_any_other(value: object) -> None:
    with pytest.raises(ConfigError, match=rf"^optim\.name is {value!r}; choose one of sgd, adamw$"):
        require_choice("optim.name", value, ("sgd", "adamw"))  # pyright: ignore[reportArgumentType]
