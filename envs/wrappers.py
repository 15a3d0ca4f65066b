"""Wrappers that make any environment ask for memory, or give an agent more to go by, for single and for vector ones."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from . import inputs, transforms
from .hosts import AnyEnv, AnyVectorEnv, Host, VectorHost
from .vector import Array

Deviation = float | Sequence[Any] | Array | Mapping[str, Any]


class HideObservation(Host):
    """Leave out parts of the observation.

    Args:
        env: with observations of one axis (Box, MultiDiscrete, MultiBinary), or a Dict.
        hidden: places of the numbers, from 0, or keys of the Dict, to leave out.

    Raises:
        ValueError: there is no such part, or nothing would be left.

    >>> import gymnasium as gym
    >>> HideObservation(gym.make("CartPole-v1"), hidden=[1, 3]).observation_space.shape
    (2,)
    """

    def __init__(self, env: AnyEnv, hidden: int | str | Collection[int | str]) -> None:
        super().__init__(env, transforms.Hide, hidden=_listed(hidden))


class Flicker(Host):
    """Show zeros in place of the whole observation, with some probability in each step, the first included.

    Hausknecht & Stone 2015, "Deep Recurrent Q-Learning for Partially Observable MDPs". In a discrete space 0 is an
    ordinary value, which nothing tells from "not seen".

    Args:
        env: whose discrete observations, if any, count from 0.
        probability: in [0, 1].

    Raises:
        ValueError: an argument is not as above.
    """

    def __init__(self, env: AnyEnv, probability: float) -> None:
        super().__init__(env, transforms.Blank, probability=probability)


class Delay(Host):
    """Show observations some steps late, and zeros until the first arrives.

    The last observations of an episode are never shown. Rewards come in time. Put `PreviousInputs` around it, not into
    it, unless actions and rewards shall be late as well.

    Args:
        env: whose discrete observations, if any, count from 0.
        steps: 1 to 10,000.

    Raises:
        ValueError: an argument is not as above.
    """

    def __init__(self, env: AnyEnv, steps: int) -> None:
        super().__init__(env, transforms.Postpone, steps=steps)


class ObservationNoise(Host):
    """Add normal noise to float observations, clipped to the bounds of their space.

    Args:
        env: with a Box of float numbers, or a Dict with one; other parts stay as they are.
        deviation: the standard deviation, at least 0, or one for each number; for a Dict, one for all its Boxes of
            float numbers or a mapping from keys to what applies there.

    Raises:
        ValueError: an argument is not as above.
    """

    def __init__(self, env: AnyEnv, deviation: Deviation) -> None:
        super().__init__(env, transforms.AddNoise, deviation=deviation)


class PreviousInputs(Host):
    """Add "previous_action" and "previous_reward" to the observation; both are zeros when an episode begins.

    An action of a Discrete space is one-hot, of a MultiDiscrete space one-hot for each part, so that "no action yet"
    differs from every action. A Dict observation gets two more keys; any other becomes a Dict with the key
    "observation". `memrl.agents.VecPreviousInputs` does the same to Stable-Baselines3's VecEnvs.

    Args:
        env: with Discrete, MultiDiscrete, MultiBinary or Box actions.
        action: add the previous action.
        reward: add the previous reward.

    Raises:
        ValueError: neither is asked for, or an argument is not as above.
    """

    def __init__(self, env: AnyEnv, action: bool = True, reward: bool = True) -> None:
        super().__init__(env, inputs.AddPrevious, action=action, reward=reward)


class EpisodeTime(Host):
    """Add to the observation whether an episode begins, and how much of the longest one is over.

    "episode_start" is 1 with the first observation of an episode, else 0; "episode_time" is the number of steps taken
    over `horizon`, at most 1. A Dict observation gets these keys; any other becomes a Dict with the key "observation".

    Args:
        env: any.
        start: add "episode_start".
        time: add "episode_time".
        horizon: steps of the longest episode. None: as the environment tells, in `spec.max_episode_steps` or `horizon`.

    Raises:
        ValueError: neither is asked for, `horizon` is needed, or an argument is not as above.
    """

    def __init__(self, env: AnyEnv, start: bool = True, time: bool = False, horizon: int | None = None) -> None:
        super().__init__(env, inputs.AddTime, start=start, time=time, horizon=horizon)


class VectorHideObservation(VectorHost):
    """`HideObservation` for vector environments with same-step resets."""

    def __init__(self, env: AnyVectorEnv, hidden: int | str | Collection[int | str]) -> None:
        super().__init__(env, transforms.Hide, hidden=_listed(hidden))


class VectorFlicker(VectorHost):
    """`Flicker` for vector environments with same-step resets; copies flicker independently."""

    def __init__(self, env: AnyVectorEnv, probability: float) -> None:
        super().__init__(env, transforms.Blank, probability=probability)


class VectorDelay(VectorHost):
    """`Delay` for vector environments with same-step resets."""

    def __init__(self, env: AnyVectorEnv, steps: int) -> None:
        super().__init__(env, transforms.Postpone, steps=steps)


class VectorObservationNoise(VectorHost):
    """`ObservationNoise` for vector environments with same-step resets; copies have noise of their own."""

    def __init__(self, env: AnyVectorEnv, deviation: Deviation) -> None:
        super().__init__(env, transforms.AddNoise, deviation=deviation)


class VectorPreviousInputs(VectorHost):
    """`PreviousInputs` for vector environments with same-step resets."""

    def __init__(self, env: AnyVectorEnv, action: bool = True, reward: bool = True) -> None:
        super().__init__(env, inputs.AddPrevious, action=action, reward=reward)


class VectorEpisodeTime(VectorHost):
    """`EpisodeTime` for vector environments with same-step resets."""

    def __init__(self, env: AnyVectorEnv, start: bool = True, time: bool = False, horizon: int | None = None) -> None:
        super().__init__(env, inputs.AddTime, start=start, time=time, horizon=horizon)


def _listed(hidden: int | str | Collection[int | str]) -> int | str | list[int | str]:
    """Keys and places in a form that an environment's spec can copy."""
    return list(hidden) if isinstance(hidden, Collection) and not isinstance(hidden, str) else hidden
