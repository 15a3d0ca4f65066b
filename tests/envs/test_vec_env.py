"""`make_vec_env`: the twin tells Stable-Baselines3 exactly what copies of the single environment would."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorWrapper
from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor

from memrl.envs import GymVecEnv, list_envs, make_env, make_vec_env
from memrl.envs.single import SingleEnv
from memrl.envs.vec_env import find_twin
from memrl.envs.vector import ArrayEnv, Outcome

CARDS = list_envs()
EVERY_ID = pytest.mark.parametrize("card", CARDS, ids=lambda card: card.id)
TWINS = [(card, env_id) for card in CARDS for env_id in card.twin_of]


class Cut(ArrayEnv):
    """Counts steps up to a limit drawn for each episode; action 1 ends it, and from step 4 on a limit cuts it off."""

    def __init__(self, num_envs: int, render_mode: str | None = None) -> None:
        counts = spaces.Dict({"steps": spaces.Discrete(9), "share": spaces.Box(0.0, 1.0, (1,), np.float32)})
        super().__init__(num_envs, counts, spaces.Discrete(2), 8, render_mode)
        self.limits = np.zeros(num_envs, np.int64)

    def _begin(self, rows, chance):
        self.limits[rows] = 4 + chance.integers(4)

    def _step(self, actions):
        ended, cut = actions == 1, self.steps == self.limits
        return Outcome(self.steps / 7, ended, ended & (self.steps > 2), cut)

    def _observe(self):
        return {"steps": self.steps.copy(), "share": (self.steps / 8).astype(np.float32)[:, None]}

    def report(self):
        return {"limit": self.limits, "near": self.steps + 1 == self.limits}

    def oracle(self):
        return np.zeros(self.num_envs, np.int64)

    def text(self, copy=0):
        return f"{self.steps[copy]}\n"


class SingleCut(SingleEnv):
    program = Cut


class Picky(Cut):
    """Takes one number as a seed, as `VectorEnv.reset` says, and no list."""

    def reset(self, *, seed=None, options=None):
        assert isinstance(seed, int)
        return super().reset(seed=seed, options=options)


class Late(gym.Env):
    """Episodes of different lengths, with an info in some of their steps only."""

    observation_space, action_space = spaces.Discrete(12), spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps, self.length = 0, int(self.np_random.integers(3, 10))
        return 0, {"length": self.length} if self.length % 2 else {}

    def step(self, action):
        self.steps += 1
        info = {"late": self.steps, "more": {"twice": 2 * self.steps}} if self.steps > self.length // 2 else {}
        return self.steps, 1.0, self.steps == self.length, False, info


class TwoCounts(gym.vector.VectorEnv):
    """Has observations that Stable-Baselines3 does not take."""

    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012  # as in Gymnasium
    num_envs, single_action_space = 2, spaces.Discrete(2)
    single_observation_space = spaces.Tuple([spaces.Discrete(2), spaces.Discrete(2)])


@pytest.fixture(autouse=True, scope="module")
def environments() -> Iterator[None]:
    gym.register("Cut-v0", entry_point=SingleCut, vector_entry_point=Cut, disable_env_checker=True)
    yield
    del gym.registry["Cut-v0"]


def assert_same(one, other):
    """Equal, of the same types, all the way down."""
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, list):
        assert len(one) == len(other)
        for mine, theirs in zip(one, other, strict=True):
            assert_same(mine, theirs)
    else:
        assert getattr(one, "dtype", None) == getattr(other, "dtype", None)
        np.testing.assert_array_equal(one, other)


def timeless(infos):
    """Infos without the wall-clock time of an episode."""
    for info in infos:
        if "episode" in info:
            del info["episode"]["t"]
    return infos


def follow(envs, actions, seed):
    """Everything the VecEnv tells on the way: first observations, then steps, with the infos of resets."""
    envs.seed(seed)
    told = [(envs.reset(), list(envs.unwrapped.reset_infos))]
    for action in actions:
        obs, rewards, dones, infos = envs.step(action)
        resets = [info for info, done in zip(envs.unwrapped.reset_infos, dones, strict=True) if done]
        told.append((obs, rewards, dones, timeless(list(infos)), resets))
    return told


def random_actions(space, copies, steps):
    space.seed(1)
    return [np.stack([space.sample() for _ in range(copies)]) for _ in range(steps)]


def compare(twin, copies, steps):
    """Both tell the same. Returns how many episodes ended, and how many of them were cut off."""
    assert type(twin.unwrapped) is not type(copies.unwrapped)
    assert twin.observation_space == copies.observation_space
    assert twin.action_space == copies.action_space
    actions = random_actions(twin.action_space, twin.num_envs, steps)
    one, other = follow(twin, actions, seed=5), follow(copies, actions, seed=5)
    for mine, theirs in zip(one, other, strict=True):
        for part, same in zip(mine, theirs, strict=True):
            if isinstance(part, dict):  # of observations; which subclass of dict is not promised
                part, same = dict(part), dict(same)
            assert_same(part, same)
    infos = [info for step in one[1:] for info in step[3]]
    return sum("episode" in info for info in infos), sum(info["TimeLimit.truncated"] for info in infos)


@EVERY_ID
def test_the_twin_tells_what_single_environments_tell(card):
    twin, copies = (make_vec_env(card.id, 3, vec=vec) for vec in ("auto", "dummy"))
    assert isinstance(twin.unwrapped, GymVecEnv)
    ended, _ = compare(twin, copies, min(2 * card.horizon + 5, 700))
    assert ended >= 3


@EVERY_ID
def test_the_single_environment_has_the_same_oracle(card):
    env, envs = make_env(card.id).unwrapped, make_vec_env(card.id, 1, seed=2)
    env.reset(seed=2)
    envs.reset()
    rng = np.random.default_rng(0)
    env.action_space.seed(0)
    for _ in range(100):
        best = env.oracle()
        np.testing.assert_array_equal(best, envs.env_method("oracle")[0])
        action = best if rng.random() < 0.8 else env.action_space.sample()  # it finds its way back, too
        _, _, terminated, truncated, _ = env.step(action)
        envs.step(np.asarray(action)[None])
        if terminated or truncated:
            env.reset()


def test_an_episode_that_is_cut_off_says_so():
    twin, copies = make_vec_env("Cut-v0", 5, vec="twin"), make_vec_env("Cut-v0", 5)
    ended, cut = compare(twin, copies, 300)
    assert 0 < cut < ended


def test_cut_off_and_ended_at_once_is_ended():
    envs = make_vec_env("Cut-v0", 2, seed=0, vec="twin")
    envs.reset()
    limits = envs.get_attr("limits")
    for step in range(1, 9):
        _, _, dones, infos = envs.step(np.array([0, int(step == limits[1])]))
        if dones[0]:
            assert infos[0]["TimeLimit.truncated"] is True
            assert infos[0]["terminal_observation"]["steps"] == limits[0] == step
        if dones[1]:
            assert infos[1]["TimeLimit.truncated"] is False
            assert infos[1]["is_success"] is True
            break


@pytest.mark.parametrize("env_id", ["CartPole-v1", "Pendulum-v1"])
def test_any_vector_environment_with_same_step_resets_fits(env_id):
    vector = gym.make_vec(
        env_id,
        num_envs=3,
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP},
        max_episode_steps=12,
    )
    ended, cut = compare(VecMonitor(GymVecEnv(vector)), make_vec_env(env_id, 3, max_episode_steps=12), 100)
    assert 0 < cut <= ended


def test_infos_that_only_some_copies_have():
    sync = gym.vector.SyncVectorEnv([Late] * 3, autoreset_mode=AutoresetMode.SAME_STEP)
    ended, _ = compare(VecMonitor(GymVecEnv(sync)), VecMonitor(DummyVecEnv([Late] * 3)), 100)
    assert ended > 20


def test_a_vector_environment_gets_its_seed_as_one_number():
    envs = GymVecEnv(Picky(3))  # which refuses anything but one number
    envs.seed(5)
    assert len(envs.reset()["steps"]) == 3


def test_seeds_count_up_from_the_first_and_count_once():
    envs = make_vec_env("memrl/RepeatPrevious-v0", 4, seed=7)
    first = envs.reset()
    single = [make_env("memrl/RepeatPrevious-v0").reset(seed=7 + copy)[0] for copy in range(4)]
    np.testing.assert_array_equal(first, single)
    decks = np.stack(envs.get_attr("suits"))
    envs.reset()
    assert (np.stack(envs.get_attr("suits")) != decks).any(axis=1).all()  # another episode, not the first again
    envs.seed(7)
    np.testing.assert_array_equal(envs.reset(), first)
    envs.venv._seeds = [9, None, 7, None]  # as few users do: not counted up
    envs.reset()
    np.testing.assert_array_equal(envs.get_attr("suits", 2)[0], decks[0])


def test_without_a_seed_every_making_is_different():
    suits = [np.stack(make.get_attr("suits")) for make in made_and_reset(2)]
    assert (suits[0] != suits[1]).any()


def made_and_reset(count):
    for _ in range(count):
        envs = make_vec_env("memrl/RepeatPrevious-v0", 2)
        envs.reset()
        yield envs


def test_what_is_chosen_by_itself():
    assert isinstance(make_vec_env("memrl.envs:memrl/TMaze-v0", 2, length=3).unwrapped, GymVecEnv)
    assert isinstance(make_vec_env("memrl/TMaze-v0", 2, vec="dummy").unwrapped, DummyVecEnv)
    assert isinstance(make_vec_env("CartPole-v1", 2).unwrapped, DummyVecEnv)
    assert isinstance(make_vec_env("MiniGrid-MemoryS7-v0", 2, view_size=3).unwrapped, DummyVecEnv)
    assert make_vec_env("memrl/TMaze-v0", 2, length=3).get_attr("length") == [3, 3]


@pytest.mark.parametrize(("card", "env_id"), TWINS, ids=[env_id for _, env_id in TWINS])
def test_a_twin_stands_in_for_another_packages_id(card, env_id):
    pytest.importorskip("popgym")
    envs = make_vec_env(env_id, 2)
    assert isinstance(envs.unwrapped, GymVecEnv)
    assert envs.get_attr("spec")[0].id == card.id
    original = make_env(env_id)
    assert (envs.observation_space, envs.action_space) == (original.observation_space, original.action_space)


def test_keywords_of_the_other_package_have_no_twin():
    pytest.importorskip("popgym")
    assert isinstance(make_vec_env("popgym-RepeatPreviousEasy-v0", 2, num_decks=2).unwrapped, DummyVecEnv)
    with pytest.raises(ValueError, match="popgym-RepeatPreviousEasy-v0 with keywords has no vectorised twin"):
        make_vec_env("popgym-RepeatPreviousEasy-v0", 2, vec="twin", num_decks=2)


@pytest.mark.parametrize(
    ("env_id", "keywords", "message"),
    [
        ("memrl/TMase-v0", {}, "did you mean 'memrl/TMaze-v0'"),
        ("memrl/TMase-v0", {"vec": "twin"}, "did you mean 'memrl/TMaze-v0'"),
        ("memrl/TMaze-v0", {"lenght": 3}, "no keyword 'lenght'; did you mean 'length'"),
        ("memrl/RepeatPrevious-v0", {"difficult": "easy"}, "no keyword 'difficult'; did you mean 'difficulty'"),
        ("memrl/TMaze-v0", {"length": 0}, "length: 0 given"),
        ("memrl/TMaze-v0", {"n_envs": 0}, "n_envs: 0 given"),
        ("memrl/TMaze-v0", {"vec": "fast"}, "vec: 'fast' given"),
        ("memrl/TMaze-v0", {"render_mode": "human"}, "render_mode: 'human' given"),
        (3, {}, "env_id: 3 given"),
        ("MiniGrid-MemoryS7-v0", {"vec": "twin"}, "MiniGrid-MemoryS7-v0 has no vectorised twin"),
        ("CartPole-v1", {"vec": "twin"}, "CartPoleVectorEnv: autoreset mode NEXT_STEP given, SAME_STEP needed"),
    ],
)
def test_what_cannot_be_made_is_said(env_id, keywords, message):
    with pytest.raises(ValueError, match=message) as error:
        make_vec_env(env_id, **keywords)
    assert "\n" not in str(error.value)


def test_spaces_that_sb3_does_not_take_are_refused():
    with pytest.raises(ValueError, match="does not take the observations Tuple"):
        GymVecEnv(TwoCounts())


def test_infos_are_everybodys_own():
    envs = make_vec_env("memrl/TMaze-v0", 3, seed=0)
    envs.reset()
    infos = envs.step(np.zeros(3, int))[3]
    infos[0]["mine"] = 1
    assert infos[1] == infos[2] == {"TimeLimit.truncated": False}
    assert envs.step(np.zeros(3, int))[3][0] == {"TimeLimit.truncated": False}


def test_attributes_and_methods_of_the_copies():
    envs = make_vec_env("Cut-v0", 3, seed=0, vec="twin")
    envs.reset()
    program = envs.unwrapped.envs
    assert envs.get_attr("horizon") == [8, 8, 8]
    assert envs.get_attr("limits", [2, 0]) == [program.limits[2], program.limits[0]]
    assert envs.get_attr("action_space", 1) == [spaces.Discrete(2)]
    assert envs.env_method("oracle", indices=1) == [0]
    assert envs.env_method("text", copy=2) == ["0\n"] * 3
    assert envs.has_attr("limits")
    assert not envs.has_attr("nothing")
    with pytest.raises(AttributeError, match="Cut has no attribute 'nothing'"):
        envs.get_attr("nothing")
    envs.set_attr("limits", 6, indices=[1])
    assert program.limits[1] == 6
    assert {program.limits[0], program.limits[2]} != {6}
    envs.set_attr("limits", 5)
    assert program.limits.tolist() == [5, 5, 5]
    envs.set_attr("note", "hello")
    assert envs.get_attr("note") == ["hello"] * 3
    with pytest.raises(ValueError, match="note: the copies share it"):
        envs.set_attr("note", "other", indices=[0])


class Wrapped(VectorWrapper):
    extra = "outer"


def test_wrappers_of_the_vector_environment_are_found():
    envs = GymVecEnv(Wrapped(Cut(2)))
    assert envs.env_is_wrapped(Wrapped) == [True, True]
    assert envs.env_is_wrapped(gym.Wrapper, indices=0) == [False]
    assert envs.get_attr("extra") == ["outer", "outer"]
    assert envs.get_attr("horizon") == [8, 8]
    assert envs.get_attr("render_mode") == [None, None]


def test_options_are_one_for_all():
    envs = make_vec_env("memrl/TMaze-v0", 2, seed=0)
    envs.set_options({"colour": "red"})
    envs.reset()
    envs.set_options([{"colour": "red"}, {}])
    with pytest.raises(ValueError, match="options: different ones"):
        envs.reset()


def test_pictures():
    envs = make_vec_env("memrl/TMaze-v0", 4, seed=0, render_mode="rgb_array")
    envs.reset()
    images = envs.get_images()
    assert len(images) == 4
    height, width, _ = images[0].shape
    assert envs.render().shape == (2 * height, 2 * width, 3)  # SB3's mosaic
    assert envs.metadata["render_modes"]
    with pytest.warns(UserWarning, match="render_mode is None"):
        assert make_vec_env("memrl/TMaze-v0", 2).unwrapped.get_images() == [None, None]


def test_an_sb3_agent_learns_and_is_evaluated():
    envs = make_vec_env("memrl/TMaze-v0", 4, seed=0, length=3)
    model = PPO("MlpPolicy", envs, n_steps=16, batch_size=16, n_epochs=1, seed=0, device="cpu").learn(128)
    assert len(model.ep_info_buffer) == 4 * (128 // 4 // 4)  # episodes of 4 steps
    returns, lengths = evaluate_policy(model, envs, 8, return_episode_rewards=True)
    assert lengths == [4] * 8
    assert len(returns) == 8


def test_environments_alone_load_no_stable_baselines():
    code = "import sys, memrl.envs; assert 'stable_baselines3' not in sys.modules; memrl.envs.make_vec_env"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120, cwd=Path(__file__).parents[2])
    with pytest.raises(AttributeError, match="no attribute 'make_vec'"):
        sys.modules["memrl.envs"].make_vec  # noqa: B018


def test_texts_are_those_of_each_copy():
    twin, dummy = (make_vec_env("memrl/TMaze-v0", 8, seed=0, vec=vec) for vec in ("twin", "dummy"))
    twin.reset()
    dummy.reset()
    texts = twin.env_method("text")
    assert texts == dummy.env_method("text")
    assert len(set(texts)) == 2
    assert twin.env_method("text", indices=[3]) == [texts[3]]


def test_an_id_without_version_has_its_twin_and_wrappers_of_gymnasium_do_not():
    assert find_twin("memrl/TMaze", {"length": 3}) == ("memrl/TMaze-v0", {"length": 3})
    assert find_twin("memrl/TMaze-v0", {"max_episode_steps": 3}) is None
