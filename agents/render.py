"""`memrl envs --render ID`: moments of one episode in one picture."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from memrl.envs import make_env

from .bench_tools import check_out
from .errors import UsageError, usage_errors
from .options import show_pairs
from .runs import env_slug
from .settings import EnvsSettings

MOMENTS = 12  # the first and the last observation, and what lies between them at even distances
LONGEST = 20_000  # steps after which an episode counts as endless
WIDE = 1800  # pixels that columns may fill together
_MARGIN, _LINE = 12, 24  # pixels between pictures, and for a line of text
_DPI = 100


@dataclass(frozen=True)
class Episode:
    """What happened in one episode."""

    frames: list[NDArray[np.uint8]]  # at the moments that were asked for
    moments: list[int]  # steps taken before each of them
    rewards: list[float]
    success: bool | None  # None where the environment does not tell
    oracle: bool  # whether the environment's oracle played; random actions otherwise

    def __str__(self) -> str:
        text = f"{'oracle' if self.oracle else 'random actions'}, {len(self.rewards)} steps"
        text += f", return {sum(self.rewards):.2f}"
        return text if self.success is None else f"{text}, {'success' if self.success else 'no success'}"


def render_episode(settings: EnvsSettings) -> tuple[Path, Episode]:
    """Play one episode and write a PNG file with moments of it; an existing file is never overwritten.

    Raises:
        UsageError: no such environment or keyword, one that draws no pictures, or a file that cannot be written.
    """
    assert settings.render is not None
    path = _path(settings)
    with usage_errors(ValueError, gym.error.Error, about="--render: "):
        env = make_env(settings.render, **settings.env_set)
        modes = env.metadata.get("render_modes") or []
        env.close()
        if "rgb_array" not in modes:
            has = f"has {', '.join(modes)}" if modes else "draws nothing"
            raise UsageError(f"--render {settings.render}: {has}; rgb_array needed for a picture")
        env = make_env(settings.render, render_mode="rgb_array", **settings.env_set)
    try:
        episode = play_episode(env, settings.seed)
    finally:
        env.close()
    title = " ".join([settings.render, *show_pairs(settings.env_set), f"seed {settings.seed}: {episode}"])
    with usage_errors(OSError, about=f"--out {path}: "), path.open("xb") as file:  # x: nobody's file is overwritten
        sheet(episode, title).savefig(file, format="png", dpi=_DPI)
    return path, episode


def play_episode(env: gym.Env[Any, Any], seed: int) -> Episode:
    """One episode of the oracle, where the environment has one, or of random actions.

    It is played twice, since only its end tells which moments to draw.

    Args:
        env: with `render_mode="rgb_array"`.
        seed: of episode and actions.

    Raises:
        UsageError: it does not end, or a picture cannot be drawn.
    """
    oracle = getattr(env.unwrapped, "oracle", None)
    env.action_space.seed(seed)
    choose: Callable[[], Any] = env.action_space.sample if oracle is None else oracle
    env.reset(seed=seed)
    actions: list[Any] = []
    rewards: list[float] = []
    info: dict[str, Any] = {}
    over = False
    while not over:
        if len(actions) == LONGEST:
            raise UsageError(f"--render: the episode has not ended after {LONGEST} steps")
        actions.append(choose())
        _, reward, terminated, truncated, info = env.step(actions[-1])
        rewards.append(float(reward))
        over = terminated or truncated
    moments = moments_of(len(actions))
    env.reset(seed=seed)
    frames = [_frame(env)]
    for step, action in enumerate(actions, start=1):
        _, _, terminated, truncated, _ = env.step(action)
        if step in moments:
            frames.append(_frame(env))
        if terminated or truncated:  # in another package's environment perhaps earlier than the first time
            break
    success = info.get("is_success")
    told = None if success is None else bool(success)
    return Episode(frames, moments[: len(frames)], rewards, told, oracle is not None)


def moments_of(steps: int) -> list[int]:
    """Numbers of steps after which to draw: none, all, and some between.

    >>> moments_of(3), moments_of(110)
    ([0, 1, 2, 3], [0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110])
    """
    return sorted({round(moment) for moment in np.linspace(0, steps, min(MOMENTS, steps + 1))})


def sheet(episode: Episode, title: str) -> Figure:
    """The pictures side by side, pixel for pixel, in reading order."""
    height = max(frame.shape[0] for frame in episode.frames)
    width = max(frame.shape[1] for frame in episode.frames)
    columns = min(max(1, (WIDE + _MARGIN) // (width + _MARGIN)), 4, len(episode.frames))
    rows = math.ceil(len(episode.frames) / columns)
    across, down = width + _MARGIN, height + _LINE + _MARGIN
    # A title may need more than the pictures do: 8 pixels a letter.
    total_width = max(columns * across + _MARGIN, 8 * len(title) + 2 * _MARGIN)
    total_height = rows * down + _LINE + _MARGIN
    figure = Figure(figsize=(total_width / _DPI, total_height / _DPI), dpi=_DPI, facecolor="white")

    def write(x: int, y: int, words: str) -> None:
        figure.text(x / total_width, 1 - y / total_height, words, fontsize=10, va="top")

    write(_MARGIN, _MARGIN, title)
    for place, (frame, moment) in enumerate(zip(episode.frames, episode.moments, strict=True)):
        row, column = divmod(place, columns)
        x, y = _MARGIN + column * across, _MARGIN + _LINE + row * down
        write(x, y, f"step {moment}, return {sum(episode.rewards[:moment]):.2f}")
        bottom = total_height - (y + _LINE - 4 + frame.shape[0])
        figure.figimage(np.flipud(frame), x, bottom, origin="lower")
    return figure


def _frame(env: gym.Env[Any, Any]) -> NDArray[np.uint8]:
    try:
        frame = env.render()
    except Exception as error:  # whatever the drawing of another package needs and does not find
        raise UsageError(f"--render: the environment cannot draw itself: {' '.join(str(error).split())}") from error
    if not isinstance(frame, np.ndarray) or frame.ndim != 3:
        raise UsageError(f"--render: a picture as an array expected, {type(frame).__name__} drawn")
    return frame


def _path(settings: EnvsSettings) -> Path:
    """Where to write: what was asked for, or a name in this folder that is not taken."""
    if settings.out is not None:
        check_out(settings.out)
        if settings.out.suffix.lower() != ".png":
            raise UsageError(f"--out {settings.out}: a name that ends in .png needed")
        if settings.out.exists():
            raise UsageError(f"--out {settings.out}: exists already; another name needed")
        return settings.out
    stem = f"{env_slug(str(settings.render))}-seed{settings.seed}"
    names: Sequence[str] = [f"{stem}.png", *(f"{stem}-{number}.png" for number in range(2, 1000))]
    free = next((Path(name) for name in names if not Path(name).exists()), None)
    if free is None:
        raise UsageError(f"--out: needed, since every name up to {names[-1]} is taken here")
    return free
