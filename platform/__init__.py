"""The platform's package, and at the same time the standard library's `platform`, whose name it bears.

torch, Ray, MLflow and pip all `import platform` and expect the standard module. So this file loads that module by
path, under its own name (pickle records the name), and hands on everything in it; it imports nothing else.
It has to come first on `sys.path`: `python -m ...` from the repository root does that, PYTHONPATH elsewhere.
"""

import importlib.util as _importlib_util
import os as _os
import sysconfig as _sysconfig

_path = _os.path.join(_sysconfig.get_path("stdlib"), "platform.py")
_spec = _importlib_util.spec_from_file_location("platform", _path)
if _spec is None or _spec.loader is None:
    raise ImportError(f"the standard library's platform module is not at {_path}")
_standard = _importlib_util.module_from_spec(_spec)
_spec.loader.exec_module(_standard)

globals().update({name: value for name, value in vars(_standard).items() if not name.startswith("__")})
__all__ = getattr(_standard, "__all__", [name for name in vars(_standard) if not name.startswith("_")])  # pyright: ignore[reportUnsupportedDunderAll]
