"""How much memory a core costs: what a backward pass needs, and what a rollout stores."""

from dataclasses import dataclass
from typing import Any

import torch
from stable_baselines3.common.vec_env import DummyVecEnv
from torch import Tensor, nn

from memrl import tree
from memrl.core import MemoryCore
from memrl.envs import make_env

from .ppo import MemoryPPO


@dataclass(frozen=True)
class Stored:
    """What an agent's buffer keeps of a core's state."""

    state_bytes: int  # the state of one environment
    stored_bytes: int  # all states in the buffer after a rollout
    env_steps: int  # of that rollout


def saved_bytes(module: nn.Module, *inputs: Any) -> int:
    """Bytes that autograd keeps from a forward pass for the backward pass.

    Every storage counts once and in full, however many views of it are kept. Parameters and the given tensors
    do not count: they exist anyway.

    Args:
        module: what to call.
        inputs: its arguments; tensors, and tuples of tensors.
    """
    given = tree.leaves(tuple(value for value in inputs if isinstance(value, Tensor | tuple)))
    known = {tensor.untyped_storage().data_ptr() for tensor in [*given, *module.parameters(), *module.buffers()]}
    # The storages themselves are kept here, lest one is freed and its address used again.
    kept: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        module(*inputs)
    return sum(storage.nbytes() for address, storage in kept.items() if address not in known)


def sequence_saved_bytes(core: MemoryCore[Any], x: Tensor) -> int:
    """Bytes that autograd keeps from a core's run over sequences x (T, B, I) without resets."""
    reset = torch.zeros(x.shape[:2], dtype=torch.bool, device=x.device)
    return saved_bytes(core, x, core.initial_state(x.shape[1]), reset)


def stored_states(core: str, *, seq_len: int, n_envs: int = 16, sequences: int = 2) -> Stored:
    """Let a MemoryPPO collect a rollout in which no episode ends, the worst case, and see what it has stored.

    Args:
        core: name of the core; its options are the defaults.
        seq_len: backpropagation length in steps, of which each starts from a stored state.
        n_envs: copies of the environment.
        sequences: sequences of each copy in a rollout.
    """
    n_steps = seq_len * sequences
    # Two rollouts: the first one opens with fresh episodes, whose states are not stored.
    envs = DummyVecEnv([lambda: make_env("memrl/TMaze-v0", length=2 * n_steps)] * n_envs)
    model = MemoryPPO(
        "MlpMemoryPolicy",
        envs,
        n_steps=n_steps,
        seq_len=seq_len,
        batch_size=n_envs * n_steps,
        n_epochs=1,
        policy_kwargs={"core": core},
        device="cpu",
    )
    model.learn(2 * n_envs * n_steps)
    envs.close()
    return Stored(
        state_bytes=_bytes(model.policy.initial_state(1)),
        stored_bytes=_bytes(model.rollout_buffer.stored),
        env_steps=n_envs * n_steps,
    )


def _bytes(state: tuple[Any, ...]) -> int:
    return sum(leaf.numel() * leaf.element_size() for leaf in tree.leaves(state))
