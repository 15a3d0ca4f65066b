"""From settings to environments and a model, with the user's mistakes told in one line."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.vec_env import VecEnv

from memrl.envs import list_envs, make_env, make_vec_env
from memrl.registry import core_entry

from .a2c import MemoryA2C
from .errors import UsageError, usage_errors
from .on_policy import MemoryOnPolicyAlgorithm
from .options import Options, activations, defaults, route, schedules
from .ppo import MemoryPPO
from .previous import VecPreviousInputs
from .settings import SharedSettings, TrainSettings

ALGORITHMS: dict[str, type[MemoryOnPolicyAlgorithm]] = {"ppo": MemoryPPO, "a2c": MemoryA2C}
# A command knows how long it trains, so its step size can fall to 0: a policy that is right most of the time is then
# not pushed around by the noise that normalised advantages are made of once they are all alike.
_COMMAND_DEFAULTS = {"ppo": {"learning_rate": "lin_1e-3"}, "a2c": {"learning_rate": "lin_7e-4"}}
# Seeds of training environments lie below this, those of evaluation from here on: no episode is in both.
_EVALUATION_SEEDS = 2**30


def find_options(settings: TrainSettings) -> Options:
    """Whose option each key of `--set` is.

    Raises:
        UsageError: unknown core or option, or a value of a wrong type.
    """
    with usage_errors(ValueError, about="--core: "):
        entry = core_entry(settings.core)
    agent = ALGORITHMS[settings.algo]
    policy = agent.policy_aliases["MlpMemoryPolicy"]
    return route(settings.set, core=entry.name, config=entry.config, agent=agent, policy=policy)


def resolve(settings: TrainSettings) -> TrainSettings:
    """The same settings with every option of core and agent spelled out under its full name, defaults and `vec` too.

    Two settings that train the same thing are then equal, and stay what they are when a default changes.

    Raises:
        UsageError: unknown core or option, or a value of a wrong type.
    """
    given = find_options(settings)
    core = asdict(core_entry(settings.core).config())
    agent = {**defaults(ALGORITHMS[settings.algo]), **_COMMAND_DEFAULTS[settings.algo]}
    full = Options({**core, **given.core}, {**agent, **given.agent}, given.policy)
    vec = settings.vec
    if vec == "auto":
        vec = "twin" if has_twin(settings.env, settings.env_set) else "dummy"
    return replace(settings, set=full.flat(), vec=vec)


def has_twin(env_id: str, env_kwargs: Mapping[str, Any]) -> bool:
    """Whether an array program of memrl runs all copies of an environment.

    >>> has_twin("memrl/TMaze-v0", {"length": 5}), has_twin("CartPole-v1", {})
    (True, False)
    """
    name = env_id.rpartition(":")[2]  # without the package that "package:id" imports
    return any(card.twin_keywords(name, env_kwargs) is not None for card in list_envs())


def probe_env(env_id: str, env_kwargs: Mapping[str, Any]) -> None:
    """Make the environment once, to hear of mistakes before any work.

    Raises:
        UsageError: unknown id or keyword, a missing package, or a space that no agent can use.
    """
    with usage_errors(ValueError, gym.error.Error, about="--env: "):
        env = make_env(env_id, **env_kwargs)
    allowed = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)
    for what, space, kinds in (
        ("action", env.action_space, allowed),
        ("observation", env.observation_space, (*allowed, spaces.Dict)),
    ):
        if not isinstance(space, kinds):
            names = ", ".join(kind.__name__ for kind in kinds)
            raise UsageError(f"--env {env_id}: {what} space {space} cannot be used; {names} needed")
    env.close()


def build_envs(settings: SharedSettings, copies: int, *, evaluation: bool, seed: int | None = None) -> VecEnv:
    """Copies of the environment that report episodes, seeded for their purpose.

    Args:
        settings: which environment, and where its copies run.
        copies: how many.
        evaluation: episodes of training and of evaluation never have a seed in common.
        seed: instead of the settings' seed.

    Raises:
        UsageError: as in `probe_env`.
    """
    first = env_seed(settings.seed if seed is None else seed, evaluation=evaluation)
    with usage_errors(ValueError, gym.error.Error, about="--env: "):
        return make_vec_env(settings.env, copies, first, vec=settings.vec, **settings.env_set)


def env_seed(seed: int, *, evaluation: bool) -> int:
    """Seed of the first copy; the others count up from it, as in SB3.

    Mixed, because runs with the seeds 0 and 1 would otherwise share all but one of their environments.

    >>> env_seed(0, evaluation=False) < 2**30 <= env_seed(0, evaluation=True)
    True
    """
    (mixed,) = np.random.SeedSequence([seed, int(evaluation)]).generate_state(1)
    # Leaves room for a million copies below the border.
    return int(mixed) % (_EVALUATION_SEEDS - 2**20) + _EVALUATION_SEEDS * evaluation


def add_previous(settings: SharedSettings, envs: VecEnv) -> VecEnv:
    """Environments for evaluation that show what the model was trained to see."""
    if not (settings.previous_action or settings.previous_reward):
        return envs
    return VecPreviousInputs(envs, action=settings.previous_action, reward=settings.previous_reward)


def build_model(settings: TrainSettings, envs: VecEnv) -> MemoryOnPolicyAlgorithm:
    """The agent with its core, untrained.

    Raises:
        UsageError: an option is out of its range, or the device does not exist.
    """
    options = find_options(settings)
    policy_kwargs = {**activations(options.policy), "core": settings.core, "core_kwargs": options.core}
    check_device(settings.device)
    with usage_errors(ValueError, about="--set: "):
        model = ALGORITHMS[settings.algo](
            policy_name(envs.observation_space),
            envs,
            **schedules(options.agent),
            policy_kwargs=policy_kwargs,
            previous_action=settings.previous_action,
            previous_reward=settings.previous_reward,
            seed=settings.seed,
            device=settings.device,
        )
    # SB3 has just seeded the environments with the seed of the weights.
    envs.seed(env_seed(settings.seed, evaluation=False))
    return model


def rehearse(settings: TrainSettings) -> MemoryOnPolicyAlgorithm:
    """Build the model on one copy of the environment, to hear of mistakes before any work and to measure it.

    Raises:
        UsageError: whatever `train` would raise for these settings before training.
    """
    settings = replace(settings, n_envs=1, vec="dummy" if settings.vec == "subproc" else settings.vec)
    envs = build_envs(settings, 1, evaluation=False)
    try:
        return build_model(settings, envs)
    finally:
        envs.close()


def policy_name(space: spaces.Space[Any]) -> str:
    """The policy for an observation space.

    >>> policy_name(spaces.Box(-1, 1, (2,)))
    'MlpMemoryPolicy'
    """
    if isinstance(space, spaces.Dict):
        return "MultiInputMemoryPolicy"
    return "CnnMemoryPolicy" if is_image_space(space) else "MlpMemoryPolicy"


def check_device(name: str) -> None:
    """Refuse a device that torch does not have; SB3 would silently take the CPU.

    Raises:
        UsageError: no such device.
    """
    if name == "auto":
        return
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError):  # no such word, or torch is built without it
        raise UsageError(f"--device: {name!r} is not available here; use cpu") from None
