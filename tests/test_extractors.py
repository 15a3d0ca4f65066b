"""The window route: a memory in unmodified Stable-Baselines3 algorithms, as a pure function of the observation."""

import copy

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.wrappers import FlattenObservation
from sb3_contrib import QRDQN, TQC, TRPO, CrossQ, MaskablePPO
from sb3_contrib.common.wrappers import ActionMasker
from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3
from stable_baselines3.common.preprocessing import preprocess_obs
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

from memrl import MemoryExtractor, list_cores
from memrl.agents import MemoryPPO
from memrl.envs import HistoryWindow, make_env
from memrl.extractors import step_space_of

CORES = list_cores()
SMALL = {
    "none": {"hidden_size": 8},
    "lstm": {"hidden_size": 8},
    "gru": {"hidden_size": 8},
    "ntm": {"hidden_size": 8, "num_slots": 5, "slot_size": 4},
    "dnc": {"hidden_size": 8, "num_slots": 5, "slot_size": 4, "num_reads": 2},
    "memformer": {"slot_size": 8, "num_slots": 3, "num_heads": 2},
    "memn2n": {"hidden_size": 8, "num_slots": 5, "num_hops": 2},
}


class Toy(gym.Env):
    """Random observations and rewards, episodes of 3 to 12 steps."""

    def __init__(self, observation_space=None, action_space=None):
        self.observation_space = copy.deepcopy(observation_space) or spaces.Box(-1, 1, (3,), np.float32)
        self.action_space = action_space or spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        if seed is not None:
            self.observation_space.seed(seed)
        self.left = int(self.np_random.integers(3, 13))
        return self.observation_space.sample(), {}

    def step(self, action):
        self.left -= 1
        return self.observation_space.sample(), float(self.np_random.normal()), self.left == 0, False, {}


def windows(env, count, seed=0):
    """Windows of random play as SB3 hands them to an extractor."""
    env.action_space.seed(seed)
    seen = [env.reset(seed=seed)[0]]
    while len(seen) < count:
        obs, _, terminated, truncated, _ = env.step(env.action_space.sample())
        seen.append(obs)
        if terminated or truncated:
            seen.append(env.reset()[0])
    space = env.observation_space
    batch = {key: torch.as_tensor(np.stack([one[key] for one in seen[:count]])) for key in space.spaces}
    return preprocess_obs(batch, space)


def extractor(env, core="gru", **kwargs):
    torch.manual_seed(0)
    return MemoryExtractor(env.observation_space, core, SMALL.get(core, {}), **kwargs).eval()


@pytest.mark.parametrize("pooling", ["last", "mean", "max"])
@pytest.mark.parametrize("core", CORES)
def test_it_is_a_function_of_each_observation_alone(core, pooling):
    env = HistoryWindow(Toy(), 6)
    batch, features = windows(env, 40), extractor(env, core, pooling=pooling)
    together = features(batch)
    order = torch.randperm(40)
    torch.testing.assert_close(features({k: v[order] for k, v in batch.items()}), together[order])
    alone = torch.cat([features({k: v[i : i + 1] for k, v in batch.items()}) for i in range(40)])
    torch.testing.assert_close(alone, together, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("core", CORES)
def test_padding_is_never_read(core):
    env = HistoryWindow(Toy(), 8)
    batch, features = windows(env, 30), extractor(env, core)
    spoilt = batch["window"].clone()
    spoilt[batch["mask"] < 0.5] = torch.nan
    torch.testing.assert_close(features({**batch, "window": spoilt}), features(batch))


@pytest.mark.parametrize("core", CORES)
def test_a_window_over_the_episode_equals_the_recurrent_route(core):
    """Same weights in a MemoryPPO policy that carries its state, and in an extractor over the whole episode."""
    raw, env = Toy(), HistoryWindow(Toy(), 16)
    model = MemoryPPO(
        "MlpMemoryPolicy", raw, policy_kwargs={"core": core, "core_kwargs": SMALL.get(core, {})}, device="cpu"
    )
    features = extractor(env, core)
    features.core.load_state_dict(model.policy.core.state_dict())
    model.policy.set_training_mode(False)
    state, ends = model.policy.initial_state(1), 0
    seen, window = raw.reset(seed=3)[0], env.reset(seed=3)[0]
    start = True
    with torch.no_grad():
        for _ in range(40):
            obs = torch.as_tensor(seen)[None]
            latent, _, state = model.policy._remember(obs, state, torch.tensor([start]))
            batch = {key: torch.as_tensor(part)[None].float() for key, part in window.items()}
            torch.testing.assert_close(features(batch), latent, rtol=1e-6, atol=1e-6)
            seen, _, start, _, _ = raw.step(0)
            window, _, over, _, _ = env.step(0)
            assert over == start
            if over:
                ends += 1
                seen, window = raw.reset()[0], env.reset()[0]
    assert ends >= 3


ON_POLICY = {"n_steps": 32}
OFF_POLICY = {"learning_starts": 16, "train_freq": 8, "batch_size": 8, "buffer_size": 200}
BOX = spaces.Box(-1, 1, (2,), np.float32)
ALGORITHMS = {
    PPO: (None, {**ON_POLICY, "batch_size": 16}),
    A2C: (None, {"n_steps": 8}),
    TRPO: (None, {**ON_POLICY, "batch_size": 16}),
    MaskablePPO: (None, {**ON_POLICY, "batch_size": 16}),
    DQN: (None, OFF_POLICY),
    QRDQN: (None, OFF_POLICY),
    SAC: (BOX, OFF_POLICY),
    TD3: (BOX, OFF_POLICY),
    DDPG: (BOX, OFF_POLICY),
    TQC: (BOX, OFF_POLICY),
    CrossQ: (BOX, OFF_POLICY),
}


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda algorithm: algorithm.__name__)
def test_unmodified_algorithms_train_save_load_and_predict_the_same(algorithm, tmp_path):
    action_space, kwargs = ALGORITHMS[algorithm]
    env = HistoryWindow(Toy(action_space=action_space), 5)
    if algorithm is MaskablePPO:
        env = ActionMasker(env, lambda _: np.array([True, False, True]))
    policy_kwargs = {
        "features_extractor_class": MemoryExtractor,
        "features_extractor_kwargs": {"core": "dnc", "core_kwargs": SMALL["dnc"]},
        "net_arch": [8],
    }
    policy = "MultiInputPolicy"
    if algorithm is CrossQ:  # which takes no Dicts
        policy = "MlpPolicy"
        policy_kwargs["features_extractor_kwargs"]["flattened"] = env.observation_space
        env = FlattenObservation(env)
    model = algorithm(policy, env, policy_kwargs=policy_kwargs, seed=0, device="cpu", **kwargs)
    before = [parameter.clone() for parameter in memory_of(model).parameters()]
    model.learn(64)
    moved = [not torch.equal(a, b) for a, b in zip(before, memory_of(model).parameters(), strict=True)]
    assert np.mean(moved) > 0.5  # the memory itself is trained
    model.save(tmp_path / "model.zip")
    loaded = algorithm.load(tmp_path / "model.zip", device="cpu")
    obs, _ = env.reset(seed=1)
    for _ in range(12):
        action, _ = model.predict(obs, deterministic=True)
        np.testing.assert_array_equal(action, loaded.predict(obs, deterministic=True)[0])
        obs, _, over, _, _ = env.step(action)
        if over:
            obs, _ = env.reset()


def memory_of(model):
    """The first memory extractor in a model's policy."""
    return next(module for module in model.policy.modules() if isinstance(module, MemoryExtractor)).core


@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("core", CORES)
def test_ortho_init_leaves_a_core_as_it_initialised_itself(core, share):
    """SB3 re-draws linear layers of extractors after they are built: the encoder's, but not the core's."""

    class Encoder(BaseFeaturesExtractor):
        def __init__(self, space):
            super().__init__(space, 4)
            self.layer = torch.nn.Linear(3, 4)
            torch.nn.init.constant_(self.layer.bias, 0.7)

        def forward(self, obs):
            return self.layer(obs)

    built = []

    class Watched(MemoryExtractor):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            built.append((self, {name: weight.clone() for name, weight in self.core.state_dict().items()}))

    kwargs = {"core": core, "core_kwargs": SMALL.get(core, {}), "encoder": Encoder}
    PPO(
        "MultiInputPolicy",
        HistoryWindow(Toy(), 4),
        policy_kwargs={
            "features_extractor_class": Watched,
            "features_extractor_kwargs": kwargs,
            "share_features_extractor": share,
        },
        device="cpu",
    )
    assert len(built) == (1 if share else 2)
    for made, start in built:
        assert (made.encoder.layer.bias == 0).all()  # SB3 was here
        for name, weight in made.core.state_dict().items():
            assert torch.equal(weight, start[name]), name


OBSERVATIONS = {
    "discrete": spaces.Discrete(4),
    "multidiscrete": spaces.MultiDiscrete([3, 2]),
    "multibinary": spaces.MultiBinary(3),
    "image last": spaces.Box(0, 255, (16, 12, 3), np.uint8),
    "image first": spaces.Box(0, 255, (3, 16, 12), np.uint8),
    "grey": spaces.Box(0, 255, (16, 12), np.uint8),
    "dict": spaces.Dict(a=spaces.Box(-1, 1, (2,), np.float32), image=spaces.Box(0, 255, (8, 8, 3), np.uint8)),
}


@pytest.mark.parametrize("name", OBSERVATIONS)
def test_each_step_is_encoded_as_sb3_would_prepare_it_alone(name):
    """With a memory of one step, the features are those of SB3's own preparation of that observation."""
    space = OBSERVATIONS[name]
    env, raw = HistoryWindow(Toy(space), 4), Toy(space)
    features = extractor(env, "none")
    window, seen = env.reset(seed=5)[0], raw.reset(seed=5)[0]
    for _ in range(6):
        batch = {key: torch.as_tensor(part)[None] for key, part in window.items()}
        shown = features(preprocess_obs(batch, env.observation_space))
        alone = features.encoder(prepared(seen, space))
        expected, _ = features.core.step(alone, features.core.initial_state(1))
        torch.testing.assert_close(shown, expected)
        (window, *_), (seen, *_) = env.step(0), raw.step(0)


def prepared(seen, space):
    if isinstance(space, spaces.Dict):
        return {key: prepared(seen[key], part) for key, part in space.spaces.items()}
    if isinstance(space, spaces.Box) and space.dtype == np.uint8:
        seen = seen[None] if seen.ndim == 2 else seen
        seen = seen.transpose(2, 0, 1) if seen.shape[2] == 3 else seen
        return torch.as_tensor(seen.copy())[None].float() / 255
    return preprocess_obs(torch.as_tensor(np.asarray(seen))[None], space).reshape(1, -1)


def test_minigrid_is_embedded_step_by_step():
    env = HistoryWindow(make_env("MiniGrid-MemoryS7-v0", view_size=3), 5)
    features = extractor(env)
    assert type(features.encoder).__name__ == "MiniGridExtractor"
    assert features(windows(env, 8)).shape == (8, 8)


def test_cost_does_not_grow_with_padding():
    env = HistoryWindow(Toy(), 64)
    features, steps = extractor(env, "lstm"), []
    sequence = features.core.sequence
    features.core.sequence = lambda x, *rest: steps.append(len(x)) or sequence(x, *rest)
    features(windows(env, 20))
    assert steps[0] <= 13


@pytest.mark.parametrize("name", ["discrete", "multibinary", "dict"])
def test_flattened_windows_have_the_same_features(name):
    env = HistoryWindow(Toy(OBSERVATIONS[name]), 4)
    flat = FlattenObservation(HistoryWindow(Toy(OBSERVATIONS[name]), 4))
    features = extractor(env)
    torch.manual_seed(0)
    options = {"core": "gru", "core_kwargs": SMALL["gru"], "flattened": env.observation_space}
    same = MemoryExtractor(flat.observation_space, **options).eval()
    flat.reset(seed=0)
    vectors = [flat.reset(seed=i)[0] for i in range(5)]
    whole = [env.reset(seed=i)[0] for i in range(5)]
    batch = {key: torch.as_tensor(np.stack([one[key] for one in whole])) for key in env.observation_space.spaces}
    shown = same(torch.as_tensor(np.stack(vectors)).float())
    torch.testing.assert_close(shown, features(preprocess_obs(batch, env.observation_space)))


def test_step_spaces_and_widths():
    env = HistoryWindow(Toy(OBSERVATIONS["dict"]), 3)
    assert step_space_of(env.observation_space) == OBSERVATIONS["dict"]
    assert extractor(env, features_dim=5)(windows(env, 3)).shape == (3, 5)


def test_bad_arguments_are_refused():
    window = HistoryWindow(Toy(), 3).observation_space
    with pytest.raises(ValueError, match=r"HistoryWindow makes one"):
        MemoryExtractor(Toy().observation_space)
    with pytest.raises(ValueError, match="did you mean 'gru'"):
        MemoryExtractor(window, "grue")
    with pytest.raises(ValueError, match="features_dim: 0 given"):
        MemoryExtractor(window, features_dim=0)
    with pytest.raises(ValueError, match="pooling: 'sum' given"):
        MemoryExtractor(window, pooling="sum")


def test_numbers_without_an_axis_and_raw_images():
    env = HistoryWindow(Toy(spaces.Box(-1, 1, (), np.float32)), 4)
    assert extractor(env)(windows(env, 3)).shape == (3, 8)
    env = HistoryWindow(Toy(OBSERVATIONS["image first"]), 3)
    batch = windows(env, 3)
    raw, scaled = extractor(env, normalize_images=False), extractor(env)
    raw.load_state_dict(scaled.state_dict())
    torch.testing.assert_close(raw({**batch, "window": batch["window"] / 255}), scaled(batch))
    with pytest.raises(ValueError, match="a window beside the mask"):
        step_space_of(spaces.Dict(mask=spaces.MultiBinary(4)))
