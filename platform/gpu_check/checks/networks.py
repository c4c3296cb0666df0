"""Every network, optimiser and change of images: the device's results against the CPU's.

The CPU computes in the other memory format, so that a self-test of a CPU compares two ways of computing, too.
Tolerances are about ten times what two such ways differ by, seen on a CPU; a wrong result is far from any.
"""

import numpy as np
import torch

from platform.config.choices import SAMPLING_METHODS
from platform.config.optim import OPTIMISERS, optimiser_class
from platform.config.sampling import SamplingConfig
from platform.config.transforms import TransformsConfig
from platform.data.inputs import BatchInputs
from platform.data.order import Order
from platform.data.pixels import Pixels
from platform.data.sampling import draws_used
from platform.data.train_loader import TrainLoader
from platform.gpu_check.context import Context, installed
from platform.gpu_check.difference import Difference, relative
from platform.gpu_check.results import Results
from platform.gpu_check.trainings import CPU, Case, Trained, trained

LOGITS, GRADIENT, LOSS, CHANGE = 1e-4, 2e-2, 1e-3, 5e-2  # tolerances in float32, without TF32
LOW_LOGITS, LOW_GRADIENT, LOW_LOSS = 1e-1, 2.5e-1, 1e-2  # of bfloat16, against float32
INPUTS = 2e-2  # of images: a rounded grey level, a pixel on the border of a turned image
UNFUSED = ("rmsprop", "lars", "lamb", "muon")  # of timm
CHANGES = {
    "trivial": TransformsConfig(name="trivial"),
    "rand, erased": TransformsConfig(name="rand", rand_ops=4, erase_probability=1.0),
    "mixup": TransformsConfig(mixup_alpha=0.2),
    "cutmix, by sample": TransformsConfig(cutmix_alpha=1.0, mixing_per="sample"),
}


def networks(context: Context, results: Results) -> None:
    """Logits, gradients, losses and steps of each network."""
    for case in context.sizes.networks:
        reference = trained(case, CPU, channels_last=False)
        results.compare(f"network {case.model.label}", differences(trained(case, context.device), reference))


def low_precision(context: Context, results: Results) -> None:
    """The same in bfloat16, against float32, of networks whose gradient that does not change by more than a quarter."""
    for case in context.sizes.low_precision:
        found, reference = trained(case, context.device, torch.bfloat16), trained(case, CPU, channels_last=False)
        apart = [
            Difference("logits", relative([found.logits], [reference.logits]), LOW_LOGITS),
            Difference("gradient", relative(found.gradient, reference.gradient), LOW_GRADIENT),
            Difference("loss", _losses(found.losses, reference.losses), LOW_LOSS),
        ]
        results.compare(f"bfloat16 {case.model.label}", apart, f"{case.image_size} px, against float32 of the CPU")


def differences(found: Trained, reference: Trained) -> list[Difference]:
    """Everything that was trained, compared."""
    apart = [
        Difference("logits", relative([found.logits], [reference.logits]), LOGITS),
        Difference("gradient", relative(found.gradient, reference.gradient), GRADIENT),
        Difference("losses", _losses(found.losses, reference.losses), LOSS),
        Difference("change", relative(found.change, reference.change), CHANGE),
        Difference("loss of a batch's statistics", _losses([found.batch_loss], [reference.batch_loss]), LOSS),
    ]
    if reference.batch_gradient:
        with_batch = relative(found.batch_gradient, reference.batch_gradient)
        apart.append(Difference("their gradient", with_batch, GRADIENT))
    return apart


def optimisers(context: Context, results: Results) -> None:
    """Some steps of every optimiser."""
    has_timm = installed("timm")
    for name in OPTIMISERS:
        if name in UNFUSED and not has_timm:
            results.leave_out(f"optimiser {name}", "it is timm's, which is not installed; install timm")
            continue
        optim = optimiser_class(name)(name=name, lr=1e-3, clip_norm=1.0)
        given = context.sizes.optimisers
        case = Case(given.model, given.image_size, given.images, given.steps, optim)
        found, reference = trained(case, context.device), trained(case, CPU, channels_last=False)
        apart = [
            Difference("change", relative(found.change, reference.change), CHANGE),
            Difference("losses", _losses(found.losses, reference.losses), LOSS),
        ]
        results.compare(f"optimiser {name}", apart, f"{case.steps} steps")


def inputs(context: Context, results: Results) -> None:
    """What a network is given, for every sampling method and every change of images."""
    for method in SAMPLING_METHODS:
        sampling = SamplingConfig(method=method, photometric=True, interpolation="random")
        results.compare(f"sampling {method}", _inputs_apart(context, sampling, TransformsConfig()), "photometric")
    for name, transforms in CHANGES.items():
        if transforms.mixes and not installed("scipy"):
            results.leave_out(f"transforms {name}", "mixing needs SciPy, which is not installed; install scipy")
            continue
        results.compare(f"transforms {name}", _inputs_apart(context, SamplingConfig(), transforms))


def _inputs_apart(context: Context, sampling: SamplingConfig, transforms: TransformsConfig) -> list[Difference]:
    packed = context.shards(context.sizes.small_side)
    split = packed.index.split("train")
    order = Order.of(split, 2, 16, 64, 7)
    loader = TrainLoader(
        split, order, packed.data, sampling, pin=context.on_gpu, draw_count=draws_used(transforms), threads=2
    )
    with loader:
        (batch,) = loader.steps(0, 1)
    shown = []
    for device, channels_last in ((context.device, True), (CPU, False)):
        pixels = Pixels(packed.data, device, channels_last=channels_last)
        shown.append(BatchInputs(batch, pixels, sampling, transforms).part(slice(0, len(batch.ids_N))))
    found, reference = shown
    classes = packed.data.classes
    return [
        Difference("images", relative([found.images], [reference.images]), INPUTS),
        Difference("targets", relative([found.targets(classes)], [reference.targets(classes)]), 1e-6),
    ]


def _losses(found: list[float], reference: list[float]) -> float:
    """The largest difference of a step's loss, as a share of it."""
    there, here = np.array(found), np.array(reference)
    return float((np.abs(there - here) / np.abs(here)).max())
