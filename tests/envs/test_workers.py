"""Environments in processes: the same episodes as in this process, and a failure that says whose it is and where."""

import gc
import os
import signal
import time
from functools import partial
from multiprocessing import forkserver
from pathlib import Path

import numpy as np
import pytest
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

from memrl.envs import WorkerError, WorkerVecEnv, make_env, make_vec_env, workers

# In a file of its own, since processes import it.
TOYS = '''
import os, signal, sys, time
import gymnasium as gym
import numpy as np
from gymnasium import spaces

class Toy(gym.Env):
    """Three steps an episode. At a chosen moment ("make", "reset", "step", "close") it does something bad."""

    observation_space = spaces.Dict({"count": spaces.Discrete(4), "noise": spaces.Box(0, 1, (2,), np.float32)})
    action_space = spaces.Discrete(2)

    def __init__(self, moment="never", fate="raise"):
        self.moment, self.fate = moment, fate
        self.meet("make")

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.meet("reset")
        self.count = 0
        return self.observe(), {"options": options}

    def step(self, action):
        self.meet("step")
        self.count += 1
        over = self.count == 3
        return self.observe(), self.count / 7, over and action == 1, over and action == 0, {"count": self.count}

    def observe(self):
        return {"count": self.count, "noise": self.np_random.random(2, np.float32)}

    def close(self):
        self.meet("close")

    def meet(self, moment):
        if moment == self.moment:
            getattr(self, self.fate)()

    def fall(self):
        raise ValueError("the roof fell in")

    def die(self):
        os.kill(os.getpid(), signal.SIGKILL)

    def leave(self):
        os._exit(3)

    def dawdle(self):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(1000)

    def secret(self):
        return lambda: None  # which no pickle holds

def unreadable():
    raise ModuleNotFoundError("no such module here")

class Unreadable:
    def __reduce__(self):
        return unreadable, ()
'''


@pytest.fixture(autouse=True)
def toys(tmp_path, monkeypatch):
    (tmp_path / "worker_toys.py").write_text(TOYS, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "worker_toys", raising=False)
    return __import__("worker_toys")


def started_and_not_gone():
    """Children of the process that copies itself, alive or not asked yet how they ended."""
    found = set()
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            _, parent, *_ = status.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(parent) == forkserver._forkserver._forkserver_pid:
            found.add(int(status.parent.name))
    return found


def assert_gone():
    deadline = time.monotonic() + 5
    while started_and_not_gone():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def follow(envs, steps=40):
    rng = np.random.default_rng(0)
    envs.seed(3)
    told = [(envs.reset(), list(envs.reset_infos))]
    for _ in range(steps):
        obs, rewards, dones, infos = envs.step(rng.integers(envs.action_space.n, size=envs.num_envs))
        assert (rewards.dtype, dones.dtype) == (np.float32, np.bool_)
        told.append((obs, rewards, dones, list(infos), list(envs.reset_infos)))
    return told


def test_the_same_is_told_as_by_environments_in_this_process(toys):
    makes = [toys.Toy, lambda: toys.Toy(), partial(toys.Toy, "never")]
    envs = WorkerVecEnv(makes)
    np.testing.assert_equal(follow(envs), follow(DummyVecEnv(makes)))
    # Attributes, methods and wrappers, of all or of some.
    assert envs.get_attr("moment") == ["never"] * 3
    envs.set_attr("moment", "later", indices=[1])
    assert envs.get_attr("moment", [1, 2]) == ["later", "never"]
    assert envs.env_method("meet", "nothing", indices=0) == [None]
    assert envs.env_is_wrapped(Monitor) == [False] * 3
    assert envs.has_attr("moment")
    assert not envs.has_attr("nothing")
    # A question that fails ends nothing.
    with pytest.raises(AttributeError, match="nothing"):
        envs.get_attr("nothing")
    with pytest.raises(WorkerError, match="environment 2: ValueError in env_method: the roof fell in") as error:
        envs.env_method("fall", indices=[2])
    assert "in fall" in error.value.where
    with pytest.raises(WorkerError, match=r"environment 0: TypeError in env_method: cannot be sent: .*lambda"):
        envs.env_method("secret", indices=[0])
    envs.set_options({"colour": "red"})
    envs.reset()
    assert [info["options"] for info in envs.reset_infos] == [{"colour": "red"}] * 3
    assert len(started_and_not_gone()) == 3
    envs.close()
    envs.close()  # once more does no harm
    assert_gone()
    with pytest.raises(WorkerError, match="its process was ended"):
        envs.reset()


def test_through_make_vec_env():
    envs = make_vec_env("memrl/TMaze-v0", 2, seed=3, vec="subproc", render_mode="rgb_array", length=2)
    twin = make_vec_env("memrl/TMaze-v0", 2, seed=3, render_mode="rgb_array", length=2)
    np.testing.assert_equal(envs.reset(), twin.reset())
    np.testing.assert_array_equal(envs.render(), twin.render())
    envs.close()
    with pytest.raises(WorkerError, match=r"environment 0: ValueError in make: .* did you mean 'memrl/TMaze-v0'"):
        make_vec_env("memrl/TMase-v0", 2, vec="subproc")


BAD = [
    ("make", "fall", "environment 1: ValueError in make: the roof fell in"),
    ("make", "die", "environment 1: its process was killed in make, by SIGKILL"),
    ("reset", "fall", "environment 1: ValueError in reset: the roof fell in"),
    ("step", "fall", "environment 1: ValueError in step: the roof fell in"),
    ("step", "die", "environment 1: its process was killed in step, by SIGKILL (out of memory?)"),
    ("step", "leave", "environment 1: its process ended in step, with exit code 3"),
    ("step", "dawdle", "environment 1: no answer to step within 2 s"),
]


@pytest.mark.parametrize(("moment", "fate", "said"), BAD, ids=[f"{moment}-{fate}" for moment, fate, _ in BAD])
def test_a_failure_says_whose_it_is_and_where(toys, moment, fate, said, monkeypatch):
    monkeypatch.setattr(workers, "GRACE", 2.0)
    made = []
    with pytest.raises(WorkerError) as error:
        go_wrong(toys, partial(toys.Toy, moment, fate), made, timeout=2.0 if fate == "dawdle" else None)
    assert error.value.index == 1
    assert str(error.value).startswith(said)
    if fate in ("fall", "dawdle"):  # the place in the environment, not one here
        assert "worker_toys.py" in error.value.where
        assert f"in {fate}" in error.value.where
        assert error.value.where in str(error.value)
    if fate == "fall":
        assert error.value.where.rstrip().endswith("ValueError: the roof fell in")
    assert_gone()
    assert (not made) == (moment == "make")
    for envs in made:
        with pytest.raises(WorkerError, match="its process was ended"):
            envs.step(np.zeros(2, int))
        envs.close()


def go_wrong(toys, bad, made, timeout):
    envs = WorkerVecEnv([toys.Toy, bad], timeout=timeout)
    made.append(envs)
    envs.reset()
    envs.step(np.zeros(2, int))


def test_a_process_that_is_killed_between_two_steps_is_noticed(toys):
    envs = WorkerVecEnv([toys.Toy, toys.Toy])
    envs.reset()
    victim = envs._workers[0].process
    os.kill(victim.pid, signal.SIGTERM)
    victim.join()
    with pytest.raises(WorkerError, match=r"environment 0: its process was killed in step, by SIGTERM$"):
        envs.step(np.zeros(2, int))


def test_what_cannot_be_read_in_the_process_is_told(toys):
    with pytest.raises(WorkerError, match="environment 0: ModuleNotFoundError in make: no such module here"):
        WorkerVecEnv([partial(make_env, toys.Unreadable())])


def test_close_waits_for_nobody_for_long(toys, monkeypatch):
    monkeypatch.setattr(workers, "GRACE", 1.0)
    envs = WorkerVecEnv([toys.Toy, partial(toys.Toy, "step", "dawdle"), partial(toys.Toy, "close", "dawdle")])
    envs.reset()
    envs.step_async(np.zeros(3, int))
    time.sleep(0.5)  # by now it sleeps and ignores SIGTERM
    began = time.monotonic()
    envs.close()
    assert time.monotonic() - began < 10
    assert_gone()


def test_processes_end_with_the_last_who_uses_them(toys):
    envs = WorkerVecEnv([toys.Toy])
    del envs
    gc.collect()
    assert_gone()


def test_ctrl_c_while_waiting_ends_the_processes(toys, monkeypatch):
    envs = WorkerVecEnv([toys.Toy])

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(envs, "_receive", interrupt)
    with pytest.raises(KeyboardInterrupt):
        envs.reset()
    assert_gone()


@pytest.mark.parametrize(("makes", "timeout"), [([], 1.0), ([dict], 0.0), ([dict], float("nan"))])
def test_bad_arguments(makes, timeout):
    with pytest.raises(ValueError, match="needed"):
        WorkerVecEnv(makes, timeout)


def test_what_cannot_be_sent_ends_all_rather_than_mixing_up_answers():
    envs = WorkerVecEnv([partial(make_env, "CartPole-v1")] * 2)
    envs.reset()
    envs._options = [{}, {"x": (i for i in range(3))}]  # set_options would copy it
    with pytest.raises(TypeError, match="pickle"):
        envs.reset()
    for question in (partial(envs.get_attr, "render_mode"), partial(envs.env_method, "nonsense"), envs.reset):
        with pytest.raises(WorkerError, match="make new environments"):
            question()
