"""POPGym by its own ids."""

from importlib.util import find_spec
from typing import Any

import gymnasium as gym

from .spaces import plain_spaces


def has_popgym() -> bool:
    """Whether the optional POPGym is installed."""
    return find_spec("popgym") is not None


def make_popgym(env_id: str, **env_kwargs: Any) -> gym.Env[Any, Any]:
    """Make a POPGym environment for agents.

    Args:
        env_id: an id of the popgym package, such as "popgym-RepeatPreviousEasy-v0".
        env_kwargs: keywords of the environment itself.

    Raises:
        ValueError: POPGym is not installed.
    """
    if not has_popgym():
        raise ValueError(f"{env_id}: POPGym is not installed; pip install 'memrl[popgym]'")
    import popgym  # noqa: F401  # registers the ids

    # Gymnasium's checker warns of CountRecall and MultiarmedBandit, which hand out one info array again and
    # again. SB3 copies infos, so this harms nobody.
    return plain_spaces(gym.make(env_id, disable_env_checker=True, **env_kwargs))
