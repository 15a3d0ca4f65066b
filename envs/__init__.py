"""Environments that need memory, and one way to make any other fit the agents: `make_env`, `make_vec_env`."""

if __name__ == "envs":
    # The same file under two names would register everything twice, with two different classes.
    raise ImportError("import memrl.envs, not envs: the folder is installed as memrl.envs")

from typing import TYPE_CHECKING

from .autoencode import Autoencode as Autoencode
from .battleship import Battleship as Battleship
from .cards import EnvCard, list_envs
from .cartpole import NoisyPositionOnlyCartPole as NoisyPositionOnlyCartPole
from .cartpole import PositionOnlyCartPole as PositionOnlyCartPole
from .cartpole import VelocityOnlyCartPole as VelocityOnlyCartPole
from .concentration import Concentration as Concentration
from .count_recall import CountRecall as CountRecall
from .higher_lower import HigherLower as HigherLower
from .history import HistoryWindow, VectorHistoryWindow
from .key_to_door import KeyToDoor as KeyToDoor
from .make import make_env
from .memory_chain import MEMORY_LEN, MEMORY_SIZE, memory_chain_score
from .memory_chain import MemoryChain as MemoryChain
from .minigrid import MiniGridObservations
from .mortar_mayhem import MortarMayhem as MortarMayhem
from .mystery_path import MysteryPath as MysteryPath
from .pendulum import NoisyPositionOnlyPendulum as NoisyPositionOnlyPendulum
from .pendulum import PositionOnlyPendulum as PositionOnlyPendulum
from .pendulum import VelocityOnlyPendulum as VelocityOnlyPendulum
from .proof_of_memory import ProofOfMemory as ProofOfMemory
from .repeat_first import RepeatFirst as RepeatFirst
from .repeat_previous import RepeatPrevious as RepeatPrevious
from .routes.graph_route import GraphRoute as GraphRoute
from .routes.traffic import Traffic as Traffic
from .routes.warehouse import Warehouse as Warehouse
from .spaces import PlainSpaces, plain_spaces
from .tmaze import TMaze as TMaze  # one such line registers an environment
from .tmaze import VectorTMaze as VectorTMaze
from .wrappers import (
    Delay,
    EpisodeTime,
    Flicker,
    HideObservation,
    ObservationNoise,
    PreviousInputs,
    VectorDelay,
    VectorEpisodeTime,
    VectorFlicker,
    VectorHideObservation,
    VectorObservationNoise,
    VectorPreviousInputs,
)

if TYPE_CHECKING:
    from .vec_env import GymVecEnv, make_vec_env
    from .vec_history import VecHistoryWindow
    from .workers import WorkerError, WorkerVecEnv

__all__ = [
    "MEMORY_LEN",
    "MEMORY_SIZE",
    "Delay",
    "EnvCard",
    "EpisodeTime",
    "Flicker",
    "GymVecEnv",
    "HideObservation",
    "HistoryWindow",
    "MiniGridObservations",
    "ObservationNoise",
    "PlainSpaces",
    "PreviousInputs",
    "VecHistoryWindow",
    "VectorDelay",
    "VectorEpisodeTime",
    "VectorFlicker",
    "VectorHideObservation",
    "VectorHistoryWindow",
    "VectorObservationNoise",
    "VectorPreviousInputs",
    "WorkerError",
    "WorkerVecEnv",
    "list_envs",
    "make_env",
    "make_vec_env",
    "memory_chain_score",
    "plain_spaces",
]


def __getattr__(name: str) -> object:
    # Looked up on first use: environments alone need no Stable-Baselines3.
    if name in ("GymVecEnv", "VecHistoryWindow", "WorkerError", "WorkerVecEnv", "make_vec_env"):
        from . import vec_env, vec_history, workers

        places = {"GymVecEnv": vec_env, "make_vec_env": vec_env, "VecHistoryWindow": vec_history}
        return getattr(places.get(name, workers), name)
    raise AttributeError(f"module 'memrl.envs' has no attribute {name!r}")
