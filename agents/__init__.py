"""Policy-gradient agents that carry any memory through whole episodes."""

if __name__ == "agents":
    # The same file under two names would make two different MemoryPPO classes.
    raise ImportError("import memrl.agents, not agents: the folder is installed as memrl.agents")

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .a2c import MemoryA2C
    from .carry import MemoryAgent
    from .export import export_policy
    from .masks import MaskedEvalCallback, MaskedPredictor
    from .policies import CnnMemoryPolicy, MlpMemoryPolicy, MultiInputMemoryPolicy, PolicyState
    from .ppo import MemoryPPO
    from .previous import VecPreviousInputs
    from .recurrent_policy import RecurrentMemoryPolicy
    from .zoo import ZooSettings, read_zoo

__all__ = [
    "CnnMemoryPolicy",
    "MaskedEvalCallback",
    "MaskedPredictor",
    "MemoryA2C",
    "MemoryAgent",
    "MemoryPPO",
    "MlpMemoryPolicy",
    "MultiInputMemoryPolicy",
    "PolicyState",
    "RecurrentMemoryPolicy",
    "VecPreviousInputs",
    "ZooSettings",
    "export_policy",
    "read_zoo",
]

# Looked up on first use: the command line lives in this package, and `memrl --help` needs no Stable-Baselines3.
_FILES = {
    "MaskedEvalCallback": "masks",
    "MaskedPredictor": "masks",
    "MemoryA2C": "a2c",
    "MemoryAgent": "carry",
    "MemoryPPO": "ppo",
    "export_policy": "export",
    "RecurrentMemoryPolicy": "recurrent_policy",
    "VecPreviousInputs": "previous",
    "ZooSettings": "zoo",
    "read_zoo": "zoo",
    **dict.fromkeys(("CnnMemoryPolicy", "MlpMemoryPolicy", "MultiInputMemoryPolicy", "PolicyState"), "policies"),
}


def __getattr__(name: str) -> object:
    if name not in _FILES:
        raise AttributeError(f"module 'memrl.agents' has no attribute {name!r}")
    return getattr(importlib.import_module(f"memrl.agents.{_FILES[name]}"), name)
