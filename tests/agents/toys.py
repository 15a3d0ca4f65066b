"""Small environments and helpers that the tests of the agents share."""

import copy
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import FlattenExtractor
from stable_baselines3.common.vec_env import DummyVecEnv

from memrl import list_cores
from memrl.agents import MemoryPPO, PolicyState

CORES = list_cores()
# Small enough for hundreds of tiny models; a core that is not named here runs at its own defaults.
SMALL: dict[str, dict[str, Any]] = {
    "none": {"hidden_size": 8},
    "lstm": {"hidden_size": 8},
    "gru": {"hidden_size": 8, "num_layers": 2},
    "ntm": {"hidden_size": 8, "num_slots": 5, "slot_size": 4},
    "dnc": {"hidden_size": 8, "num_slots": 5, "slot_size": 4, "num_reads": 2},
    "memformer": {"slot_size": 8, "num_slots": 3, "num_heads": 2, "segment": 2},
    "memn2n": {"hidden_size": 8, "num_slots": 5, "num_hops": 2},
}
# Their states depend on no weights: there is nothing in them, or inputs as they came.
WEIGHTLESS = ("none", "memn2n")
BOX = spaces.Box(-1, 1, (3,), np.float32)


class Scripted(gym.Env):
    """Random observations and rewards; episodes have the given lengths, over and over.

    A positive length ends with termination, a negative one with truncation after that many steps.
    `last_seen` keeps the final observation of every episode, in order.
    """

    def __init__(self, lengths, observation_space=BOX, action_space=None, seed=0):
        self.observation_space = copy.deepcopy(observation_space)
        self.action_space = copy.deepcopy(action_space) or spaces.Discrete(3)
        self.lengths, self.episode, self.now = lengths, -1, 0
        self.rng = np.random.default_rng(seed)
        self.observation_space.seed(seed)
        self.last_seen = []

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.episode, self.now = self.episode + 1, 0
        return self.observation_space.sample(), {}

    def step(self, action):
        assert self.action_space.contains(np.asarray(action, dtype=self.action_space.dtype)), action
        self.now += 1
        length = self.lengths[self.episode % len(self.lengths)]
        over = self.now == abs(length)
        obs = self.observation_space.sample()
        if over:
            self.last_seen.append(obs)
        return obs, float(self.rng.normal()), over and length > 0, over and length < 0, {}


# Three environments: episodes end inside sequences and at their ends, by time limit and not, and not at all.
LENGTHS = ([4, -3, 7], [1, -5, 2], [50])


def scripted(lengths=LENGTHS, **kwargs):
    """A vector of `Scripted` environments."""
    return DummyVecEnv([lambda i=i, each=each: Scripted(each, seed=i, **kwargs) for i, each in enumerate(lengths)])


def make(agent=MemoryPPO, env=None, core="gru", n_steps=12, **kwargs):
    """A tiny agent; `policy_kwargs` are added to those of the core."""
    policy = kwargs.pop("policy", "MlpMemoryPolicy")
    policy_kwargs = {"core": core, "core_kwargs": SMALL.get(core, {}), "net_arch": {"pi": [6], "vf": [6]}}
    policy_kwargs |= kwargs.pop("policy_kwargs", {})
    kwargs = {"seq_len": 4, "seed": 1, "device": "cpu"} | kwargs
    if agent is MemoryPPO:
        kwargs = {"batch_size": 16, "learning_rate": 1e-3, "target_kl": None} | kwargs
    return agent(policy, env or scripted(), n_steps=n_steps, policy_kwargs=policy_kwargs, **kwargs)


def loosen(model, scale=0.3):
    """Move all weights: SB3 starts with action logits of almost 0, where mistakes hardly show."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.policy.parameters():
            parameter += scale * torch.randn(parameter.shape, generator=generator)
    return model


def exact(model):
    """Compute in float64, so that two ways to the same number agree to 1e-9 and not to 1e-5."""
    model.policy.double()
    model.policy.extract_features = lambda obs: obs.double()
    return model


def collect(model, rollouts=2):
    """Act without learning. From the second rollout on, episodes and memories reach over its start.

    Returns:
        The state of all environments before the last rollout, as it was when the rollout began.
    """
    _, callback = model._setup_learn(10**6)
    before = None
    for _ in range(rollouts):
        before = model._last_state
        assert model.collect_rollouts(model.env, callback, model.rollout_buffer, model.n_steps)
    return before


def batch_of(model, chosen=None):
    """Sequences of the rollout as one minibatch, in the policy's dtype; None: all of them."""
    buffer = model.rollout_buffer
    batch = buffer.batch(np.arange(len(buffer.starts)) if chosen is None else np.asarray(chosen))
    dtype = next(model.policy.parameters()).dtype
    columns = ("old_values", "old_log_prob", "advantages", "returns")
    return batch._replace(**{name: getattr(batch, name).to(dtype) for name in columns})


def places(model, chosen=None):
    """Time and environment of every step of a minibatch."""
    buffer = model.rollout_buffer
    chosen = range(len(buffer.starts)) if chosen is None else chosen
    found = [(buffer.starts[s] + k, buffer.envs[s]) for s in chosen for k in range(buffer.lengths[s])]
    time, env = np.array(found).T
    return time, env


class Thoughts(NamedTuple):
    """What a policy thinks of the steps of a rollout; tensors of shape (T, B)."""

    values: torch.Tensor
    log_probs: torch.Tensor
    entropies: torch.Tensor


def replay(model, before, restart=None):
    """Independent of buffer, `Sequences` and `forward`: one environment and one step after the other.

    Args:
        model: an agent with a full rollout buffer.
        before: state of all environments before the rollout.
        restart: states to go on from instead, by (t, env) of the step before which they come in.

    Returns:
        `Thoughts`, and the state before every step by (t, env).
    """
    policy, buffer, restart = model.policy, model.rollout_buffer, restart or {}
    found, states = [], {}
    for env in range(buffer.n_envs):
        state = pick(before, [env])
        for t in range(buffer.buffer_size):
            if buffer.episode_starts[t, env]:
                state = policy.initial_state(1)
            states[t, env] = state = restart.get((t, env), state)
            parts = {key: torch.as_tensor(part[t, env : env + 1]) for key, part in buffer.observation_parts.items()}
            seen = policy.extract_features(parts.get("", parts))
            seen = seen if isinstance(seen, tuple) else (seen, seen)
            actor, remembered = policy.core.step(seen[0], state.actor)
            critic, criticised = actor, ()
            if policy.critic_core is not None:
                critic, criticised = policy.critic_core.step(seen[1], state.critic)
            state = PolicyState(remembered, criticised)
            distribution = policy._get_action_dist_from_latent(policy.mlp_extractor.forward_actor(actor))
            action = torch.as_tensor(buffer.actions[t, env : env + 1])
            if isinstance(model.action_space, spaces.Discrete):
                action = action[:, 0]
            value = policy.value_net(policy.mlp_extractor.forward_critic(critic))[0, 0]
            found.append((value, distribution.log_prob(action)[0], distribution.entropy()[0]))
    columns = (torch.stack(column).view(buffer.n_envs, -1).T for column in zip(*found, strict=True))
    return Thoughts(*columns), states


def cuts(model):
    """Where gradients end and a state is kept, as (t, env): `seq_len` steps into an episode or rollout."""
    starts = model.rollout_buffer.episode_starts.astype(bool)
    found = []
    for env in range(starts.shape[1]):
        age = 0
        for t in range(len(starts)):
            if starts[t, env]:
                age = 0
            elif age == model.seq_len:
                found.append((t, env))
                age = 0
            age += 1
    return found


def stored_states(model, before):
    """The states that the weights of now would keep in a rollout, made without the buffer; see `cuts`."""
    with torch.no_grad():
        _, states = replay(model, before)
    return {place: states[place] for place in cuts(model)}


def pick(state, rows):
    """Rows of a nested tuple of tensors; written again, to be independent of memrl.tree."""
    if isinstance(state, tuple):
        parts = [pick(part, rows) for part in state]
        return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)
    return state[rows]


def leaves(state):
    """The tensors of a nested tuple."""
    return [leaf for part in state for leaf in leaves(part)] if isinstance(state, tuple) else [state]


def numpy_state(state):
    """A nested tuple of arrays, as `predict` gives and takes it."""
    if isinstance(state, tuple):
        parts = [numpy_state(part) for part in state]
        return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)
    return state.detach().numpy()


def evaluate(model, batch):
    """Values, log-probabilities and entropies of a minibatch."""
    return Thoughts(*model.policy.evaluate_sequences(batch.observations, batch.actions, batch.sequences))


def ratios(model):
    """Probability ratio of every step of the rollout under the present weights, in several minibatches."""
    found = []
    for batch in model.rollout_buffer.get(model.n_steps * model.n_envs // 3):
        found.append((evaluate(model, batch).log_probs - batch.old_log_prob).exp().detach())
    assert len(found) > 1
    return torch.cat(found)


def gradients(model, loss):
    """Gradient of each parameter, zeros where it has none."""
    model.policy.zero_grad()
    loss.backward()
    return {
        name: torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.clone()
        for name, parameter in model.policy.named_parameters()
    }


def assert_equal(ours, theirs, tolerance):
    """Two dicts of tensors agree; the tolerance is relative to the largest of all numbers, at least 1e-3."""
    assert ours.keys() == theirs.keys()
    largest = max(1e-3, *(float(value.abs().max()) for value in theirs.values() if value.numel()))
    for name, value in ours.items():
        worst = float((value - theirs[name]).abs().max()) if value.numel() else 0.0
        assert worst <= tolerance * largest, f"{name}: off by {worst}"


def assert_same(one, other):
    """Bitwise equal nested dicts and lists of tensors and numbers."""
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_same(a, b)
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    else:
        assert one == other


class Encoder(FlattenExtractor):
    """An encoder with weights, which actor and critic can have one each of."""

    def __init__(self, observation_space):
        super().__init__(observation_space)
        self.linear = torch.nn.Linear(self.features_dim, self.features_dim)

    def forward(self, observations):
        return torch.tanh(self.linear(super().forward(observations).to(self.linear.weight.dtype)))


class Steps:
    """Records what an optimizer is about to do at every step: gradients and learning rate."""

    def __init__(self, model):
        self.model, self.gradients, self.rates = model, [], []
        optimizer = model.policy.optimizer
        self.step, optimizer.step = optimizer.step, self

    def __call__(self, *args, **kwargs):
        named = self.model.policy.named_parameters()
        self.gradients.append({name: p.grad.clone() for name, p in named if p.grad is not None})
        self.rates.append(self.model.policy.optimizer.param_groups[0]["lr"])
        return self.step(*args, **kwargs)
