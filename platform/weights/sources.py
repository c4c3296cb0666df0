"""The weights that `model.init` names: of a run, a model of MLflow, a file, or those that torchvision or timm publish.

In: the setting. Out: tensors by their names, of which nothing was unpickled; or one line that says why not.
"""

import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from platform.config.checks import ConfigError, require
from platform.config.experiment import Experiment
from platform.config.models import ModelConfig
from platform.data.urls import is_remote
from platform.experiment.folder import ExperimentFolder
from platform.experiment.member_folder import MemberFolder
from platform.export.description import Description, artifacts_of
from platform.models.arguments import given
from platform.models.initial import Normalisation, Weights
from platform.prediction.model import MLFLOWS, fetched, folder_of
from platform.text import first_line

KEY = "model.init"
TORCHVISION, TIMM = "torchvision:", "timm:"
PICKLED = (".pt", ".pth", ".bin")
FORMS = "runs/NAME/members/MEMBER, models:/NAME@ALIAS, FILE.safetensors, FILE.pt, timm:pretrained, torchvision:WEIGHTS"
# Where files of PyTorch have a network's state beside others: the averaged weights of our checkpoints come first.
STATES = ("average", "state_dict", "model_state_dict", "model")
PREFIXES = ("module.", "_orig_mod.")  # of DistributedDataParallel and torch.compile
TRANSFORMING = (
    "googlenet",
    "inception_v3",
)  # whose weights of TensorFlow want values -1..1, with transform_input or not


def read(init: str, model: ModelConfig, experiment: Experiment, image_size: int = 224) -> Weights:
    """The weights that are named.

    Args:
        init: the setting.
        model: the network that begins with them; torchvision and timm have weights for theirs only.
        experiment: whose folders and MLflow are used.
        image_size: in pixels, that the network is made for: published weights of positions are resampled to it.

    Raises:
        ConfigError: there are none, or they cannot be read.
    """
    if init.startswith((TORCHVISION, TIMM)):
        return _published(init, model, image_size)
    if init.startswith(("models:", "runs:")):
        require(bool(MLFLOWS.fullmatch(init)), f"{KEY} is {init!r}; give {FORMS}")
        with fetched(KEY, init, experiment) as folder:
            return _of_model(init, folder)
    require(not is_remote(init), f"{KEY} is {init}, and weights are not read from URLs; give {FORMS}")
    path = Path(init).expanduser()
    if path.suffix == ".safetensors" or path.suffix in PICKLED:
        require(path.is_file(), f"{KEY} is {init}, which is no file; give {FORMS}")
        return Weights(_tensors(init, path))
    folder = folder_of(path, Path(experiment.config.output_dir))
    require(folder is not None, f"{KEY} is {init}, which is neither a folder nor a file of weights; give {FORMS}")
    assert folder is not None
    return _of_folder(init, folder)


def _of_folder(init: str, folder: Path) -> Weights:
    """Of a member, of an experiment with one member, or of a model's folder."""
    if ExperimentFolder(folder).exists():
        members = sorted(path.name for path in (folder / "members").glob("*") if MemberFolder(path).is_trained())
        require(bool(members), f"{KEY} is {init}, whose training is not finished; let it finish first")
        require(
            len(members) == 1,
            f"{KEY} is {init}, which has {len(members)} trained members; give one, such as {init}/members/{members[0]}",
        )
        folder = folder / "members" / members[0]
    member = MemberFolder(folder)
    if member.is_trained():
        return Weights(_tensors(init, member.weights), *_described(folder / "model"))
    if (artifacts_of(folder) / "classifier.json").exists():
        return _of_model(init, folder)
    raise ConfigError(f"{KEY} is {init}, which has no trained weights; let its training finish, or give {FORMS}")


def _of_model(init: str, folder: Path) -> Weights:
    """Of a model's folder, which holds a single network."""
    try:
        members = Description.read(folder).members
    except ValueError as error:
        raise ConfigError(f"{KEY} is {init}: {first_line(error)}") from error
    require(
        len(members) == 1,
        f"{KEY} is {init}, a model of {len(members)} networks; give the model of one of them: {', '.join(members)}",
    )
    return Weights(_tensors(init, artifacts_of(folder) / f"{members[0]}.safetensors"), *_described(folder))


def _described(model: Path) -> tuple[list[str] | None, Normalisation | None]:
    """The names of a model's classes, where it is there and has some; and what its images were normalised with."""
    try:
        found = Description.read(model)
    except ValueError:
        return None, None
    return found.classes if found.named else None, (found.mean, found.std)


def _tensors(init: str, path: Path) -> dict[str, Any]:
    """The tensors of a file.

    Raises:
        ConfigError: it is damaged, would have to be unpickled, or holds no network's state.
    """
    try:
        if path.suffix == ".safetensors":
            content: Any = Weights.read(path).tensors
        else:
            require(zipfile.is_zipfile(path), f"{KEY} is {init}, which is no file that torch.save writes today")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except ConfigError:
        raise
    except Exception as error:  # whatever torch and safetensors say of bytes from anywhere
        raise ConfigError(
            f"{KEY} is {init}, which cannot be read ({first_line(error)}); give a whole file of tensors only: "
            "safetensors, or a state_dict that torch.save wrote"
        ) from error
    return plain_names(_state(init, content))


def _state(init: str, content: Any) -> dict[str, Any]:
    """The network's state in the content of a file."""
    if isinstance(content, Mapping):
        inner = next((content[key] for key in STATES if isinstance(content.get(key), Mapping)), content)
        found = {str(name): tensor for name, tensor in inner.items() if isinstance(tensor, Tensor)}
        if found:
            return found
    raise ConfigError(f"{KEY} is {init}, which holds no network's weights by their names; give a state_dict")


def plain_names(tensors: dict[str, Any]) -> dict[str, Any]:
    """The tensors by the names that they have in the network itself, without the prefix of a wrapper."""
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors


def _published(init: str, model: ModelConfig, image_size: int) -> Weights:
    """Weights that torchvision or timm have for the network.

    Raises:
        ConfigError: the network is not theirs, there are no such weights, or this machine does not get them.
    """
    library, _, wanted = init.partition(":")
    owner, _, name = model.name.partition("/")
    require(owner == library, f"{KEY} is {init}, and {model.name} is not of {library}; give {FORMS}")
    of = _of_torchvision if library == "torchvision" else _of_timm
    return of(init, name, wanted, model, image_size)


def _of_torchvision(init: str, name: str, wanted: str, model: ModelConfig, image_size: int) -> Weights:
    import torchvision.models
    from torchvision.models.vision_transformer import interpolate_embeddings

    known = {each.name: each for each in torchvision.models.get_model_weights(name)}
    require(wanted in known, f"{KEY} is {init}; torchvision has {', '.join(known) or 'none'} of {name}")
    try:
        tensors = known[wanted].get_state_dict(progress=False, check_hash=True, weights_only=True)
    except Exception as error:  # of the network, of the disk, of the checksum
        raise _not_fetched(init, error) from error
    if name.startswith("vit_"):
        patch = tensors["conv_proj.weight"].shape[-1]
        tensors = interpolate_embeddings(image_size, patch, OrderedDict(tensors))
    expected = known[wanted].transforms()
    mean, std = expected.mean, expected.std
    if name in TRANSFORMING and not model.settings.get("transform_input"):
        mean = std = [0.5, 0.5, 0.5]
    return Weights(dict(tensors), list(known[wanted].meta.get("categories", [])) or None, (list(mean), list(std)))


def _of_timm(init: str, name: str, wanted: str, model: ModelConfig, image_size: int) -> Weights:
    import timm

    from platform.models.rehearsal import on_meta
    from platform.models.timm import has_fixed_size

    require(wanted == "pretrained", f"{KEY} is {init}; give timm:pretrained, and the weights' tag in model.name")
    require(timm.is_model_pretrained(name), f"{KEY} is {init}, and timm has no weights of {name}")
    if model.settings:
        on_meta(model, 10, image_size)  # which says what is wrong with them
    size: dict[str, Any] = {"img_size": image_size} if has_fixed_size(name) else {}
    try:
        try:
            network = timm.create_model(name, pretrained=True, **size, **given(model))  # which resamples positions
        except RuntimeError as error:
            if not str(error).startswith("Error(s) in loading state_dict"):
                raise
            network = timm.create_model(name, pretrained=True, **size)  # of another network: what fits is seen later
    except Exception as error:  # of the network, of the disk, of the checksum
        raise _not_fetched(init, error) from error
    expected: Any = network.pretrained_cfg
    return Weights(dict(network.state_dict()), None, (list(expected["mean"]), list(expected["std"])))


def _not_fetched(init: str, error: Exception) -> ConfigError:
    return ConfigError(
        f"{KEY} is {init}, which this machine does not get ({first_line(error)[:200]}); fetch it where there is a "
        "network, and give the FILE.safetensors"
    )
