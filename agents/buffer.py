"""Rollout buffer of whole sequences, with the memory's state stored where a sequence begins and nowhere else."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.type_aliases import PyTorchObs
from torch import Tensor

from memrl import tree
from memrl.core import MemoryCore

Array = np.ndarray[Any, Any]


class Sequences(NamedTuple):
    """S sequences of M steps in all: the steps lie flat, sequence after sequence, without padding."""

    step: Tensor  # place of each step in its sequence, (M,)
    row: Tensor  # sequence of each step, (M,)
    longest: int  # steps of the longest sequence
    state: Any  # PolicyState before the sequences, batch S
    fresh: Tensor  # true where a sequence opens an episode and its state is the initial one, (S,)

    def run(self, core: MemoryCore[Any], features: Tensor, state: Any) -> Tensor:
        """Features (M, I) through a core to outputs (M, O): padded on the way in, cut out on the way back."""
        return self._forward(core, features, state)[0][self.step, self.row]

    def final(self, core: MemoryCore[Any], features: Tensor, state: Any) -> Any:
        """The core's states after the sequences, which must all be of the same length."""
        return self._forward(core, features, state)[1]

    def _forward(self, core: MemoryCore[Any], features: Tensor, state: Any) -> tuple[Tensor, Any]:
        x = features.new_zeros(self.longest, len(self.fresh), features.shape[-1])
        x = x.index_put((self.step, self.row), features)
        reset = torch.zeros(x.shape[:2], dtype=torch.bool, device=x.device)
        reset[0] = self.fresh
        y, state = core(x, state, reset)
        return y, state


class Batch(NamedTuple):
    """One minibatch of M steps in whole sequences."""

    observations: PyTorchObs  # (M, ...)
    actions: Tensor  # (M, ...)
    old_values: Tensor  # (M,)
    old_log_prob: Tensor  # (M,)
    advantages: Tensor  # (M,)
    returns: Tensor  # (M,)
    sequences: Sequences
    action_masks: Tensor | None = None  # (M, choices); None where nothing was masked


class SequenceBuffer(RolloutBuffer):
    """On-policy rollouts, cut into sequences for backpropagation through time.

    A sequence begins where an episode does, after `seq_len` steps of the same episode, and where the rollout does.
    A sequence that opens an episode starts from the core's initial state, computed anew when it is replayed, so that
    learned initial states learn. For the others the state is stored, detached: they backpropagate into their own
    steps only.

    Args:
        buffer_size: steps per environment in one rollout.
        observation_space: as in SB3; Dict spaces too.
        action_space: as in SB3.
        seq_len: longest stretch of backpropagation, in steps, at least 1.
        kwargs: device, gae_lambda, gamma, n_envs, as in SB3's RolloutBuffer.

    Raises:
        ValueError: seq_len is below 1.
    """

    def __init__(
        self,
        buffer_size: int,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        *,
        seq_len: int,
        **kwargs: Any,
    ) -> None:
        if seq_len < 1:
            raise ValueError(f"seq_len: {seq_len} given, at least 1 needed")
        self.seq_len = seq_len
        super().__init__(buffer_size, observation_space, action_space, **kwargs)

    def reset(self) -> None:
        """Forget the last rollout."""
        shape = (self.buffer_size, self.n_envs)
        # A single observation is kept as a dict with one key, so that there is one kind of storage.
        parts = (
            self.observation_space.spaces
            if isinstance(self.observation_space, spaces.Dict)
            else {"": self.observation_space}
        )
        self.observation_parts = {
            key: np.zeros((*shape, *(self.obs_shape[key] if key else self.obs_shape)), dtype=space.dtype)  # type: ignore[call-overload]
            for key, space in parts.items()
        }
        # Box in float32 too, as the policy drew them: integers or rounding would change the log-probability.
        whole = isinstance(self.action_space, spaces.Discrete | spaces.MultiDiscrete)
        self.actions = np.zeros((*shape, self.action_dim), dtype=np.int64 if whole else np.float32)
        for name in ("rewards", "returns", "values", "log_probs", "advantages"):
            setattr(self, name, np.zeros(shape, dtype=np.float32))
        self.episode_starts = np.zeros(shape, dtype=np.float32)
        self.sequence_starts = np.zeros(shape, dtype=bool)
        self.state_rows = np.full(shape, -1)  # where in `stored` the state before a step is; -1: not stored
        self.action_masks: Array | None = None  # (buffer_size, n_envs, choices), made when the first masks come
        self._states: list[Any] = []
        self._age = np.zeros(self.n_envs, dtype=int)  # steps since each environment's sequence began
        self.pos, self.full = 0, False

    def begin(self, state: Any, episode_starts: Array) -> None:
        """Before acting on a step: open sequences where needed and keep the states they start from.

        Args:
            state: PolicyState of all environments, not yet reset where an episode begins.
            episode_starts: bool, shape (n_envs,).
        """
        begins = episode_starts | (self._age >= self.seq_len) | (self.pos == 0)
        self._age = np.where(begins, 0, self._age) + 1
        self.sequence_starts[self.pos] = begins
        carried = np.flatnonzero(begins & ~episode_starts)
        if self.pos == 0:  # row 0 stands in for every fresh sequence: the core replaces it by the initial state
            self._states.append(tree.index(state, slice(0, 1)))
        if len(carried):
            self.state_rows[self.pos, carried] = self.num_stored + np.arange(len(carried))
            self._states.append(tree.index(state, torch.as_tensor(carried, device=self.device)))

    def add(
        self,
        obs: Any,
        action: Array,
        reward: Array,
        episode_start: Array,
        value: Tensor,
        log_prob: Tensor,
        action_masks: Array | None = None,
    ) -> None:
        """Keep one step of every environment, as in SB3; masks (n_envs, choices) of its actions, if there are any."""
        for key, part in self.observation_parts.items():
            seen = np.asarray(obs[key] if key else obs)
            if self.pos == 0 and not np.can_cast(seen.dtype, part.dtype, "same_kind"):
                # VecNormalize makes floats of whole numbers and leaves the space as it was.
                part = self.observation_parts[key] = np.zeros(part.shape, seen.dtype)
            part[self.pos] = np.reshape(seen, part.shape[1:])
        self.actions[self.pos] = action.reshape(self.n_envs, self.action_dim)
        self.rewards[self.pos] = reward
        self.episode_starts[self.pos] = episode_start
        self.values[self.pos] = value.flatten().cpu().numpy()
        self.log_probs[self.pos] = log_prob.cpu().numpy()
        if action_masks is not None:
            if self.action_masks is None:
                self.action_masks = np.zeros((self.buffer_size, *action_masks.shape), bool)
            self.action_masks[self.pos] = action_masks
        self.pos += 1
        self.full = self.pos == self.buffer_size

    @property
    def num_stored(self) -> int:
        """How many states the rollout has stored so far."""
        return sum(tree.batch_size(states) for states in self._states)

    def finish(self) -> None:
        """After the rollout: cut it into sequences and move it to the device."""

        def tensor(array: Array) -> Tensor:
            return torch.as_tensor(array.reshape(-1, *array.shape[2:]), device=self.device)

        self._observations = {key: tensor(part) for key, part in self.observation_parts.items()}
        discrete = isinstance(self.action_space, spaces.Discrete)
        self._actions = tensor(self.actions[..., 0] if discrete else self.actions)
        self._masks = None if self.action_masks is None else tensor(self.action_masks)
        self._columns = [tensor(a) for a in (self.values, self.log_probs, self.advantages, self.returns)]
        self.stored = tree.cat(self._states)

        env, start = np.nonzero(self.sequence_starts.T)  # environment by environment, in the order of time
        last = np.append(env[1:] != env[:-1], True)
        self.starts, self.envs = start, env
        self.lengths = np.where(last, self.buffer_size, np.append(start[1:], 0)) - start
        self.rows = self.state_rows[start, env]

    def get(self, batch_size: int | None = None) -> Iterator[Batch]:  # type: ignore[override]
        """Minibatches of whole sequences, in random order.

        Args:
            batch_size: about how many steps a minibatch has; the real size differs by less than one sequence. None:
                all in one.
        """
        order = np.random.permutation(len(self.starts))
        total = self.buffer_size * self.n_envs
        number = 1 if batch_size is None else max(1, round(total / batch_size))
        # Cut the shuffled sequences where their added length comes nearest to each multiple of an even share.
        reached = np.cumsum(self.lengths[order])
        cuts = np.searchsorted(reached - self.lengths[order] / 2, total / number * np.arange(1, number))
        for chosen in np.split(order, cuts):
            if len(chosen):
                yield self.batch(chosen)

    def batch(self, chosen: Array) -> Batch:
        """The minibatch of the given sequences (numbers into `starts`, `envs`, `lengths`)."""
        lengths = self.lengths[chosen]
        row = np.repeat(np.arange(len(chosen)), lengths)
        step = np.arange(len(row)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        flat = (self.starts[chosen][row] + step) * self.n_envs + self.envs[chosen][row]
        index, step_, row_ = (torch.as_tensor(a, device=self.device) for a in (flat, step, row))
        rows = torch.as_tensor(self.rows[chosen], device=self.device)
        parts = {key: part[index] for key, part in self._observations.items()}
        sequences = Sequences(step_, row_, int(lengths.max()), tree.index(self.stored, rows.clamp(min=0)), rows < 0)
        values, log_probs, advantages, returns = (column[index] for column in self._columns)
        masks = None if self._masks is None else self._masks[index]
        observations = parts.get("", parts)
        return Batch(observations, self._actions[index], values, log_probs, advantages, returns, sequences, masks)

    def successors(self) -> Iterator[tuple[Array, Array]]:
        """Pairs (sequences, the sequences that go on where those end), in an order in which states can be replayed.

        A sequence that is gone on with is exactly `seq_len` long, or it would not have been cut.
        """
        follows = np.append((self.envs[1:] == self.envs[:-1]) & (self.rows[1:] >= 0), False)
        depth = np.zeros(len(follows), dtype=int)  # how many sequences of the same episode lie before
        for i in np.flatnonzero(follows):
            depth[i + 1] = depth[i] + 1
        for level in range(1, depth.max(initial=0) + 1):
            later = np.flatnonzero(depth == level)
            yield later - 1, later
