"""Returns and advantages: an episode that ended is worth nothing more, one that was cut off goes on."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

from memrl.agents import MemoryA2C, MemoryPPO

from .toys import CORES, collect, loosen, make, pick, replay, scripted

GAMMA, LAMBDA = 0.9, 0.7
# A time limit at the last step of a rollout (environment 0), in the middle, and in the first step.
SCRIPT = ([4, -3, -5], [1, -5, -1, 2, 4], [-2, 50])


def value(policy, state, obs):
    """Value of one observation with a memory of what came before."""
    if isinstance(obs, dict):
        obs = {key: torch.as_tensor(np.asarray(part))[None] for key, part in obs.items()}
    else:
        obs = torch.as_tensor(np.asarray(obs))[None]
    seen = policy.extract_features(obs)
    latent, _ = (policy.critic_core or policy.core).step(seen, state.critic or state.actor)
    return policy.value_net(policy.mlp_extractor.forward_critic(latent)).item()


def slow_returns(rewards, values, ends, after):
    """Sums of TD errors, each written out, for one environment.

    Args:
        rewards: r_t.
        values: V_t.
        ends: "terminated", "truncated" or None, for every step.
        after: value of what comes after step t, where that is not V_{t+1}.
    """
    steps = len(rewards)
    deltas = []
    for t in range(steps):
        if ends[t] == "terminated":
            following = 0.0
        elif ends[t] == "truncated" or t == steps - 1:
            following = after[t]
        else:
            following = values[t + 1]
        deltas.append(rewards[t] + GAMMA * following - values[t])
    advantages = np.zeros(steps)
    for t in range(steps):
        for k in range(t, steps):
            advantages[t] += (GAMMA * LAMBDA) ** (k - t) * deltas[k]
            if ends[k]:
                break
    return advantages, advantages + values


@pytest.mark.parametrize("agent", [MemoryPPO, MemoryA2C])
@pytest.mark.parametrize("core", CORES)
def test_advantages_are_those_of_a_slow_loop(core, agent):
    env = scripted(SCRIPT)
    log = []
    step_wait = env.step_wait

    def spy():
        obs, rewards, dones, infos = step_wait()
        log.append((rewards.copy(), [ending(dones[i], infos[i]) for i in range(3)]))
        return obs, rewards, dones, infos

    env.step_wait = spy
    model = make(agent, env=env, core=core, gamma=GAMMA, gae_lambda=LAMBDA, policy_kwargs={"share_core": False})
    loosen(model)
    before = collect(model, rollouts=1)
    assert before is None
    before = model.policy.initial_state(3)
    with torch.no_grad():
        thoughts, states = replay(model, before)
        policy, buffer = model.policy, model.rollout_buffer
        ended = 0
        for i in range(3):
            rewards, ends = [r[i] for r, _ in log], [e[i] for _, e in log]
            final = iter(env.envs[i].last_seen)
            after = {}
            for t, end in enumerate(ends):
                last = next(final) if end else None
                if (
                    end == "truncated"
                ):  # the memory has seen the steps of this episode, and not yet the last observation
                    after[t] = value(policy, following(policy, buffer, states, t, i), last)
                    ended += 1
                elif t == 11 and not end:
                    after[t] = value(policy, following(policy, buffer, states, t, i), model._last_obs[i])
            advantages, returns = slow_returns(rewards, thoughts.values[:, i].numpy(), ends, after)
            np.testing.assert_allclose(buffer.advantages[:, i], advantages, rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(buffer.returns[:, i], returns, rtol=1e-4, atol=1e-5)
    assert ended >= 5
    assert log[11][1][0] == "truncated"


def ending(done, info):
    return None if not done else "truncated" if info["TimeLimit.truncated"] else "terminated"


def following(policy, buffer, states, t, i):
    """The state of environment i after step t of the same episode."""
    obs = torch.as_tensor(buffer.observation_parts[""][t, i : i + 1])
    seen, state = policy.extract_features(obs), states[t, i]
    return type(state)(policy.core.step(seen, state.actor)[1], policy.critic_core.step(seen, state.critic)[1])


class Countdown(gym.Env):
    """Reward 1 for each of three steps; then it ends, or is cut off."""

    def __init__(self, truncates):
        self.observation_space, self.action_space = spaces.Box(0, 9, (1,), np.float32), spaces.Discrete(2)
        self.truncates = truncates

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.now = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.now += 1
        over = self.now == 3
        return np.array([self.now], np.float32), 1.0, over and not self.truncates, over and self.truncates, {}


@pytest.mark.parametrize(("truncates", "last"), [(False, 1.0), (True, 1.0 + 0.5 * 8.0)])
def test_by_hand(truncates, last):
    """With a critic that says 8 to everything, gamma 1/2 and lambda 1/2."""
    model = make(env=Countdown(truncates), n_steps=6, gamma=0.5, gae_lambda=0.5)
    with torch.no_grad():
        model.policy.value_net.weight.zero_()
        model.policy.value_net.bias.fill_(8.0)
    collect(model, rollouts=1)
    # delta = r + 8 / 2 - 8 = -3 inside, and last - 8 at the end; a step later counts a quarter as much.
    final = last - 8
    second = -3 + 0.25 * final
    first = -3 + 0.25 * second
    assert model.rollout_buffer.advantages[:, 0].tolist() == [first, second, final] * 2
    assert model.rollout_buffer.returns[:, 0].tolist() == [8 + first, 8 + second, 8 + final] * 2


class Memento(gym.Env):
    """Shows a number once, then zeros, and is cut off after two steps; a memory knows the number then."""

    def __init__(self, number):
        self.observation_space, self.action_space = spaces.Box(-9, 9, (1,), np.float32), spaces.Discrete(2)
        self.number = number

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.now = 0
        return np.array([self.number], np.float32), {}

    def step(self, action):
        self.now += 1
        return np.zeros(1, np.float32), 0.0, False, self.now == 2, {}


def test_a_truncated_episode_is_valued_with_its_own_memory():
    """The final observation is always the same: the values differ by what the episode began with."""
    worth = []
    for number in (-2.0, 3.0):
        model = make(env=Memento(number), core="lstm", n_steps=2, gamma=0.5)
        loosen(model)
        collect(model, rollouts=1)
        policy = model.policy
        with torch.no_grad():
            state = policy.initial_state(1)
            for seen in (number, 0.0):
                _, _, state = policy._remember(torch.tensor([[seen]]), state, torch.tensor([False]))
            worth.append(value(policy, pick(state, [0]), [0.0]))
        assert model.rollout_buffer.rewards[:, 0].tolist() == pytest.approx([0.0, 0.5 * worth[-1]], abs=1e-6)
    assert abs(worth[0] - worth[1]) > 1e-3


def test_a_dict_observation_is_valued_too():
    space = spaces.Dict(a=spaces.Discrete(3), b=spaces.Box(-1, 1, (2, 2), np.float32))
    env = scripted([[-1]], observation_space=space)
    model = make(env=env, policy="MultiInputMemoryPolicy", n_steps=3, gamma=0.5)
    loosen(model)
    log = []
    step_wait = env.step_wait
    env.step_wait = lambda: log.append(step_wait()) or log[-1]
    collect(model, rollouts=1)
    policy, buffer = model.policy, model.rollout_buffer
    with torch.no_grad():
        _, states = replay(model, policy.initial_state(1))
        for t, (_, rewards, _, infos) in enumerate(log):
            obs = {key: torch.as_tensor(part[t]) for key, part in buffer.observation_parts.items()}
            after = policy._remember(obs, states[t, 0], torch.tensor([False]))[2]
            expected = rewards[0] + 0.5 * value(policy, after, infos[0]["terminal_observation"])
            assert buffer.rewards[t, 0] == pytest.approx(expected, abs=1e-6)
