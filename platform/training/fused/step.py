"""One optimiser step of several members: a forward and backward pass of all, then the update of each.

In: a batch of each member. Out: its result, as `train_step` gives it. Nothing of a member reaches another: gradients,
batch norm's statistics, clipping, bad steps and updates are its own.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from platform.data.batch import Batch
from platform.data.inputs import BatchInputs, Inputs
from platform.data.pixels import Pixels, constant
from platform.training.distillation import taught_losses
from platform.training.fused.network import FusedNetwork, Outputs
from platform.training.fused.operations import NotFusable
from platform.training.optim import clip
from platform.training.step import StepConfig, StepResult
from platform.training.step_parts import BACKWARD, COPY, FORWARD, OPTIMISER, REST
from platform.training.step_time import NOT_TIMED, StepTimer


class NotComputed(Exception):
    """The pass of several members has raised its cause, of one of them or of all. No member has changed."""


class NotFinite(Exception):
    """A gradient is not finite, of one member or of those that it has reached: a grouped convolution may
    multiply a neighbour's values by zero, which is no zero then (oneDNN does, in bfloat16, channels last). No member
    has changed."""


class NotUpdated(Exception):
    """Optimisers have raised. The other members have made their steps.

    Args:
        results: of all members.
        errors: of those whose optimiser has raised, by their numbers.
    """

    def __init__(self, results: list[StepResult], errors: dict[int, Exception]) -> None:
        super().__init__(results, errors)
        self.results, self.errors = results, errors


@dataclass(frozen=True)
class FusedMember:
    """What a step needs of a member besides its batch."""

    module: nn.Module  # one of the fused network's
    optimizer: torch.optim.Optimizer  # its own, with the learning rate of this step
    cfg: StepConfig
    pixels: Pixels
    timer: StepTimer = NOT_TIMED  # is told where the parts of a step end, which are of all members

    def inputs(self, batch: Batch) -> BatchInputs:
        """The network's for a batch of the member's."""
        return BatchInputs(batch, self.pixels, self.cfg.sampling, self.cfg.transforms)


def fused_step(
    network: FusedNetwork, members: Sequence[FusedMember], batches: Sequence[Batch], dtype: torch.dtype
) -> list[StepResult]:
    """Train every member on its own global batch, on one device without other workers.

    Batches are cut as for a member alone (`training.max_batch_per_worker`), so that batch norm sees the same parts.

    Args:
        network: of the members' modules.
        members: in its order.
        batches: of each, of as many images.
        dtype: of matrix products and convolutions; float32: without autocast.

    Returns:
        the members' results, still on the device.

    Raises:
        NotFusable: by the network; no member has changed then.
        OutOfMemoryError: of the GPU.
        NotComputed: any other error of the pass.
        NotUpdated: with the results, and the errors of single members' updates.
        NotFinite: each has to make its step by itself, and whose values they are has them again.
    """
    try:
        sums_3M, parts = _computed(network, members, batches, dtype)
    except (NotFusable, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise NotComputed from error
    _mark(members, REST)
    network.give_gradients()
    results = _clipped(members, sums_3M)
    errors = _update(network, members, results, parts)
    _mark(members, OPTIMISER)
    if errors:
        raise NotUpdated(results, errors)
    return results


def _computed(
    network: FusedNetwork, members: Sequence[FusedMember], batches: Sequence[Batch], dtype: torch.dtype
) -> tuple[Tensor, int]:
    """The forward and backward passes: sums of the members' losses, main losses and right answers `[3, M]`, and the
    number of parts that their batches were cut into."""
    device, first = members[0].pixels.device, members[0].cfg.training
    total = len(batches[0].labels_N)
    parts = -(-total // first.max_batch_per_worker)
    bounds = [total * part // parts for part in range(parts + 1)]
    sums_3M = torch.zeros(3, len(members), device=device)
    given = [each.inputs(batch) for batch, each in zip(batches, members, strict=True)]
    network.begin_step()
    for start, stop in zip(bounds[:-1], bounds[1:], strict=True):
        share = slice(start, stop)
        _mark(members, REST)
        shown = [each.part(share) for each in given]
        keys = [batch.dropout_keys_N[share].to(device, non_blocking=True) for batch in batches]
        _mark(members, COPY)
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            outputs = network.outputs([each.images for each in shown], keys)
        losses_M, main_losses_M = _losses(outputs, shown, members)
        _mark(members, FORWARD)
        losses_M.sum().backward()
        _mark(members, BACKWARD)
        labels_MN = torch.stack([each.main_labels_N for each in shown])
        correct_M = (labels_MN == outputs[0].detach().argmax(2).T).sum(1)
        sums_3M += torch.stack([losses_M.detach(), main_losses_M.detach(), correct_M])
    return sums_3M, parts


def _mark(members: Sequence[FusedMember], part: str) -> None:
    for member in members:
        member.timer.mark(part)


def _losses(outputs: Outputs, shown: Sequence[Inputs], members: Sequence[FusedMember]) -> tuple[Tensor, Tensor]:
    """The members' losses over this part of their batches, with and without those of auxiliary heads: `[M]`."""
    targets = [each.targets(outputs[0].shape[2]) for each in shown]
    taught = [each.taught(member.cfg.distill.temperature) for each, member in zip(shown, members, strict=True)]
    alike: dict[tuple[str, str, bool, bool], list[int]] = defaultdict(list)  # members whose losses are one function
    for number, (member, own) in enumerate(zip(members, targets, strict=True)):
        kind = str(member.cfg.loss), str(member.cfg.distill), own.is_floating_point(), taught[number] is None
        alike[kind].append(number)
    found: dict[int, Tensor] = {}  # of each member, its heads' losses
    for same in alike.values():
        cfg, teachers = members[same[0]].cfg, [each for number in same if (each := taught[number]) is not None]
        wanted, teacher = torch.cat([targets[number] for number in same]), torch.cat(teachers) if teachers else None
        heads = []
        for logits_NMK in outputs:
            logits = torch.cat([logits_NMK[:, number] for number in same])
            losses = taught_losses(logits, wanted, teacher, cfg.loss, cfg.distill)
            heads.append((losses.view(len(same), -1) * (1 / cfg.training.batch_size)).sum(1))
        found |= dict(zip(same, torch.stack(heads, 1).unbind(), strict=True))
    heads_ML = torch.stack([found[number] for number in range(len(members))])
    weights_M = constant(tuple(each.cfg.auxiliary_weight for each in members), heads_ML.device, torch.float32)
    return heads_ML[:, 0] + weights_M * heads_ML[:, 1:].sum(1), heads_ML[:, 0]


def _clipped(members: Sequence[FusedMember], sums_3M: Tensor) -> list[StepResult]:
    """Clip each member's gradient; its result, unless that is bad and to be skipped."""
    results = []
    for number, member in enumerate(members):
        norm = clip(member.module, member.cfg.clip_norm)
        longest = member.cfg.training.max_gradient_norm or math.inf
        bad = ~torch.isfinite(norm) | (norm > longest)
        results.append(StepResult(*sums_3M[:, number].unbind(), gradient_norm=norm, bad=bad))
    return results


def _update(
    network: FusedNetwork, members: Sequence[FusedMember], results: Sequence[StepResult], parts: int
) -> dict[int, Exception]:
    """Make each member's step, unless that is bad and to be skipped; returns the errors of those that have raised.

    Raises:
        NotFinite: nobody's is made.
        OutOfMemoryError: of the GPU.
    """
    finite = [torch.isfinite(result.gradient_norm) for result in results]
    are_finite, are_bad = read(torch.stack([torch.stack(finite), torch.stack([each.bad for each in results])]))
    if not all(are_finite):
        raise NotFinite
    errors: dict[int, Exception] = {}
    for number, (member, result) in enumerate(zip(members, results, strict=True)):
        result.skipped = are_bad[number] and member.cfg.training.bad_steps == "skip"
        try:
            if not result.skipped:
                member.optimizer.step()
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # of settings that are this member's own
            errors[number] = error
    network.give_statistics([number for number, result in enumerate(results) if not result.skipped], parts)
    return errors


def read(flags: Tensor) -> list[list[bool]]:
    """What the device has found: the one wait of a step."""
    return flags.tolist()  # sync point
