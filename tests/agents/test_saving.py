"""Saving, loading and changing environments, as in Stable-Baselines3."""

import copy
import io

import numpy as np
import pytest
import torch
from stable_baselines3.common.save_util import load_from_zip_file
from stable_baselines3.common.vec_env import VecMonitor

from memrl.agents import MemoryA2C, MemoryPPO, MlpMemoryPolicy

from .toys import CORES, Encoder, assert_same, collect, leaves, make, scripted

AGENTS = [MemoryPPO, MemoryA2C]
ROLLOUT = 3 * 12


def walk(model, env, steps=15):
    """Actions and states of a deterministic walk that keeps its memory."""
    obs, state, starts, found = env.reset(), None, np.ones(env.num_envs, dtype=bool), []
    for _ in range(steps):
        actions, state = model.predict(obs, state=state, episode_start=starts, deterministic=True)
        found.append((actions, [leaf.copy() for leaf in leaves(state)]))
        obs, _, starts, _ = env.step(actions)
    return found


@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.parametrize("core", CORES)
def test_a_loaded_model_is_the_saved_one_bit_by_bit(core, agent, tmp_path):
    model = make(agent, core=core, policy_kwargs={"share_core": agent is MemoryPPO})
    model.learn(ROLLOUT)
    model.save(tmp_path / "model")
    loaded = agent.load(tmp_path / "model", device="cpu")
    assert_same(model.get_parameters(), loaded.get_parameters())
    assert len(loaded.get_parameters()["policy.optimizer"]["state"]) > 0
    np.testing.assert_equal(walk(loaded, scripted()), walk(model, scripted()))
    for name in ("seq_len", "n_steps", "gamma", "num_timesteps", "learning_rate", "policy_kwargs", "n_envs"):
        assert getattr(loaded, name) == getattr(model, name), name


@pytest.mark.parametrize("agent", AGENTS)
def test_a_loaded_model_goes_on_as_the_saved_one_would_have(agent, tmp_path):
    """The optimizer's moments count too: the same rollout leads both to the same weights."""
    model = make(agent)
    model.learn(2 * ROLLOUT)
    model.save(tmp_path / "model")
    loaded = agent.load(tmp_path / "model", env=scripted(), device="cpu")
    assert loaded.rollout_buffer.n_envs == 3
    collect(loaded)
    model.rollout_buffer = copy.deepcopy(loaded.rollout_buffer)
    for each in (model, loaded):
        each._setup_learn(1)
        np.random.seed(0)
        each.train()
    assert_same(model.get_parameters(), loaded.get_parameters())


def test_loading_with_another_number_of_environments():
    model = make().learn(ROLLOUT)
    file = io.BytesIO()
    model.save(file)
    file.seek(0)
    loaded = MemoryPPO.load(file, env=scripted([[3], [4]]), device="cpu")
    assert loaded.n_envs == 2
    loaded.learn(2 * 12, reset_num_timesteps=False)
    assert loaded.num_timesteps == ROLLOUT + 2 * 12
    assert loaded.rollout_buffer.episode_starts.shape == (12, 2)
    # `set_env` keeps the number, as in SB3.
    with pytest.raises(AssertionError, match="number of environments"):
        loaded.set_env(scripted())


def test_loading_seeds_the_environments_and_resets_them(tmp_path):
    model = make(seed=11).learn(ROLLOUT)
    model.save(tmp_path / "model")
    env = scripted()
    seeds = []
    env.seed = lambda seed=None: seeds.append(seed)
    loaded = MemoryPPO.load(tmp_path / "model", env=env, device="cpu")
    assert seeds == [11]
    assert loaded._last_obs is None
    assert MemoryPPO.load(tmp_path / "model", env=env, force_reset=False, device="cpu")._last_obs is not None


def test_memories_of_running_episodes_are_not_saved(tmp_path):
    """They may be large, and belong to environments that are not saved either."""
    model = make(env=scripted([[50]])).learn(12)
    assert model._last_state is not None
    model.save(tmp_path / "model")
    data, _, _ = load_from_zip_file(tmp_path / "model")
    assert "_last_state" not in data
    assert not {"env", "rollout_buffer"} & data.keys()


def test_custom_objects_and_arguments_replace_what_was_saved(tmp_path):
    model = make(learning_rate=lambda _: 0.001).learn(ROLLOUT)
    model.save(tmp_path / "model")
    custom = {"learning_rate": 0.5, "lr_schedule": lambda _: 0.5, "clip_range": lambda _: 0.3}
    loaded = MemoryPPO.load(tmp_path / "model", env=scripted(), custom_objects=custom, seq_len=7, device="cpu")
    assert loaded.lr_schedule(1.0) == 0.5
    assert loaded.clip_range(1.0) == 0.3
    assert loaded.rollout_buffer.seq_len == 7
    loaded.learn(ROLLOUT)
    assert set(loaded.rollout_buffer.lengths) <= set(range(1, 8))


@pytest.mark.parametrize("core", CORES)
def test_parameters_can_be_taken_out_and_put_in(core):
    one, other = make(core=core, seed=1).learn(ROLLOUT), make(core=core, seed=2)
    assert any(not torch.equal(a, other.policy.state_dict()[name]) for name, a in one.policy.state_dict().items())
    other.set_parameters(one.get_parameters())
    assert_same(one.get_parameters(), other.get_parameters())


@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("core", CORES)
def test_a_policy_can_be_saved_alone(core, share, tmp_path):
    kwargs = {"share_core": share, "share_features_extractor": share, "features_extractor_class": Encoder}
    model = make(core=core, policy_kwargs=kwargs)
    model.policy.save(tmp_path / "policy")
    loaded = MlpMemoryPolicy.load(tmp_path / "policy", device="cpu")
    np.testing.assert_equal(walk(loaded, scripted()), walk(model, scripted()))


def test_set_env_without_a_reset_keeps_the_memory_of_the_running_episodes():
    env = scripted([[50], [50]])
    model = make(env=env)
    collect(model)
    state = model._last_state
    model.set_env(VecMonitor(env), force_reset=False)
    assert model._last_state is state
    model.set_env(env)
    assert model._last_state is None
