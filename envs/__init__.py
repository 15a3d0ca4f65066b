"""Environments that need memory, and one way to make any other fit the agents: `make_env`."""

if __name__ == "envs":
    # The same file under two names would register everything twice, with two different classes.
    raise ImportError("import memrl.envs, not envs: the folder is installed as memrl.envs")

from .cards import EnvCard, list_envs
from .make import make_env
from .minigrid import MiniGridObservations
from .repeat_previous import RepeatPrevious as RepeatPrevious
from .spaces import PlainSpaces, plain_spaces
from .tmaze import TMaze as TMaze  # one such line registers an environment
from .tmaze import VectorTMaze as VectorTMaze

__all__ = ["EnvCard", "MiniGridObservations", "PlainSpaces", "list_envs", "make_env", "plain_spaces"]
