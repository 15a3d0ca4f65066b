"""`HistoryWindow` for Stable-Baselines3's own vector environments."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from .chance import Streams
from .history import Window
from .transforms import WHOLE, Parts, Source, Step


class VecHistoryWindow(VecEnvWrapper):
    """`HistoryWindow` around a VecEnv, for pipelines that have one already.

    `VecNormalize` and `VecTransposeImage` belong inside it, so that padding stays zero and images arrive as they are to
    be seen; `memrl.agents.VecPreviousInputs`, for the last action and reward, too.

    Args:
        venv: any VecEnv.
        steps: observations in the window, 1 to 100,000.

    Raises:
        ValueError: an argument is not as above, or the observations cannot be put into a window.

    >>> from stable_baselines3.common.env_util import make_vec_env
    >>> VecHistoryWindow(make_vec_env("CartPole-v1", n_envs=2), 8).reset()["window"].shape
    (2, 8, 4)
    """

    def __init__(self, venv: VecEnv, steps: int = 16) -> None:
        source = Source(venv.num_envs, venv.observation_space, venv.action_space, None)
        self._window = Window(source, steps)
        self._all = np.arange(venv.num_envs)
        self._chance = Streams([0] * venv.num_envs).next_episode(self._all)  # a window draws nothing
        super().__init__(venv, observation_space=self._window.space)

    def reset(self) -> VecEnvObs:
        """Windows with one observation."""
        return self._window.begin(self._all, self._parts(self.venv.reset()), self._chance)

    def step_wait(self) -> VecEnvStepReturn:
        """The next windows; terminal observations are windows of the episode that has ended."""
        obs, rewards, dones, infos = self.venv.step_wait()
        parts = self._parts(obs)
        rows = np.flatnonzero(dones)
        ended = {name: part.copy() for name, part in parts.items()} if len(rows) else parts
        for row in rows:
            for name, part in self._parts(infos[row]["terminal_observation"]).items():
                ended[name][row] = part
        seen = self._window.apply(ended, _NO_STEP)
        if len(rows):
            for row in rows:
                last = {name: part[row].copy() for name, part in seen.items()}
                infos[row]["terminal_observation"] = last
            first = self._window.begin(rows, {name: part[rows] for name, part in parts.items()}, self._chance)
            for name, part in seen.items():
                part[rows] = first[name]
        return seen, rewards, dones, infos

    def _parts(self, obs: Any) -> Parts:
        given = obs if isinstance(obs, dict) else {WHOLE: obs}
        return {name: np.asarray(given[name]) for name in self._window.before}


_NOTHING: NDArray[Any] = np.zeros(0)
_NO_STEP = Step(_NOTHING, _NOTHING, _NOTHING, Streams([]))  # a window asks for observations only
