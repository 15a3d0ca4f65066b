"""Policy-gradient agents that carry any memory through whole episodes."""

if __name__ == "agents":
    # The same file under two names would make two different MemoryPPO classes.
    raise ImportError("import memrl.agents, not agents: the folder is installed as memrl.agents")

from .a2c import MemoryA2C
from .policies import CnnMemoryPolicy, MlpMemoryPolicy, MultiInputMemoryPolicy, PolicyState
from .ppo import MemoryPPO
from .previous import VecPreviousInputs

__all__ = [
    "CnnMemoryPolicy",
    "MemoryA2C",
    "MemoryPPO",
    "MlpMemoryPolicy",
    "MultiInputMemoryPolicy",
    "PolicyState",
    "VecPreviousInputs",
]
