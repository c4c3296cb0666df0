"""Records a forward pass: each operation that PyTorch runs, with the call of a module that it belongs to.

In: a network and images, usually on the meta device. Out: a Recording. Nothing has to be traced or exported, so that
it works for whatever runs. Tensors are told apart by their storage, which views share with what they look at.
"""

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor, nn
from torch._ops import OpOverload
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode

from platform.models.build import logits_and_auxiliary
from platform.summary.counter import multiply_adds
from platform.summary.operations import IMAGES, Operation, Recording, Scope
from platform.summary.receptive_field import Field
from platform.summary.windows import field_of, window_of

# They take the shape of a tensor, and nothing of its values.
OF_SHAPES = ("empty_like", "zeros_like", "ones_like", "full_like", "rand_like", "randn_like", "new_empty", "new_zeros",
             "new_ones", "new_full", "new_empty_strided")  # fmt: skip


def record(network: nn.Module, images: Tensor) -> Recording:
    """The forward pass of a network in training on images `[N, 3, H, W]`.

    The network keeps its parameters; running statistics move as they do in training.
    """
    recorder = _Recorder(network, images)
    network.train()
    with recorder.watching(network), saved_tensors_hooks(recorder.saved, lambda tensor: tensor), recorder:
        main, auxiliary = logits_and_auxiliary(network(images))
    return recorder.recording(main, auxiliary)


class _Recorder(TorchDispatchMode):
    def __init__(self, network: nn.Module, images: Tensor) -> None:
        super().__init__()
        self.images = len(images)
        self.scopes: list[Scope] = []
        self.operations: list[Operation] = []
        self._shapes: dict[int, tuple[int, ...]] = {}  # scope -> of its output
        self._open: list[int] = []  # numbers of scopes
        self._alive: list[Tensor] = [images]  # so that no storage is known by the address of one that is gone
        self._producers: dict[int, int] = {storage_of(images): IMAGES}
        self._fields: dict[int, Field | None] = {IMAGES: Field.of_image(*images.shape[2:])}
        self._named = dict(network.named_parameters())
        self._origins = {storage_of(each): {name} for name, each in self._named.items()}  # storage -> parameters in it
        self._weights = set(self._origins)
        self._used: set[str] = set()
        self._kept: set[int] = set()  # storages that the backward pass needs
        self._saved: list[tuple[int, float]] = []  # operation that made it, bytes for an image

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing is compiled here; the usual answer imports torch._dynamo and Triton, which takes seconds."""
        return False

    def recording(self, main: Tensor, auxiliary: list[Tensor]) -> Recording:
        for number, size in self._saved:
            self.operations[max(number, 0)].saved_bytes += size  # the images count where they go in
        output, *others = (self._producers[storage_of(each)] for each in (main, *auxiliary))
        sizes = {name: each.numel() for name, each in self._named.items()}
        matrices = frozenset(name for name, each in self._named.items() if each.squeeze().dim() > 1)
        return Recording(self.scopes, self.operations, output, others, sizes, matrices, self._shapes)

    @contextlib.contextmanager
    def watching(self, network: nn.Module) -> Iterator[None]:
        """Hear of every call of a module."""
        handles = []
        for path, module in network.named_modules():
            handles.append(module.register_forward_pre_hook(self._entering(path, module)))
            handles.append(module.register_forward_hook(self._leave))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _entering(self, path: str, module: nn.Module) -> Any:
        is_sequence = type(module).forward is nn.Sequential.forward
        is_plain = type(module) is nn.Sequential

        def enter(*_: object) -> None:
            parent = self._open[-1] if self._open else None
            self._open.append(len(self.scopes))
            self.scopes.append(Scope(len(self.scopes), path, type(module).__name__, parent, is_sequence, is_plain))

        return enter

    def _leave(self, module: nn.Module, given: object, out: object) -> None:
        scope = self._open.pop()
        tensor = next(tensors_in([out]), None)
        if tensor is not None:
            self._shapes[scope] = tuple(tensor.shape[1:])

    def __torch_dispatch__(
        self, func: OpOverload, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        made = list(tensors_in([out]))
        self._alive += made
        if not made or not self._open or _name(func) in OF_SHAPES:
            return out
        given = {storage_of(each) for each in made}
        read = [storage_of(each) for each in tensors_in([args, kwargs])]
        if func.is_view or (_name(func) in ("view", "detach", "alias", "_unsafe_view") and given <= set(read)):
            return out
        from_images = [storage for storage in read if storage in self._producers]
        origins = {name for storage in read for name in self._origins.get(storage, ())}
        if from_images:
            self._note(func, args, kwargs, out, from_images, origins)
        else:  # weights that are computed from others, masks
            self._origins |= {storage: origins for storage in given if origins and storage not in self._weights}
        return out

    def _note(
        self,
        func: OpOverload,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        out: Any,
        from_images: list[int],
        origins: set[str],
    ) -> None:
        number, made = len(self.operations), list(tensors_in([out]))
        inputs = tuple(dict.fromkeys(self._producers[storage] for storage in from_images))
        window = window_of(_name(func), args, kwargs, made[0])
        self._fields[number] = field_of(
            _name(func), args, made[0], window, [self._fields[each] for each in inputs], len(from_images), self.images
        )
        self.operations.append(
            Operation(
                number,
                _name(func),
                self._open[-1],
                inputs,
                len(from_images),
                tuple(made[0].shape[1:]),
                made[0].numel() // self.images,
                multiply_adds(_name(func), args, made[0]) // self.images,
                tuple(sorted(origins - self._used)),
                window,
                self._fields[number],
            )
        )
        self._used |= origins
        self._producers |= {storage_of(each): number for each in made}

    def saved(self, tensor: Tensor) -> Tensor:
        """Count what autograd keeps for the backward pass, once each, where it was made; no weights."""
        storage = storage_of(tensor)
        if storage not in self._weights and storage not in self._kept:
            self._kept.add(storage)
            self._alive.append(tensor)
            maker = self._producers.get(storage, len(self.operations) - 1)
            self._saved.append((maker, tensor.untyped_storage().nbytes() / self.images))
        return tensor


def storage_of(tensor: Tensor) -> int:
    """What tells the memory of a tensor from that of others; views share it."""
    return tensor.untyped_storage()._cdata


def _name(func: OpOverload) -> str:
    return func._overloadpacket.__name__


def tensors_in(values: Iterable[Any]) -> Iterator[Tensor]:
    """Those among arguments or results of an operator, at any depth."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from tensors_in(value)
        elif isinstance(value, dict):
            yield from tensors_in(value.values())
