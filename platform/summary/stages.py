"""The rows of the paper's table: a network's parts in order, each with its costs.

In: a recording. Out: stages. A network is taken apart as far as its modules are sequences of others, or very deep; so
an Inception module, a residual block or a transformer's block is one stage.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from platform.summary.layers import Layer, channels_first, layers_of
from platform.summary.operations import IMAGES, Operation, Recording, Scope
from platform.summary.receptive_field import Field

DEEP = 8  # layers with weights one after the other: a module with so many is several stages


@dataclass
class Stage:
    """One row of the table.

    Args:
        name: of its module, shortened; the operation's where it is none's.
        kind: class of its module.
        shape: of its output: channels, height, width; or tokens, features.
        depth: layers with weights, one after the other.
        layers: in order.
        parameters: elements, biases and normalisation included.
        weights: elements of what multiplies: parameters without biases and normalisation.
        multiply_adds: for an image.
        activation_bytes: kept for the backward pass, for an image, in float32.
        receptive_field: of its output; None: unknown.
        is_auxiliary: only of an auxiliary head, which inference leaves out.
        sources: numbers of the stages that its inputs come from; -1: the images.
    """

    number: int
    name: str
    kind: str
    shape: tuple[int, ...]
    depth: int
    layers: list[Layer]
    parameters: int
    weights: int
    multiply_adds: int
    activation_bytes: float
    receptive_field: Field | None
    is_auxiliary: bool
    sources: tuple[int, ...] = (IMAGES,)


@dataclass
class _Unit:
    """Operations that make up a stage, or a part of the one before."""

    scope: Scope | None  # None: an operation of no module of its own
    operations: list[Operation]

    def __post_init__(self) -> None:
        self.modules_last = self.operations[-1].number


def stages_of(recording: Recording) -> list[Stage]:
    """The stages of a network, in order of their first operation."""
    needed = recording.needed_for(recording.output)
    depths = depths_of(recording)
    units = _merged(_units(recording, depths))
    names = _names(recording, units, needed)
    stages = [
        _stage(recording, unit, name, number, depths, needed)
        for number, (unit, name) in enumerate(zip(units, names, strict=True))
    ]
    owner = {operation.number: number for number, unit in enumerate(units) for operation in unit.operations}
    for stage, unit in zip(stages, units, strict=True):
        inputs = [owner.get(each, IMAGES) for operation in unit.operations for each in operation.inputs]
        stage.sources = tuple(dict.fromkeys(each for each in inputs if each != stage.number))
    return stages


def depths_of(recording: Recording, *, pools: bool = False) -> list[int]:
    """For each operation, how many layers with weights are on the longest way to it, itself included.

    Args:
        recording: of the network.
        pools: poolings count, too.
    """
    depths: list[int] = []
    for operation in recording.operations:
        before = max((depths[each] for each in operation.inputs if each != IMAGES), default=0)
        depths.append(before + (operation.is_weighted or (pools and operation.is_pooling)))
    return depths


def _stage(recording: Recording, unit: _Unit, name: str, number: int, depths: Sequence[int], needed: set[int]) -> Stage:
    operations, last = unit.operations, unit.operations[-1]
    inside = {operation.number for operation in operations}
    outside = {each for operation in operations for each in operation.inputs if each not in inside}
    before = max((depths[each] for each in outside if each != IMAGES), default=0)
    used = [each for operation in operations for each in operation.parameters]
    is_the_modules = unit.scope is not None and last.number == unit.modules_last
    shape = recording.shapes.get(unit.scope.number, last.shape) if unit.scope and is_the_modules else last.shape
    return Stage(
        number,
        name,
        unit.scope.kind if unit.scope else last.name,
        channels_first(shape),
        max(depths[each] for each in inside) - before,
        layers_of(operations, recording.sizes),
        sum(recording.sizes[each] for each in used),
        sum(recording.sizes[each] for each in used if each in recording.matrices),
        sum(operation.multiply_adds for operation in operations),
        sum(operation.saved_bytes for operation in operations),
        last.receptive_field,
        is_auxiliary=not inside & needed,
    )


def _units(recording: Recording, depths: Sequence[int]) -> list[_Unit]:
    """The network taken apart, in order."""
    of_scope: dict[int, list[Operation]] = {}  # scope -> operations in it and in those that it called
    children: dict[int, list[int]] = {}
    for scope in recording.scopes:
        if scope.parent is not None:
            children.setdefault(scope.parent, []).append(scope.number)
    for operation in recording.operations:
        scope = operation.scope
        while scope is not None:
            of_scope.setdefault(scope, []).append(operation)
            scope = recording.scopes[scope].parent

    def is_taken_apart(scope: Scope) -> bool:
        operations = of_scope.get(scope.number, [])
        inner = [recording.scopes[each] for each in children.get(scope.number, []) if each in of_scope]
        if scope.parent is None:
            return True
        if not inner:
            return False
        if scope.is_sequence and (scope.is_plain or any(each.number in children for each in inner)):
            return True
        within = [depths[operation.number] for operation in operations]
        before = [depths[each] for operation in operations[:1] for each in operation.inputs if each != IMAGES]
        return max(within) - max(before, default=0) >= DEEP

    def apart(scope: Scope) -> list[_Unit]:
        found: list[_Unit] = []
        inner = [recording.scopes[each] for each in children.get(scope.number, []) if each in of_scope]
        for each in inner:
            found += apart(each) if is_taken_apart(each) else [_Unit(each, of_scope[each.number])]
        own = [operation for operation in of_scope[scope.number] if operation.scope == scope.number]
        found += [_Unit(None, [operation]) for operation in own]
        return sorted(found, key=lambda unit: unit.operations[0].number)

    return apart(recording.scopes[0])


def _merged(units: list[_Unit]) -> list[_Unit]:
    """Without those that are no stage by themselves (normalisations, sums): these go with the one before."""
    found: list[_Unit] = []
    waiting: list[Operation] = []  # what comes before the first
    for unit in units:
        matters = any(each.multiply_adds or each.is_pooling or each.is_weighted for each in unit.operations)
        if matters:
            unit.operations[:0] = waiting
            waiting = []
            found.append(unit)
            continue
        inputs = [each for operation in unit.operations for each in operation.inputs]
        owners = [one for one in found if {operation.number for operation in one.operations} & set(inputs)]
        owner = owners[-1] if owners else found[-1] if found else None
        if owner is None:
            waiting += unit.operations
        else:
            owner.operations += unit.operations
    if waiting and not found:
        found.append(_Unit(None, waiting))
    return found


def _names(recording: Recording, units: Sequence[_Unit], needed: set[int]) -> list[str]:
    """Paths of modules, without containers that nobody calls if no other stage has that name: 3a for stages.3a."""
    called = {scope.path for scope in recording.scopes}
    taken: set[str] = set()
    names: dict[int, str] = {}
    order = sorted(range(len(units)), key=lambda each: units[each].operations[0].number not in needed)
    for number in order:
        unit = units[number]
        path = unit.scope.path if unit.scope else unit.operations[0].name
        parts = path.split(".")
        paths = (".".join(parts[: place + 1]) for place in range(len(parts)))
        short = ".".join(part for part, to in zip(parts, paths, strict=True) if to == path or to in called)
        names[number] = short if short not in taken else path
        taken.add(short)
    return [names[number] for number in range(len(units))]
