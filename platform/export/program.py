"""A program of torch.export from a file, without what could run code.

`torch.export.load` unpickles weights, constants and examples where the file asks for it, evaluates expressions in it as
Python, and writes Python from the names in it. So the file is read first: only what `networks.write_program` writes is
let through. This file is also part of the package in each model's folder.
"""

import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export.passes import move_to_device_pass
from torch.export.pt2_archive import PT2ArchiveReader
from torch.export.pt2_archive._package import load_pt2

_PROGRAM, _EXAMPLES = "models/model.json", "data/sample_inputs/model.pt"
_CONFIGS = ("data/weights/model_weights_config.json", "data/constants/model_constants_config.json")
_RECORD = re.compile(
    r"archive_format|archive_version|byteorder|\.data/(version|serialization_id)"
    r"|data/weights/weight_\d+|data/constants/tensor_\d+"
)
_WORD = re.compile(r"[\w.:+-]*", re.ASCII)  # names and versions: no call, no bracket, no quote
_OPERATOR = re.compile(r"torch\.ops\.aten\.\w+\.\w+|_operator\.(add|sub|mul|floordiv|mod|getitem|eq|ge|gt|le|lt)")
_EQUATION = re.compile(r"[\w.:+ ,>-]*", re.ASCII)  # a string among the arguments, such as einsum's
# What torch writes of sizes: Symbol('s77', positive=True, integer=True), s77, 2*s77 and FloorDiv(s77, 2).
_LONGEST = 200  # characters of an expression
_EXPRESSION = re.compile(
    r"(?:Symbol|Integer|Add|Mul|Pow|FloorDiv|Mod|PythonMod|Max|Min|Eq|Ne|Ge|Gt|Le|Lt|True|False|integer|positive"
    r"|'[su]\d++'|[su]\d++|\d++|[-+*/(),=<> ])*+"
)


def load_program(path: Path, device: torch.device) -> Callable[[Tensor], Tensor]:
    """The exported network, images `[N, 3, H, W]` float32 on `device` -> logits `[N, K]`, for any N.

    Its weights are in channels_last, so it is fastest with images in that format, and takes others as well.

    Raises:
        ValueError: the file is missing or damaged, or has something that a network's program has not.
    """
    try:
        require_plain(path)
        program = load_pt2(str(path)).exported_programs["model"]  # torch.export.load would go on to unpickle
        if device.type != "cpu":
            program = move_to_device_pass(program, device)
        network = program.module(check_guards=False)  # guards would be Python out of the file
        return network.to(memory_format=torch.channels_last)
    except Exception as error:  # torch raises errors of many types
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{path} is not a program that is loaded here ({reason}); export the model again") from error


def require_plain(path: Path) -> None:
    """Check that a file has the weights and the graph of a network, and nothing that `torch.export.load` would unpickle
    or run.

    Raises:
        ValueError: it has something else.
    """
    with PT2ArchiveReader(str(path)) as reader:
        names = reader.get_file_names()
        _require(_PROGRAM in names, "no program")
        for name in names:
            if name == _PROGRAM:
                _require_plain_program(json.loads(reader.read_bytes(name)))
            elif name in _CONFIGS:
                _require_plain_tensors(json.loads(reader.read_bytes(name)))
            elif name == _EXAMPLES:
                if content := reader.read_bytes(name):
                    torch.load(io.BytesIO(content), weights_only=True)
            else:
                _require(_RECORD.fullmatch(name), f"a record {name}")


def _require_plain_tensors(config: Any) -> None:
    for entry in config["config"].values():
        named = re.fullmatch(r"(weight|tensor)_\d+", entry["path_name"])
        _require(named and entry["use_pickle"] is False, f"pickled bytes as {entry['path_name']}")


def _require_plain_program(program: Any) -> None:
    """Every string of it is a word, or an expression of sizes, or one of a tree of arguments."""
    _require(not program["guards_code"], "code to check its input with")
    for key, text in _strings(program):
        if key == "expr_str":
            plain = len(text) <= _LONGEST and "**" not in text and _EXPRESSION.fullmatch(text)
            _require(plain, f"the expression {text}")
        elif key in ("in_spec", "out_spec"):
            for _, inner in _strings(json.loads(text)):
                _require(_WORD.fullmatch(inner) or inner == "[]", f"the argument {inner}")
        elif key == "target":
            _require(_OPERATOR.fullmatch(text), f"the operator {text}")
        elif key == "as_string":
            _require(_EQUATION.fullmatch(text), f"the text {text}")
        else:
            _require(_WORD.fullmatch(text), f"the text {text}")


def _strings(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """(key, string) of each in a JSON value; each key of an object is a string, too."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, list):
        for each in value:
            yield from _strings(each, key)
    elif isinstance(value, dict):
        for name, each in value.items():
            yield "", name
            yield from _strings(each, name)


def _require(found: object, what: str) -> None:
    if not found:
        raise ValueError(f"it has {what[:100]}")
