"""The wrappers: by hand, by statistics, and the vector form against Gymnasium's vector of wrapped environments."""

import copy
import pickle
from functools import partial

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv

import memrl.envs
from memrl.agents import VecPreviousInputs
from memrl.envs import (
    Delay,
    EpisodeTime,
    Flicker,
    GymVecEnv,
    HideObservation,
    ObservationNoise,
    PreviousInputs,
    VectorDelay,
    VectorEpisodeTime,
    VectorFlicker,
    VectorHideObservation,
    VectorObservationNoise,
    VectorPreviousInputs,
    make_env,
)

MINIGRID = ("MiniGrid-MemoryS7-v0", {"view_size": 3, "actions": "left,right,forward"})
TMAZE, CARDS, PENDULUM = "memrl/TMaze-v0", "popgym-RepeatPreviousEasy-v0", "memrl/PositionOnlyPendulum-v0"
IDS = [TMAZE, "memrl/RepeatPrevious-v0", CARDS, "popgym-AutoencodeEasy-v0", PENDULUM, "CartPole-v1", MINIGRID[0]]


def make(env_id):
    keywords = MINIGRID[1] if env_id == MINIGRID[0] else {}
    return make_env(env_id, **keywords)


def copies(count, env_id, *wrappers):
    """Gymnasium's own vector of single environments, each in the wrappers."""

    def wrapped():
        env = make(env_id)
        for wrapper in wrappers:
            env = wrapper(env)
        return env

    return SyncVectorEnv([wrapped] * count, autoreset_mode=AutoresetMode.SAME_STEP)


def vector(env_id, count, **keywords):
    return gym.make_vec(env_id, num_envs=count, vectorization_mode="vector_entry_point", **keywords)


WRAPPERS = {
    "hide": (partial(HideObservation, hidden=[1]), partial(VectorHideObservation, hidden=[1])),
    "hide key": (partial(HideObservation, hidden="direction"), partial(VectorHideObservation, hidden="direction")),
    "flicker": (partial(Flicker, probability=0.4), partial(VectorFlicker, probability=0.4)),
    "delay": (partial(Delay, steps=3), partial(VectorDelay, steps=3)),
    "noise": (partial(ObservationNoise, deviation=0.3), partial(VectorObservationNoise, deviation=0.3)),
    "previous": (PreviousInputs, VectorPreviousInputs),
    "time": (partial(EpisodeTime, time=True, horizon=20), partial(VectorEpisodeTime, time=True, horizon=20)),
}
# Which of them make sense where: no number to leave out of a Discrete, no float numbers in a MultiDiscrete, ...
NOT_FOR = {
    "hide": {"memrl/RepeatPrevious-v0", CARDS, MINIGRID[0]},
    "hide key": set(IDS) - {MINIGRID[0]},
    "noise": {"memrl/RepeatPrevious-v0", CARDS, "popgym-AutoencodeEasy-v0", MINIGRID[0]},
}
CASES = [(name, env_id) for name in WRAPPERS for env_id in IDS if env_id not in NOT_FOR.get(name, ())]


def follow(envs, steps, seed=3):
    """Everything that is told over some steps, with a reset of some copies in between."""
    envs.action_space.seed(seed)
    told = [envs.reset(seed=seed)]
    for step in range(steps):
        told.append(envs.step(envs.action_space.sample()))
        if step == steps // 2:
            mask = np.arange(envs.num_envs) % 2 == 0
            told.append(envs.reset(options={"reset_mask": mask}))
    told.append(envs.reset())
    told.append(envs.step(envs.action_space.sample()))
    return told


def assert_same(one, other):
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        one, other = list(one.values()), [other[key] for key in one]
    if isinstance(one, list | tuple) or (isinstance(one, np.ndarray) and one.dtype == object):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_same(a, b)
    else:
        assert np.asarray(one).dtype == np.asarray(other).dtype
        np.testing.assert_array_equal(one, other)


def count_finals(told):
    return sum(int(step[-1]["_final_obs"].sum()) for step in told if "_final_obs" in step[-1])


# Single and vector form


@pytest.mark.parametrize(("name", "env_id"), CASES)
def test_a_wrapped_vector_is_a_vector_of_wrapped_ones(name, env_id):
    wrapper, vector_wrapper = WRAPPERS[name]
    wanted, given = copies(3, env_id, wrapper), vector_wrapper(copies(3, env_id))
    assert given.single_observation_space == wanted.single_observation_space
    assert given.observation_space == wanted.observation_space
    one, other = follow(given, 450), follow(wanted, 450)
    assert_same(one, other)
    for step in one:
        assert step[0] in given.observation_space
    assert count_finals(one) >= (1 if env_id == MINIGRID[0] else 3)


@pytest.mark.parametrize("name", ["hide", "flicker", "delay", "noise", "previous", "time"])
@pytest.mark.parametrize("env_id", [TMAZE, PENDULUM, "memrl/NoisyPositionOnlyCartPole-v0"])
def test_a_wrapped_array_program_is_a_vector_of_wrapped_ones(name, env_id):
    wrapper, vector_wrapper = WRAPPERS[name]
    one, other = follow(vector_wrapper(vector(env_id, 4)), 450), follow(copies(4, env_id, wrapper), 450)
    for given, wanted in zip(one, other, strict=True):  # infos differ where no episode has ended
        assert_same(given[:-1], wanted[:-1])
        if "final_obs" in wanted[-1]:
            assert_same(given[-1]["final_obs"], wanted[-1]["final_obs"])
            assert_same(given[-1]["_final_obs"], wanted[-1]["_final_obs"])
    assert count_finals(one) == count_finals(other) >= 4


def test_stacks_of_wrappers_are_the_same_too():
    names = ["flicker", "noise", "delay", "previous", "time", "hide key"]
    singles, vectors = zip(*(WRAPPERS[name] for name in names[:-1]), strict=True)
    singles += (partial(HideObservation, hidden=["previous_reward", "episode_time"]),)
    vectors += (partial(VectorHideObservation, hidden=["previous_reward", "episode_time"]),)
    envs = copies(3, TMAZE)
    for wrapper in vectors:
        envs = wrapper(envs)
    assert_same(follow(envs, 100), follow(copies(3, TMAZE, *singles), 100))
    assert list(envs.single_observation_space) == ["episode_start", "observation", "previous_action"]


def test_nothing_returned_changes_later():
    for name, env_id in CASES:
        envs = WRAPPERS[name][1](copies(2, env_id))
        kept = [envs.reset(seed=0)]
        kept += [envs.step(envs.action_space.sample()) for _ in range(60)]
        before = copy.deepcopy(kept)
        for _ in range(30):
            envs.step(envs.action_space.sample())
        assert_same(kept, before)


def test_what_a_user_writes_into_an_observation_stays_with_the_user():
    envs, twin = (VectorDelay(copies(2, PENDULUM), steps=2) for _ in range(2))
    obs, again = envs.reset(seed=0)[0], twin.reset(seed=0)[0]
    action, mask = np.zeros((2, 1), np.float32), np.array([True, False])
    for _ in range(5):
        obs[:] = 7
        obs, again = envs.step(action)[0], twin.step(action)[0]
        np.testing.assert_array_equal(obs, again)
    obs[:] = 7
    np.testing.assert_array_equal(
        envs.reset(options={"reset_mask": mask})[0], twin.reset(options={"reset_mask": mask})[0]
    )


@pytest.mark.parametrize(("name", "env_id"), CASES)
def test_deterministic_and_picklable(name, env_id):
    env = WRAPPERS[name][0](make(env_id))

    def play(env, seed, steps=30):
        env.action_space.seed(0)
        seen = [env.reset(seed=seed)]
        for _ in range(steps):
            seen.append(env.step(env.action_space.sample()))
            if seen[-1][2] or seen[-1][3]:
                seen.append(env.reset())
        return seen

    first = play(env, 1)
    assert_same(play(env, 1), first)
    for twin in (pickle.loads(pickle.dumps(env)), copy.deepcopy(env)):
        action = env.action_space.sample()
        assert_same(twin.step(action), copy.deepcopy(env).step(action))
        assert_same(play(twin, 1), first)
    if name in ("flicker", "noise"):
        assert str(play(env, 2)) != str(first)


@pytest.mark.parametrize(("name", "env_id"), CASES)
# Its advice: to check without wrappers, which are what is checked here, and to have bounded rewards and small torques.
@pytest.mark.filterwarnings("ignore:.*(different from the unwrapped|infinity|symmetric and normalized).*:UserWarning")
def test_gymnasiums_checker_is_content(name, env_id):
    check_env(WRAPPERS[name][0](make(env_id)), skip_render_check=True)


@pytest.mark.parametrize(("name", "env_id"), [case for case in CASES if case[1] in (TMAZE, "CartPole-v1", PENDULUM)])
def test_made_again_from_its_spec(name, env_id):
    env = WRAPPERS[name][0](gym.make(env_id))
    twin = gym.make(gym.envs.registration.EnvSpec.from_json(env.spec.to_json()))
    assert type(twin) is type(env)
    assert twin.observation_space == env.observation_space
    assert_same(twin.reset(seed=4), env.reset(seed=4))
    for _ in range(5):
        action = env.action_space.sample()
        assert_same(twin.step(action), env.step(action))


# What they do, by hand


class Script(gym.Env):
    """Shows what it is told to; an episode has as many steps as there are observations after the first."""

    def __init__(self, space, shown, actions=None, truncates=False):
        self.observation_space, self.shown, self.truncates = space, shown, truncates
        self.action_space = spaces.Discrete(3) if actions is None else actions
        self.time = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return copy.copy(self.shown[0]), {}

    def step(self, action):
        self.time += 1
        over = self.time == len(self.shown) - 1
        done = (False, over) if self.truncates else (over, False)
        return copy.copy(self.shown[self.time]), 10.0 * self.time, *done, {}


def scripted(space, shown, **keywords):
    return SyncVectorEnv([lambda: Script(space, shown, **keywords)] * 2, autoreset_mode=AutoresetMode.SAME_STEP)


def numbers(*values):
    return [np.array(value, np.float32).reshape(-1) for value in values]


BOX = spaces.Box(-10, 10, (1,), np.float32)


@pytest.mark.parametrize("truncates", [False, True])
def test_delay_by_hand(truncates):
    envs = VectorDelay(scripted(BOX, numbers(1, 2, 3, 4, 5), truncates=truncates), steps=2)
    actions = np.zeros(2, np.int64)
    shown, finals = [envs.reset(seed=0)[0][1, 0]], []
    for _ in range(9):
        obs, _, terminated, truncated, infos = envs.step(actions)
        shown.append(obs[1, 0])
        if (terminated | truncated).any():
            finals.append(infos["final_obs"][1].item())
    # Of each episode 1 to 5: two zeros, 1, 2, and 3 as the last one; then the next begins with nothing again.
    assert shown == [0, 0, 1, 2, 0, 0, 1, 2, 0, 0]
    assert finals == [3, 3]


def test_delay_longer_than_the_episode_shows_nothing():
    env = Delay(Script(BOX, numbers(1, 2, 3)), steps=10)
    for _ in range(3):
        assert env.reset()[0] == 0
        assert [env.step(0)[0].item() for _ in range(2)] == [0, 0]


def test_delay_of_everything_in_a_dict():
    space = spaces.Dict(a=spaces.Discrete(5), b=spaces.MultiDiscrete([4, 4]), c=spaces.MultiBinary(2))
    shown = [{"a": k, "b": np.array([k, 3 - k]), "c": np.array([k % 2, 1], np.int8)} for k in (1, 2, 3)]
    env = Delay(Script(space, shown), steps=1)
    assert_same(env.reset()[0], {"a": np.int64(0), "b": np.zeros(2, np.int64), "c": np.zeros(2, np.int8)})
    assert_same(env.step(0)[0], {"a": np.int64(1), "b": np.array([1, 2]), "c": np.array([1, 1], np.int8)})


def test_hide_by_hand():
    pairs = spaces.Box(np.array([-1, -2, -3], np.float32), np.array([1, 2, 3], np.float32))
    env = HideObservation(Script(pairs, numbers([1, 2, 3], [0, 1, 2])), hidden=(1,))
    assert env.observation_space == spaces.Box(np.array([-1, -3], np.float32), np.array([1, 3], np.float32))
    assert env.reset()[0].tolist() == [1, 3]
    assert env.step(0)[0].tolist() == [0, 2]
    counted = spaces.MultiDiscrete([2, 3, 4], start=[0, 1, 2])
    env = HideObservation(Script(counted, [np.array([1, 3, 5])] * 2), hidden=[0, 2])
    assert env.observation_space == spaces.MultiDiscrete([3], start=[1])
    assert env.reset()[0].tolist() == [3]
    env = HideObservation(Script(spaces.MultiBinary(3), [np.array([1, 0, 1], np.int8)] * 2), hidden=1)
    assert env.observation_space == spaces.MultiBinary(2)
    keyed = spaces.Dict(a=BOX, b=spaces.Discrete(3))
    env = HideObservation(Script(keyed, [{"a": numbers(1)[0], "b": 2}] * 2), hidden="a")
    assert env.observation_space == spaces.Dict(b=spaces.Discrete(3))
    assert_same(env.reset()[0], {"b": np.int64(2)})


def test_hiding_velocities_makes_the_position_only_cartpole():
    env = HideObservation(gym.make("CartPole-v1"), hidden=[1, 3])
    assert env.observation_space == memrl.envs.PositionOnlyCartPole(1).single_observation_space


ACTIONS = {  # space, three actions, and how they look
    "discrete": (spaces.Discrete(3), [2, 0, 1], [[0, 0, 1], [1, 0, 0], [0, 1, 0]]),
    "started": (spaces.Discrete(3, start=-1), [1, -1, 0], [[0, 0, 1], [1, 0, 0], [0, 1, 0]]),
    "parts": (
        spaces.MultiDiscrete([2, 3]),
        [[1, 0], [0, 2], [1, 1]],
        [[0, 1, 1, 0, 0], [1, 0, 0, 0, 1], [0, 1, 0, 1, 0]],
    ),
    "table": (
        spaces.MultiDiscrete([[2], [2]]),
        [[[1], [0]], [[0], [1]], [[1], [1]]],
        [[0, 1, 1, 0], [1, 0, 0, 1], [0, 1, 0, 1]],
    ),
    "binary": (spaces.MultiBinary(2), [[1, 0], [0, 1], [1, 1]], [[1, 0], [0, 1], [1, 1]]),
    "box": (
        spaces.Box(-1, 1, (1, 2), np.float32),
        [[[0.5, -1]], [[1, 0]], [[0, 0.25]]],
        [[0.5, -1], [1, 0], [0, 0.25]],
    ),
}


@pytest.mark.parametrize("truncates", [False, True])
@pytest.mark.parametrize("kind", ACTIONS)
def test_previous_inputs_by_hand(kind, truncates):
    space, actions, codes = ACTIONS[kind]
    nothing = {"previous_action": [0] * len(codes[0]), "previous_reward": [0]}

    def plain(obs):
        return {key: part.tolist() for key, part in obs.items()}

    def code(step):
        return {"observation": [step + 2], "previous_action": codes[step], "previous_reward": [10 * (step + 1)]}

    shown = numbers(1, 2, 3, 4)
    env = PreviousInputs(Script(BOX, shown, actions=space, truncates=truncates))
    for _ in range(2):
        assert plain(env.reset(seed=0)[0]) == {"observation": [1]} | nothing
        for step in range(3):
            obs = env.step(np.array(actions[step]) if kind != "discrete" else actions[step])[0]
            assert obs in env.observation_space
            assert plain(obs) == code(step)
    envs = VectorPreviousInputs(scripted(BOX, shown, actions=space, truncates=truncates))
    envs.reset(seed=0)
    for step in range(3):
        obs, *_, infos = envs.step(np.array([actions[step]] * 2))
        last = infos["final_obs"][1] if step == 2 else {key: part[1] for key, part in obs.items()}
        assert plain(last) == code(step)
    assert plain({key: part[0] for key, part in obs.items()}) == {"observation": [1]} | nothing


@pytest.mark.parametrize("env_id", [TMAZE, PENDULUM, "popgym-BattleshipEasy-v0", MINIGRID[0]])
@pytest.mark.parametrize("wanted", [{}, {"action": False}, {"reward": False}])
def test_previous_inputs_are_those_of_the_agents(env_id, wanted):
    """`VecPreviousInputs`, which the agents use, around bare environments; ours in the place of what it wraps."""
    theirs = VecPreviousInputs(DummyVecEnv([lambda: make(env_id)] * 3), **wanted)
    ours = DummyVecEnv([lambda: PreviousInputs(make(env_id), **wanted)] * 3)
    assert ours.observation_space == theirs.observation_space
    for envs in (ours, theirs):
        envs.seed(0)
    assert_same(dict(ours.reset()), theirs.reset())
    random, ends = np.random.default_rng(0), 0
    ours.action_space.seed(0)
    for _ in range(450):
        actions = np.array([ours.action_space.sample() for _ in range(3)])
        if env_id == TMAZE:
            actions = random.integers(4, size=3)
        (obs, rewards, dones, infos), (seen, also, over, told) = ours.step(actions), theirs.step(actions)
        assert_same([dict(obs), rewards, dones], [dict(seen), also, over])
        for i in np.flatnonzero(dones):
            assert_same(infos[i]["terminal_observation"], told[i]["terminal_observation"])
            ends += 1
    assert ends >= 3


def test_time_by_hand():
    env = EpisodeTime(Script(BOX, numbers(1, 2, 3, 4)), time=True, horizon=2)
    for _ in range(2):
        seen = [env.reset()[0]] + [env.step(0)[0] for _ in range(3)]
        assert [obs["episode_start"].item() for obs in seen] == [1, 0, 0, 0]
        assert [obs["episode_time"].item() for obs in seen] == [0, 0.5, 1, 1]
        assert [obs["observation"].item() for obs in seen] == [1, 2, 3, 4]
    envs = VectorEpisodeTime(scripted(BOX, numbers(1, 2, 3)), time=True, horizon=4)
    envs.reset()
    envs.step(np.zeros(2, int))
    obs, *_, infos = envs.step(np.zeros(2, int))
    assert obs["episode_start"].tolist() == [[1], [1]]
    assert infos["final_obs"][0]["episode_time"] == 0.5
    assert infos["final_obs"][0]["episode_start"] == 0


def test_the_horizon_is_the_environments():
    assert list(EpisodeTime(make(CARDS)).observation_space) == ["episode_start", "observation"]
    for env in (gym.make("CartPole-v1", max_episode_steps=4), memrl.envs.TMaze(length=3)):
        timed = EpisodeTime(env, start=False, time=True)
        timed.reset(seed=0)
        assert timed.step(1)[0].keys() == {"observation", "episode_time"}
        assert timed.step(1)[0]["episode_time"] == 0.5
    envs = VectorEpisodeTime(vector(TMAZE, 2, length=3), time=True)
    envs.reset(seed=0)
    assert envs.step(np.zeros(2, int))[0]["episode_time"].tolist() == [[0.25], [0.25]]


# Chance


def test_flicker_blanks_whole_observations_independently():
    envs = VectorFlicker(vector(PENDULUM, 2000), probability=0.3)
    obs, _ = envs.reset(seed=0)
    off = [(obs == 0).all(axis=1)]
    assert ((obs == 0).any(axis=1) == off[0]).all()  # never a part only
    for _ in range(3):
        obs, *_ = envs.step(np.zeros((2000, 1), np.float32))
        off.append((obs == 0).all(axis=1))
        np.testing.assert_allclose((obs[~off[-1]] ** 2).sum(axis=1), 1, rtol=1e-5)
    off = np.array(off)
    assert (abs(off.mean(axis=1) - 0.3) < 4 * (0.21 / 2000) ** 0.5).all()
    assert (abs(np.corrcoef(off) - np.eye(4)) < 4 / 2000**0.5).all()  # from step to step
    assert abs(np.corrcoef(off[0, 1:], off[0, :-1])[0, 1]) < 4 / 2000**0.5  # from copy to copy


@pytest.mark.parametrize(("probability", "share"), [(0, 0), (1, 1)])
def test_flicker_never_and_always(probability, share):
    envs = VectorFlicker(vector(PENDULUM, 50), probability=probability)
    assert (envs.reset(seed=0)[0] == 0).mean() == share


def test_noise_has_its_deviation_and_keeps_the_bounds():
    space = spaces.Box(np.array([-10, -1], np.float32), np.array([10, 1], np.float32))
    shown = [np.array([2, 0.9], np.float32)] * 2001
    env = ObservationNoise(Script(space, shown), deviation=[2.0, 0.2])
    seen = [env.reset(seed=0)[0]] + [env.step(0)[0] for _ in range(2000)]
    assert all(obs in space for obs in seen)
    seen = np.array(seen)
    assert seen.dtype == np.float32
    assert abs(seen[:, 0].mean() - 2) < 4 * 2 / 2001**0.5
    assert seen[:, 0].std() == pytest.approx(2, rel=0.08)
    assert (seen[:, 1] == 1).mean() == pytest.approx(0.309, abs=0.045)  # 1 - Φ(0.1 / 0.2)
    noise = seen[:, 0] - 2
    assert abs(np.corrcoef(noise[1:], noise[:-1])[0, 1]) < 4 / 2001**0.5
    assert abs(np.corrcoef(seen.T)[0, 1]) < 4 / 2001**0.5


def test_noise_in_a_dict_is_for_the_keys_given():
    space = spaces.Dict(a=BOX, b=BOX, n=spaces.Discrete(3))
    shown = [{"a": numbers(1)[0], "b": numbers(2)[0], "n": 1}] * 3
    env = ObservationNoise(Script(space, shown), deviation={"b": 1.0})
    obs, _ = env.reset(seed=0)
    assert (obs["a"], obs["n"]) == (1, 1)
    assert obs["b"] != 2
    obs, _ = ObservationNoise(Script(space, shown), deviation=0.5).reset(seed=0)
    assert obs["a"] - 1 != obs["b"] - 2 != 0
    assert obs["a"] != 1


def test_wrappers_and_environment_draw_different_numbers():
    """All are seeded with the same number; noise on top of noise must not be twice the same."""
    noisy = vector("memrl/NoisyPositionOnlyPendulum-v0", 1000)
    once = VectorObservationNoise(noisy, deviation=0.1)
    twice = VectorObservationNoise(once, deviation=0.1)
    seen, _ = twice.reset(seed=0)
    bare = vector("memrl/NoisyPositionOnlyPendulum-v0", 1000)
    first, _ = bare.reset(seed=0)
    middle, _ = VectorObservationNoise(vector("memrl/NoisyPositionOnlyPendulum-v0", 1000), 0.1).reset(seed=0)
    state = bare.unwrapped.state[0]
    inside = abs(np.cos(state)) < 0.5
    noises = np.array([first[:, 0] - np.cos(state), middle[:, 0] - first[:, 0], seen[:, 0] - middle[:, 0]])[:, inside]
    np.testing.assert_allclose(noises.std(axis=1), 0.1, rtol=0.15)
    assert (abs(np.corrcoef(noises) - np.eye(3)) < 4 / inside.sum() ** 0.5).all()


def test_where_zero_is_out_of_bounds_the_space_grows():
    high = spaces.Box(2, 5, (1,), np.float32)
    for wrapper in (partial(Delay, steps=1), partial(Flicker, probability=1.0)):
        env = wrapper(Script(high, numbers(3, 4)))
        assert env.observation_space == spaces.Box(0, 5, (1,), np.float32)
        assert env.reset(seed=0)[0] in env.observation_space


# With Stable-Baselines3


def test_agents_learn_on_wrapped_array_programs():
    envs = VectorPreviousInputs(VectorEpisodeTime(VectorFlicker(vector(TMAZE, 8), probability=0.2), time=True))
    model = PPO("MultiInputPolicy", GymVecEnv(envs), n_steps=16, batch_size=64, n_epochs=1, seed=0)
    model.learn(256)
    assert model.num_timesteps == 256


# Refusals


@pytest.mark.parametrize(
    ("wrapper", "env_id", "message"),
    [
        (partial(HideObservation, hidden=[2]), TMAZE, "hidden: 2 given, 0 to 1 known"),
        (partial(HideObservation, hidden=[-1]), TMAZE, "hidden: -1 given"),
        (partial(HideObservation, hidden=[True]), TMAZE, "hidden: True given"),
        (partial(HideObservation, hidden=["a"]), TMAZE, "hidden: 'a' given"),
        (partial(HideObservation, hidden=[0, 1]), TMAZE, "but not all"),
        (partial(HideObservation, hidden=[1, 1]), TMAZE, "each once"),
        (partial(HideObservation, hidden=[]), TMAZE, "at least one part"),
        (partial(HideObservation, hidden=None), TMAZE, "hidden: None given"),
        (partial(HideObservation, hidden=[0]), CARDS, "observation space: Discrete"),
        (partial(HideObservation, hidden=["x"]), MINIGRID[0], "'direction', 'image', 'mission' known"),
        (partial(Flicker, probability=1.5), TMAZE, "probability: 1.5 given"),
        (partial(Flicker, probability=-0.1), TMAZE, "probability: -0.1 given"),
        (partial(Flicker, probability=float("nan")), TMAZE, "probability: nan given"),
        (partial(Flicker, probability="often"), TMAZE, "probability: 'often' given"),
        (partial(Flicker, probability=True), TMAZE, "probability: True given"),
        (partial(Delay, steps=0), TMAZE, "steps: 0 given"),
        (partial(Delay, steps=10**9), TMAZE, "steps: 1000000000 given, at most 10000"),
        (partial(Delay, steps=1.0), TMAZE, "steps: 1.0 given"),
        (partial(ObservationNoise, deviation=-1), TMAZE, "deviation: -1 given"),
        (partial(ObservationNoise, deviation=[1, 2, 3]), TMAZE, "deviation: "),
        (partial(ObservationNoise, deviation="much"), TMAZE, "deviation: 'much' given"),
        (partial(ObservationNoise, deviation=float("inf")), TMAZE, "deviation: inf given"),
        (partial(ObservationNoise, deviation={"observation": 1}), TMAZE, "deviation: key 'observation' given"),
        (partial(ObservationNoise, deviation=1.0), CARDS, "noise needs a Box of float numbers"),
        (partial(ObservationNoise, deviation=1.0), MINIGRID[0], "noise needs a Box of float numbers"),
        (partial(PreviousInputs, action=False, reward=False), TMAZE, "nothing to add"),
        (partial(PreviousInputs, action=1), TMAZE, "action: 1 given"),
        (lambda env: PreviousInputs(PreviousInputs(env)), TMAZE, "it has 'previous_action' already"),
        (partial(EpisodeTime, start=False), TMAZE, "nothing to add"),
        (partial(EpisodeTime, time=True), CARDS, "horizon: the environment does not tell"),
        (partial(EpisodeTime, time=True, horizon=0), TMAZE, "horizon: 0 given"),
    ],
)
def test_wrong_use_is_refused(wrapper, env_id, message):
    with pytest.raises(ValueError, match=message):
        wrapper(make(env_id))


def test_spaces_that_cannot_be_changed_are_named():
    pair = spaces.Tuple([spaces.Discrete(2), BOX])
    with pytest.raises(ValueError, match=r"observation space: Tuple.*make_env converts"):
        Delay(Script(pair, [(0, 0)]), steps=1)
    for wrapper in (partial(Delay, steps=1), partial(Flicker, probability=0.5)):
        for space in (spaces.Discrete(3, start=1), spaces.MultiDiscrete([2, 2], start=[0, 1])):
            with pytest.raises(ValueError, match="has no zero to show"):
                wrapper(Script(space, [1]))
    with pytest.raises(ValueError, match="action space: Text"):
        PreviousInputs(Script(BOX, numbers(1), actions=spaces.Text(3)))


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.DISABLED])
@pytest.mark.parametrize("name", ["hide", "flicker", "delay", "noise", "previous", "time"])
def test_other_ways_to_reset_are_refused(name, mode):
    envs = SyncVectorEnv([partial(make, TMAZE)] * 2, autoreset_mode=mode)
    with pytest.raises(ValueError, match=f"autoreset mode {mode.name} given, SAME_STEP needed"):
        WRAPPERS[name][1](envs)


def test_single_and_vector_are_not_mixed_up():
    with pytest.raises(TypeError, match="VectorDelay takes vector ones"):
        Delay(copies(2, TMAZE), steps=1)
    with pytest.raises(TypeError, match="; Delay takes single ones"):
        VectorDelay(make(TMAZE), steps=1)


def test_time_is_known_of_single_and_vector_environments_of_memrl():
    single = EpisodeTime(make_env("memrl/GraphRoute-v0"), time=True)
    assert single.reset(seed=0)[0]["episode_time"] == 0
    assert single.step(np.zeros(9, np.int64))[0]["episode_time"] == pytest.approx(1 / 29)


def test_keys_of_a_dict_can_be_hidden_as_they_come():
    env = HideObservation(make_env("MiniGrid-MemoryS7-v0"), {"mission": 1}.keys())
    assert env.spec is not None
    assert set(env.observation_space.spaces) == {"image", "direction"}
