"""MiniGrid and BabyAI by their own ids, with observations that a network can read whole."""

import contextlib
import io
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

import gymnasium as gym
import minigrid  # noqa: F401  # registers the ids
import numpy as np
from gymnasium import spaces
from minigrid.core.actions import Actions
from minigrid.core.constants import COLOR_TO_IDX, DIR_TO_VEC, OBJECT_TO_IDX, STATE_TO_IDX
from minigrid.envs.babyai.core.roomgrid_level import RoomGridLevel

from .missions import VOCABULARY_SIZE, encode_mission, longest_mission

# Highest ids of a cell's object, color and state; the state of an agent is its direction.
_HIGHEST = [
    max(OBJECT_TO_IDX.values()),
    max(COLOR_TO_IDX.values()),
    max(*STATE_TO_IDX.values(), len(DIR_TO_VEC) - 1),
]


class MiniGridObservations(gym.Wrapper[dict[str, Any], Any, dict[str, Any], Any], gym.utils.RecordConstructorArgs):
    """MiniGrid for agents: cell ids with their true bounds, mission as token ids, a chosen set of actions.

    "image" is the view, (height, width, 3) ids of object, color and state. Its Box ends at the highest ids,
    not at 255, so that SB3 does not take it for pixels: it is neither divided by 255 nor transposed.
    "direction" is Discrete(4). "mission" holds token ids (`envs/missions.py`), 0 after the end.
    `info["is_success"]` tells at the end of an episode whether the mission was accomplished.

    Args:
        env: a MiniGrid or BabyAI environment.
        actions: which of left, right, forward, pickup, drop, toggle, done the agent has, by name or number,
            as a list or as one string ("left,right,forward"); the action space counts them in this order.
            None: all.
        mission_length: places for words. None: as many as the environment's longest mission has.

    Raises:
        ValueError: an unknown or repeated action, or a mission too long for `mission_length`.
    """

    def __init__(
        self,
        env: gym.Env[dict[str, Any], Any],
        actions: str | Sequence[str | int] | None = None,
        mission_length: int | None = None,
    ) -> None:
        gym.utils.RecordConstructorArgs.__init__(self, actions=actions, mission_length=mission_length)
        gym.Wrapper.__init__(self, env)
        inner = env.observation_space
        if not isinstance(inner, spaces.Dict):
            raise ValueError(
                f"env: its observations are {inner}, MiniGrid's Dict of image, direction and mission needed"
            )
        if mission_length is None:  # a mission without words, as Playground has, still needs a place in the Box
            mission_length = max(longest_mission(inner["mission"]), 1)
        self.mission_length = _whole_number("mission_length", mission_length, least=1)
        shape = inner["image"].shape or ()
        self.observation_space = spaces.Dict(
            {
                "image": spaces.Box(np.uint8(0), np.broadcast_to(np.array(_HIGHEST, np.uint8), shape), shape, np.uint8),
                "direction": spaces.Discrete(4),
                "mission": spaces.Box(0, VOCABULARY_SIZE - 1, (self.mission_length,), np.uint8),
            }
        )
        self.actions = list(Actions) if actions is None else _choose(actions)
        self.action_space = spaces.Discrete(len(self.actions))
        # BabyAI prints a line for every level that it draws again.
        self._noisy = isinstance(env.unwrapped, RoomGridLevel)
        self._mission, self._tokens = None, np.zeros(0, np.uint8)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Start an episode in a new grid."""
        with contextlib.redirect_stdout(io.StringIO()) if self._noisy else contextlib.nullcontext():
            seen, info = self.env.reset(seed=seed, options=options)
        return self._encode(seen), info

    def step(self, action: Any) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Take the action of that number in `actions`."""
        seen, reward, terminated, truncated, info = self.env.step(self.actions[action])
        if terminated or truncated:
            info["is_success"] = bool(terminated and float(reward) > 0)
        return self._encode(seen), float(reward), terminated, truncated, info

    def _encode(self, seen: dict[str, Any]) -> dict[str, Any]:
        if seen["mission"] != self._mission:
            self._mission, self._tokens = (
                seen["mission"],
                encode_mission(seen["mission"], self.mission_length),
            )
        return {"image": seen["image"], "direction": seen["direction"], "mission": self._tokens.copy()}


def make_minigrid(
    env_id: str,
    *,
    view_size: int = 7,
    actions: str | Sequence[str | int] | None = None,
    mission_length: int | None = None,
    **env_kwargs: Any,
) -> gym.Env[Any, Any]:
    """Make a MiniGrid or BabyAI environment for agents.

    Args:
        env_id: an id of the minigrid package, such as "MiniGrid-MemoryS7-v0".
        view_size: cells along each side of the agent's view, odd, at least 3.
        actions: as in `MiniGridObservations`.
        mission_length: as in `MiniGridObservations`.
        env_kwargs: keywords of the environment itself.

    Raises:
        ValueError: a keyword is not as above.
    """
    if "agent_view_size" in env_kwargs:
        raise ValueError("agent_view_size: write view_size")
    if _whole_number("view_size", view_size, least=3) % 2 == 0:
        raise ValueError(f"view_size: {view_size} given, an odd number of cells needed")
    # The checker would look at raw observations, which are not what the agent sees.
    env = gym.make(env_id, disable_env_checker=True, agent_view_size=view_size, **env_kwargs)
    return MiniGridObservations(env, actions=actions, mission_length=mission_length)


def _whole_number(name: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"{name}: {value!r} given, a whole number of at least {least} needed")
    return int(value)


def _choose(actions: str | Sequence[str | int]) -> list[Actions]:
    names = list(Actions.__members__)
    listed = actions.split(",") if isinstance(actions, str) else list(actions)
    chosen = []
    for action in listed:
        name = action.strip() if isinstance(action, str) else action
        if isinstance(name, str) and name.isdecimal():
            name = int(name)
        if isinstance(name, str) and name in names:
            chosen.append(Actions[name])
        elif isinstance(name, int | np.integer) and not isinstance(name, bool) and 0 <= name < len(names):
            chosen.append(Actions(int(name)))
        else:
            near = get_close_matches(str(name), names, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ";"
            raise ValueError(f"actions: {name!r} given{hint} known: {', '.join(names)}, or 0 to {len(names) - 1}")
    if not chosen or len(set(chosen)) < len(chosen):
        raise ValueError(f"actions: {actions!r} given, at least one action needed, and each only once")
    return chosen
