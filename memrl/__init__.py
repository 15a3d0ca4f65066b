"""Any memory plugs into any policy-gradient agent.

``import memrl`` costs torch and nothing else: environments (``memrl.envs``) and agents (``memrl.agents``)
load when they are first imported or touched.
"""

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

# A bare checkout keeps envs/ and agents/ beside this folder, not inside it. Searching the checkout as well makes
# `memrl.envs` and `memrl.agents` importable there; beside an installed wheel there is no pyproject.toml.
_checkout = Path(__file__).resolve().parent.parent
if (_checkout / "pyproject.toml").is_file() and (_checkout / "envs" / "__init__.py").is_file():
    __path__.append(str(_checkout))

from memrl.core import MemoryCore  # noqa: E402
from memrl.registry import list_cores, make_core, register_core  # noqa: E402
from memrl.testing import check_core  # noqa: E402

if TYPE_CHECKING:
    from memrl.encoders import ImageExtractor as ImageExtractor
    from memrl.encoders import MiniGridExtractor as MiniGridExtractor
    from memrl.extractors import MemoryExtractor as MemoryExtractor

__version__ = "0.1.0"
__all__ = ["MemoryCore", "__version__", "check_core", "list_cores", "make_core", "register_core"]

# Names that need Stable-Baselines3 are looked up on first use, to keep `import memrl` light.
_LAZY = {
    "MemoryExtractor": "memrl.extractors",
    "MiniGridExtractor": "memrl.encoders",
    "ImageExtractor": "memrl.encoders",
}


def __getattr__(name: str) -> object:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    if name in {"envs", "agents", "encoders", "extractors"}:
        return importlib.import_module(f"memrl.{name}")
    raise AttributeError(f"module 'memrl' has no attribute {name!r}")
