"""A network with all that is told of it: its stages and its sums.

In: a model's settings, classes, image size. Out: a Network. It is built and run on PyTorch's meta device, where tensors
have a shape and no memory.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch

from platform.config.checks import ConfigError
from platform.config.models import ModelConfig
from platform.config.sections import Config
from platform.models.build import build
from platform.models.rehearsal import META, on_meta, rehearse
from platform.summary.operations import Recording
from platform.summary.recorder import record
from platform.summary.stages import Stage, depths_of, stages_of

NOT_SEEN = ("init", "init_digest", "freeze", "auxiliary_weight")  # settings that change nothing that is told of it
IMAGES = 2  # batch norm needs two where a map is of one pixel


_known: "dict[str, Network]" = {}


@dataclass(frozen=True)
class Network:
    """What is told of a network.

    Args:
        label: of the model.
        classes: outputs.
        image_size: height and width in pixels.
        stages: in order, those of auxiliary heads among them.
        depth: layers with weights, one after the other.
        depth_with_pools: the same with poolings.
        unused: elements of parameters that no stage uses.
    """

    label: str
    classes: int
    image_size: int
    stages: Sequence[Stage]
    depth: int
    depth_with_pools: int
    unused: int = 0

    @property
    def main(self) -> list[Stage]:
        """Those of inference."""
        return [stage for stage in self.stages if not stage.is_auxiliary]

    @property
    def auxiliary(self) -> list[Stage]:
        """Those of auxiliary heads, which only training has."""
        return [stage for stage in self.stages if stage.is_auxiliary]

    @property
    def parameters(self) -> int:
        """Elements of all parameters."""
        return sum(stage.parameters for stage in self.stages) + self.unused

    @property
    def weights(self) -> int:
        """Elements of inference's weights, without biases and normalisation, as papers count."""
        return sum(stage.weights for stage in self.main)

    @property
    def multiply_adds(self) -> int:
        """Of inference, for an image."""
        return sum(stage.multiply_adds for stage in self.main)

    @property
    def activation_bytes(self) -> float:
        """Kept for the backward pass, for an image, in float32."""
        return sum(stage.activation_bytes for stage in self.stages)

    def figures(self) -> dict[str, float]:
        """What is logged of it: name -> value."""
        return {
            "parameters": self.parameters,
            "multiply_adds": self.multiply_adds,
            "activation_mb": self.activation_bytes / 1e6,
        }


def network_of(model: ModelConfig, classes: int, image_size: int) -> Network:
    """Take a network apart.

    Raises:
        ConfigError: there is none of that name, or it does not take images of this size; with one that it takes.
    """
    try:
        recording = _recorded(model, classes, image_size)
    except ConfigError:
        raise
    except Exception:
        rehearse(model, classes, image_size, IMAGES)  # which says what suits
        raise
    stages = stages_of(recording)
    return Network(
        model.label,
        classes,
        image_size,
        stages,
        depths_of(recording)[recording.output],
        depths_of(recording, pools=True)[recording.output],
        sum(recording.sizes.values()) - sum(stage.parameters for stage in stages),
    )


def _recorded(model: ModelConfig, classes: int, image_size: int) -> Recording:
    shape = (IMAGES, 3, image_size, image_size)
    try:
        return record(on_meta(model, classes, image_size), torch.empty(shape, device=META))
    except (NotImplementedError, RuntimeError) as error:  # the meta device does not have an operation, or a value
        if not isinstance(error, NotImplementedError) and "meta" not in str(error):
            raise
        return record(build(model, classes, image_size, seed=0), torch.zeros(shape))


def known_network(config: Config) -> Network:
    """The network of a config, taken apart once a process.

    Raises:
        ConfigError: as `network_of`.
    """
    if (key := key_of(config)) not in _known:
        _known[key] = network_of(config.model, config.data.classes, config.data.image_size)
    return _known[key]


def key_of(config: Config) -> str:
    """What two configs have in common if their networks are the same, with whatever weights they begin."""
    model = {key: value for key, value in asdict(config.model).items() if key not in NOT_SEEN}
    return str((model, config.data.classes, config.data.image_size))
