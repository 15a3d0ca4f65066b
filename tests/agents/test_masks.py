"""Action masks together with a memory: what is ruled out is never done, and both are needed where both matter."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from sb3_contrib.common.maskable.distributions import make_masked_proba_distribution
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor

from memrl.agents import MaskedEvalCallback, MaskedPredictor, MemoryA2C, MemoryPPO
from memrl.agents.distributions import masked

from .toys import BOX, Scripted, batch_of, collect, exact, loosen, make

SPACES = [spaces.Discrete(5), spaces.MultiDiscrete([3, 2, 4]), spaces.MultiBinary(3)]


def choices(space):
    return {spaces.Discrete: [5], spaces.MultiDiscrete: [3, 2, 4], spaces.MultiBinary: [2, 2, 2]}[type(space)]


def random_masks(rng, space, rows):
    """Masks that leave something of every part."""
    parts = []
    for n in choices(space):
        part = rng.random((rows, n)) < 0.5
        part[np.arange(rows), rng.integers(n, size=rows)] = True
        parts.append(part)
    return np.concatenate(parts, axis=1)


class Choosy(Scripted):
    """As Scripted, but what is allowed changes at random from step to step; doing anything else is an error."""

    def __init__(self, lengths, action_space, seed=0):
        super().__init__(lengths, BOX, action_space, seed)
        self.mask = random_masks(self.rng, self.action_space, 1)[0]

    def action_masks(self):
        return self.mask

    def step(self, action):
        parts = np.split(self.mask, np.cumsum(choices(self.action_space))[:-1])
        assert all(part[int(a)] for part, a in zip(parts, np.ravel(action), strict=True)), (action, self.mask)
        self.mask = random_masks(self.rng, self.action_space, 1)[0]
        return super().step(action)


def choosy(space):
    return DummyVecEnv([lambda i=i: Choosy([4, -3, 7, 50], space, seed=i) for i in range(3)])


@pytest.mark.parametrize("space", SPACES, ids=lambda space: type(space).__name__)
def test_masked_distributions_are_those_of_sb3_contrib(space):
    rng, rows = np.random.default_rng(0), 200
    masks = random_masks(rng, space, rows)
    logits = torch.as_tensor(
        rng.normal(size=(rows, 3 if isinstance(space, spaces.MultiBinary) else sum(choices(space))))
    )
    ours = masked(space, logits, torch.as_tensor(masks))
    theirs = make_masked_proba_distribution(space)
    if isinstance(space, spaces.MultiBinary):  # they have two logits for a bit, we the difference
        logits = torch.stack([torch.zeros_like(logits), logits], -1).flatten(1)
    theirs.proba_distribution(logits)
    theirs.apply_masking(masks)
    actions = theirs.sample()
    torch.testing.assert_close(ours.log_prob(actions), theirs.log_prob(actions))
    torch.testing.assert_close(ours.entropy(), theirs.entropy())
    torch.testing.assert_close(ours.mode(), theirs.mode())


@pytest.mark.parametrize("agent", [MemoryPPO, MemoryA2C])
@pytest.mark.parametrize("space", SPACES, ids=lambda space: type(space).__name__)
def test_rollouts_training_and_prediction_never_leave_the_mask(space, agent):
    model = loosen(make(agent, choosy(space)))
    model.learn(3 * 12 * 4)  # the environment objects to anything else
    assert all(torch.isfinite(parameter).all() for parameter in model.policy.parameters())
    env = choosy(space)
    evaluate_policy(MaskedPredictor(model, env), env, n_eval_episodes=6, deterministic=False, warn=False)


@pytest.mark.parametrize("space", SPACES, ids=lambda space: type(space).__name__)
def test_the_ratio_is_one_before_the_first_update(space):
    model = loosen(exact(make(env=choosy(space))))
    collect(model)
    batch = batch_of(model)
    assert not batch.action_masks.all()
    _, log_prob, entropy = model.policy.evaluate_sequences(
        batch.observations, batch.actions, batch.sequences, batch.action_masks
    )
    torch.testing.assert_close(log_prob.float(), batch.old_log_prob.float(), rtol=1e-5, atol=1e-6)
    _, free, unmasked = model.policy.evaluate_sequences(batch.observations, batch.actions, batch.sequences)
    assert (log_prob >= free - 1e-6).all()
    assert (entropy <= unmasked + 1e-9).any()


def test_bad_masks_are_refused():
    model = make()
    obs = model.env.reset()
    with pytest.raises(ValueError, match=r"action_masks: shape \(3, 2\) given, \(3, 3\) needed"):
        model.predict(obs, episode_start=np.ones(3, bool), action_masks=np.ones((3, 2), bool))
    with pytest.raises(ValueError, match="no action is allowed in row 1"):
        model.predict(obs, episode_start=np.ones(3, bool), action_masks=np.array([[1, 0, 0], [0, 0, 0], [1, 1, 1]]))
    assert (model.predict(obs, episode_start=np.ones(3, bool), action_masks=np.array([[0, 1, 0]] * 3))[0] == 1).all()


class Doors(gym.Env):
    """Shows a cue, then nothing for a step, then two of twelve doors can be opened: the lower or the upper, as cued.

    Which two is told by `action_masks` alone, and a closed door ends the episode without reward. With both the memory
    and the masks an agent opens the right one; with masks alone, half of them; with memory alone it knows no door.
    """

    observation_space, action_space = spaces.Box(-1, 1, (2,), np.float32), spaces.Discrete(12)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.now, self.cue = 0, int(self.np_random.integers(2))
        self.doors = np.sort(self.np_random.choice(12, 2, replace=False))
        return np.array([2 * self.cue - 1, 0], np.float32), {}

    def action_masks(self):
        mask = np.zeros(12, bool)
        mask[self.doors if self.now == 2 else 0] = True
        return mask

    def step(self, action):
        over = self.now == 2
        self.now += 1
        reward = float(over and action == self.doors[self.cue])
        return np.array([0, self.now == 2], np.float32), reward, over, False, {}


class Closed(Doors):
    """The same without masks."""

    action_masks = None  # found by nobody: SB3 asks whether there is one

    def __getattribute__(self, name):
        if name == "action_masks":
            raise AttributeError(name)
        return super().__getattribute__(name)


@pytest.mark.parametrize(
    ("core", "doors", "low", "high"),
    [("gru", Doors, 0.95, 1.0), ("none", Doors, 0.3, 0.7), ("gru", Closed, 0.0, 0.4)],
    ids=["both", "masks alone", "memory alone"],
)
def test_masks_and_memory_are_needed_together(core, doors, low, high):
    envs = VecMonitor(DummyVecEnv([doors] * 16))
    policy_kwargs = {"core": core, "core_kwargs": {"hidden_size": 16}, "net_arch": []}
    kwargs = {"target_kl": None, "learning_rate": 0.01, "n_steps": 12, "seq_len": 3, "batch_size": 96, "n_epochs": 4}
    model = MemoryPPO("MlpMemoryPolicy", envs, policy_kwargs=policy_kwargs, seed=0, device="cpu", **kwargs)
    model.learn(16_000)
    mean, _ = evaluate_policy(MaskedPredictor(model, envs), envs, n_eval_episodes=200)
    assert low <= mean <= high


def test_the_eval_callback_asks_for_masks(tmp_path):
    model, env = make(env=choosy(SPACES[0])), choosy(SPACES[0])
    callback = MaskedEvalCallback(env, eval_freq=12, n_eval_episodes=3, warn=False, verbose=0, deterministic=False)
    model.learn(3 * 12 * 3, callback=callback)  # the environment objects to anything else
    assert np.isfinite(callback.last_mean_reward)


def test_a_box_has_nothing_to_mask():
    class Masked(Scripted):
        def action_masks(self):
            return np.ones(2, bool)

    env = DummyVecEnv([lambda: Masked([3], action_space=spaces.Box(-1, 1, (2,), np.float32))])
    model = make(env=env)
    model.learn(12)
    evaluate_policy(MaskedPredictor(model, env), env, n_eval_episodes=2, warn=False)
