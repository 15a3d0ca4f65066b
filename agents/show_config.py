"""`memrl train --show-config`: the settings that would be used, whole, as a file that `--config` takes."""

from .build import probe_env, resolve
from .config import config_text
from .options import show_pairs
from .parsing import Request
from .settings import TrainSettings


def show_config(request: Request[TrainSettings]) -> int:
    """Print the settings in full with where they come from, and train nothing; returns the exit code.

    Raises:
        UsageError: bad settings, as before a training.
    """
    request.settings.check()
    settings = resolve(request.settings)
    probe_env(settings.env, settings.env_set)
    print(config_text(settings, _origin(request, settings)), end="")
    return 0


def _origin(request: Request[TrainSettings], settings: TrainSettings) -> list[str]:
    """Which values are the preset's or the zoo's, which of theirs were overruled, and what speaks for them."""
    source = request.preset or request.zoo
    if source is None:
        return ["preset     none: what was not given is the agent's and the core's default"]
    bare = {key.partition(".")[2]: value for key, value in settings.set.items()} | {"n_envs": settings.n_envs}
    used = {key: value for key, value in request.beneath.items() if bare[key.rpartition(".")[2]] == value}
    overruled = {key: value for key, value in request.beneath.items() if key not in used}
    what = "preset" if request.preset is not None else "zoo   "
    lines = [f"{what}     {source.name}: {' '.join(show_pairs(used)) or 'nothing'}"]
    if overruled:
        lines.append(f"overruled  {' '.join(show_pairs(overruled))}")
    if request.preset is not None:
        lines += [f"measured   {request.preset.command}", f"result     {request.preset.result}"]
    if request.zoo is not None:
        lines += [f"left out   {key}: {why}" for key, why in request.zoo.left_out.items()]
    return lines
