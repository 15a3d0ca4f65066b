"""POPGym through make_env, against the raw environments."""

import gymnasium as gym
import numpy as np
import popgym
import pytest
from gymnasium import spaces
from stable_baselines3.common.env_checker import check_env
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

from memrl.envs import make_env
from memrl.envs import popgym as popgym_by_id

IDS = sorted(name for name in gym.registry if name.startswith("popgym-"))


def test_all_families_in_three_sizes_are_here():
    # Two labyrinths need mazelib; the fourteen other families need nothing.
    assert len(IDS) == (48 if popgym.envs.has_mazelib() else 42)


@pytest.mark.parametrize("env_id", IDS)
def test_sb3_accepts_spaces_and_values(env_id, recwarn):
    env = make_env(env_id)
    check_env(env)
    # POPGym's pendulum has its own action range; SB3 advises [-1, 1] but takes it.
    advice = [str(warning.message) for warning in recwarn if "symmetric and normalized" not in str(warning.message)]
    assert advice == []


@pytest.mark.parametrize("env_id", IDS)
def test_whole_episodes_are_those_of_the_raw_environment(env_id):
    env, raw = make_env(env_id), gym.make(env_id, disable_env_checker=True)
    env.action_space.seed(0)
    seen, _ = env.reset(seed=7)
    shown, _ = raw.reset(seed=7)
    done = False
    while not done:
        assert seen in env.observation_space
        np.testing.assert_array_equal(seen, np.array(shown))
        action = env.action_space.sample()
        seen, reward, terminated, truncated, _ = env.step(action)
        shown, *outcome, _ = raw.step(action)
        assert [reward, terminated, truncated] == outcome
        done = terminated or truncated


def test_tuples_become_one_multidiscrete():
    env = make_env("popgym-AutoencodeEasy-v0")
    assert env.observation_space == spaces.MultiDiscrete([2, 4])
    assert isinstance(make_env("popgym-RepeatPreviousEasy-v0").observation_space, spaces.Discrete)


@pytest.mark.parametrize("env_id", ["popgym-CountRecallEasy-v0", "popgym-MultiarmedBanditEasy-v0"])
def test_infos_are_not_carried_from_step_to_step(env_id):
    # These two hand out the same array in every info. Were it the same dict, the "episode" that SB3's Monitor
    # puts into the last info of an episode would be counted again and again.
    venv = DummyVecEnv([lambda: Monitor(make_env(env_id))])
    venv.seed(0)
    venv.reset()
    ends = reports = 0
    for _ in range(450):
        _, _, dones, infos = venv.step(np.array([venv.action_space.sample()]))
        ends += int(dones[0])
        reports += "episode" in infos[0]
    assert ends == reports >= 2


def test_without_popgym_one_line_tells_what_to_install(monkeypatch):
    monkeypatch.setattr(popgym_by_id, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'memrl\[popgym\]'") as caught:
        make_env("popgym-RepeatPreviousEasy-v0")
    assert "\n" not in str(caught.value)
