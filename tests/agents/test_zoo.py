"""RL Baselines3 Zoo's hyperparameter files: read as data, and with the meaning that they have there."""

import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from sb3_contrib import RecurrentPPO
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.utils import FloatSchedule
from stable_baselines3.common.vec_env import DummyVecEnv
from torch import nn

from memrl.agents import MemoryA2C, MemoryPPO, read_zoo
from memrl.agents.build import find_options, rehearse, resolve
from memrl.agents.cli import main
from memrl.agents.parsing import parse_request
from memrl.agents.runs import load_settings
from memrl.agents.settings import TrainCommand, TrainSettings
from memrl.agents.zoo import literal

from .toys import Scripted

# In the zoo's own words and layout: a default, an anchor, numbers with and without a dot, data as text.
FILE = """
default:
  n_timesteps: !!float 1e6
  policy: 'MlpPolicy'

# Tuned
Hall-v1: &hall
  normalize: True
  n_envs: 4
  n_timesteps: !!float 2e5
  policy: 'MlpLstmPolicy'
  n_steps: 96
  batch_size: 48
  gae_lambda: 0.9
  gamma: 0.97
  n_epochs: 7
  ent_coef: 0.003
  vf_coef: 0.4
  max_grad_norm: 2
  learning_rate: lin_3e-4
  clip_range: lin_0.1
  policy_kwargs: "dict(
                    ortho_init=False,
                    activation_fn=nn.ReLU,
                    log_std_init=-2,
                    lstm_hidden_size=24,
                    enable_critic_lstm=True,
                    net_arch=dict(pi=[12], vf=[10, 8])
                  )"

Hall-v2:
  <<: *hall
  learning_rate: 2.5e-4
  normalize: "{'norm_obs': False, 'norm_reward': True}"
  env_kwargs: {length: 5}
  policy_kwargs: "dict(shared_lstm=True, enable_critic_lstm=False, n_lstm_layers=2)"

Bare-v1:
  n_timesteps: 5000
  policy: 'MlpLstmPolicy'

Plain-v1:
  n_timesteps: 5000
  policy: 'MlpPolicy'
  learning_rate: 2e-3
  target_kl: 0.1

Pictures-v1:
  n_timesteps: 5000
  policy: 'CnnPolicy'
  frame_stack: 4
  env_wrapper:
    - gymnasium.wrappers.FlattenObservation
  use_sde: True
  sde_sample_freq: 4
  callback: some.Callback
  policy_kwargs: "dict(optimizer_class=RMSpropTFLike)"

Calm-v1: {n_timesteps: 10, use_sde: False, normalize: False, n_envs: 2, ent_coef: 0.2}
"""


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "ppo_lstm.yml"
    path.write_text(FILE, encoding="utf-8")
    return path


def envs() -> DummyVecEnv:
    return DummyVecEnv([lambda: Scripted([5])])


# --- the zoo's meaning


def rates(value: object) -> list[float]:
    schedule = FloatSchedule(value)
    return [schedule(left) for left in (1.0, 0.25, 0.0)]


def both(entry: str, policy_kwargs: dict[str, object], *, lstm: bool) -> tuple[object, object]:
    """The zoo's agent for an entry, built as the zoo does with the text evaluated by hand, and ours."""
    data = yaml.safe_load(FILE)[entry]
    named = {key: data[key] for key in data if key in ("n_steps", "batch_size", "n_epochs", "gamma", "gae_lambda")}
    named |= {key: data[key] for key in data if key in ("ent_coef", "vf_coef", "max_grad_norm", "target_kl")}
    for key in ("learning_rate", "clip_range"):
        if key in data:
            text = str(data[key])
            start = float(text.removeprefix("lin_"))
            named[key] = (lambda left, start=start: left * start) if text.startswith("lin_") else start
    peer = RecurrentPPO if lstm else PPO
    theirs = peer("MlpLstmPolicy" if lstm else "MlpPolicy", envs(), policy_kwargs=policy_kwargs, device="cpu", **named)
    zoo = read_zoo("ppo_lstm.yml", entry)
    return theirs, MemoryPPO(zoo.policy, envs(), device="cpu", **zoo.arguments)


FULL = {
    "ortho_init": False,
    "activation_fn": nn.ReLU,
    "log_std_init": -2,
    "lstm_hidden_size": 24,
    "enable_critic_lstm": True,
    "net_arch": {"pi": [12], "vf": [10, 8]},
}


@pytest.mark.parametrize(
    ("entry", "kwargs", "lstm"), [("Hall-v1", FULL, True), ("Bare-v1", {}, True), ("Plain-v1", {}, False)]
)
def test_agent_is_the_zoos_with_our_memory(entry, kwargs, lstm):
    theirs, ours = both(entry, kwargs, lstm=lstm)
    for name in ("n_steps", "batch_size", "n_epochs", "gamma", "gae_lambda", "ent_coef", "vf_coef", "max_grad_norm"):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert ours.target_kl == theirs.target_kl
    assert ours.normalize_advantage == theirs.normalize_advantage
    assert rates(ours.learning_rate) == pytest.approx(rates(theirs.learning_rate))
    assert rates(ours.clip_range) == pytest.approx(rates(theirs.clip_range))
    assert ours.policy.ortho_init == theirs.policy.ortho_init
    assert ours.policy.activation_fn is theirs.policy.activation_fn
    assert ours.policy.log_std_init == theirs.policy.log_std_init
    for head in ("policy_net", "value_net"):
        widths = [
            [layer.out_features for layer in getattr(model.policy.mlp_extractor, head) if isinstance(layer, nn.Linear)]
            for model in (ours, theirs)
        ]
        assert widths[0] == widths[1]
    if lstm:
        assert ours.policy.core_name == "lstm"
        assert ours.policy.core.output_size == theirs.policy.lstm_actor.hidden_size
        assert ours.policy.critic_core.output_size == theirs.policy.lstm_critic.hidden_size
        assert ours.seq_len == theirs.n_steps  # back to where the rollout begins


def test_number_of_steps_copies_and_normalisation():
    zoo = read_zoo("ppo_lstm.yml", "Hall-v1")
    assert (zoo.n_timesteps, zoo.n_envs, zoo.policy, zoo.core) == (200_000, 4, "MlpMemoryPolicy", "lstm")
    assert zoo.normalize == {"gamma": 0.97}
    merged = read_zoo("ppo_lstm.yml", "Hall-v2")
    assert merged.normalize == {"norm_obs": False, "norm_reward": True, "gamma": 0.97}
    assert merged.set["learning_rate"] == 2.5e-4
    assert merged.set["n_epochs"] == 7  # of the entry it is merged with
    assert merged.env_set == {"length": 5}
    assert merged.arguments["policy_kwargs"]["core_kwargs"] == {"hidden_size": 256, "num_layers": 2}
    assert merged.arguments["policy_kwargs"]["share_core"] is True
    bare = read_zoo("ppo_lstm.yml", "Bare-v1")
    assert (bare.n_envs, bare.normalize) == (1, None)


def test_entry_default_stands_in():
    zoo = read_zoo("ppo_lstm.yml", "Nowhere-v0")
    assert (zoo.name, zoo.n_timesteps, zoo.core) == ("ppo_lstm.yml#default", 1_000_000, None)
    assert zoo.set["n_steps"] == 2048


def test_a2c_has_the_defaults_of_a2c():
    zoo = read_zoo("ppo_lstm.yml", "Calm-v1", algo="a2c")
    theirs, ours = A2C("MlpPolicy", envs(), ent_coef=0.2), MemoryA2C(zoo.policy, envs(), device="cpu", **zoo.arguments)
    for name in ("n_steps", "gamma", "gae_lambda", "ent_coef", "vf_coef", "max_grad_norm", "learning_rate"):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert type(ours.policy.optimizer).__name__.startswith("RMSprop")


# --- what cannot be carried over


def test_what_is_left_out_is_named_and_nothing_else():
    with pytest.warns(UserWarning, match="not carried over") as caught:
        zoo = read_zoo("ppo_lstm.yml", "Pictures-v1")
    expected = {"frame_stack", "env_wrapper", "use_sde", "sde_sample_freq", "callback", "policy_kwargs optimizer_class"}
    assert set(zoo.left_out) == expected
    assert all(key in str(caught[0].message) for key in expected)
    assert zoo.policy == "CnnMemoryPolicy"
    assert read_zoo("ppo_lstm.yml", "Calm-v1").left_out == {}  # switched off is not lost


def test_critic_without_memory_is_left_out(file):
    file.write_text(FILE.replace("enable_critic_lstm=True", "enable_critic_lstm=False"))
    with pytest.warns(UserWarning, match="enable_critic_lstm"):
        assert read_zoo(file, "Hall-v1").set["policy.share_core"] is False


# --- data, never evaluated

SPY = "open('touched', 'w')"


@pytest.mark.parametrize(
    "text",
    [
        SPY,
        f"dict(a={SPY})",
        f"dict(**{{'a': {SPY}}})",
        f"[{SPY} for i in (1,)]",
        f"{{'a': {SPY}}}",
        "__import__('os').getcwd()",
        "nn.Module",
        "nn.ReLU()",
        "os.path",
        "dict(1)",
        "dict",
        "lambda: 1",
        "1 if True else 2",
        "dict(a=1",
        "f'{1}'",
        "(" * 500,
        "-" * 5000 + "1",
    ],
    ids=range(17),
)
def test_text_that_is_more_than_data_is_refused(text, tmp_path):
    with pytest.raises(ValueError, match="is not"):
        literal(text)
    assert not (tmp_path / "touched").exists()


def test_literal_reads_what_the_zoo_writes():
    text = "dict(log_std_init=-3.29, net_arch=[dict(pi=[2], vf=[])], x={'a': None, 'b': (True, 1e-3)}, f=torch.nn.GELU)"
    assert literal(text) == {
        "log_std_init": -3.29,
        "net_arch": [{"pi": [2], "vf": []}],
        "x": {"a": None, "b": (True, 1e-3)},
        "f": "GELU",
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A-v0: {n_step: 3}", "n_step: neither ppo nor the zoo has this key; did you mean 'n_steps'?"),
        ("A-v0: {policy: mine.Policy}", "policy: 'mine.Policy' given"),
        ("A-v0: [1]", "A-v0: a mapping of hyperparameters needed"),
        ("B-v0: {}", "no entry 'A-v0'; did you mean 'B-v0'?"),
        ("[1]", "a mapping of environments"),
        ("{", "not YAML"),
        ("A-v0: !!python/name:os.getcwd ''", "not YAML"),
        ("A-v0: {policy_kwargs: 'dict(a=print(1))'}", "policy_kwargs: 'print(1)' is not read; numbers, words"),
        ("A-v0: {policy_kwargs: '[1]'}", "policy_kwargs: a mapping needed"),
        ("A-v0: {normalize: 'dict(norm=True)'}", "normalize: VecNormalize has no 'norm'"),
        ("A-v0: {n_envs: many}", "n_envs: 'many' given, a whole number of at least 1 needed"),
        ("A-v0: {n_timesteps: soon}", "n_timesteps: 'soon' given, a whole number of at least 1 needed"),
        ("A-v0: {n_envs: 0}", "n_envs: 0 given, a whole number of at least 1 needed"),
    ],
)
def test_bad_file_is_told(text, message, tmp_path, capsys):
    (tmp_path / "bad.yml").write_text(text)
    with pytest.raises(ValueError, match=re.escape(message)):
        read_zoo("bad.yml", "A-v0")
    assert main(["train", "--zoo", "bad.yml", "--env", "A-v0", "--core", "lstm"]) == 2
    assert f"--zoo bad.yml: {message}" in capsys.readouterr().err


# --- on the command line


def request(line: str) -> TrainSettings:
    return parse_request(TrainSettings, TrainCommand, line.split(), "train").settings


def test_command_line_wins_over_the_file_key_by_key(file, tmp_path):
    line = "--zoo ppo_lstm.yml#Hall-v1 --env memrl/TMaze-v0"
    settings = request(line)
    assert (settings.steps, settings.n_envs, settings.core) == (200_000, 4, "lstm")
    assert settings.from_preset == "ppo_lstm.yml#Hall-v1"
    settings = request(
        f"{line} --steps 99 --n-envs 3 --set agent.gamma=0.5 lstm.hidden_size=7 policy.activation_fn=Tanh"
    )
    assert (settings.steps, settings.n_envs) == (99, 3)
    options = find_options(settings)
    assert (options.agent["gamma"], options.core["hidden_size"]) == (0.5, 7)
    assert options.agent["n_epochs"] == 7
    assert rehearse(resolve(settings)).policy.activation_fn is nn.Tanh
    (tmp_path / "mine.yaml").write_text("env: memrl/TMaze-v0\nsteps: 55\nset: {n_epochs: 2}\n")
    between = request("--zoo ppo_lstm.yml#Hall-v1 --config mine.yaml --set gamma=0.5")
    assert (between.steps, between.set["n_epochs"], between.set["gamma"], between.set["batch_size"]) == (55, 2, 0.5, 48)


def test_another_core_gets_what_is_not_the_lstms(capsys):
    assert main("train --zoo ppo_lstm.yml#Hall-v1 --env memrl/TMaze-v0 --core dnc --show-config".split()) == 0  # noqa: SIM905
    shown = capsys.readouterr()
    settings = yaml.safe_load(shown.out)
    assert (settings["core"], settings["set"]["agent.n_epochs"]) == ("dnc", 7)
    assert settings["set"]["core.hidden_size"] == 128  # the DNC's own
    assert "policy_kwargs lstm_hidden_size: the core is dnc" in shown.err
    assert "normalize: " in shown.err
    assert shown.out.startswith("# zoo        ppo_lstm.yml#Hall-v1: n_envs=4 ")


def test_run_needs_the_file_no_more(file, tmp_path, capsys):
    line = "train --zoo ppo_lstm.yml#Hall-v2 --env memrl/TMaze-v0 --steps 20 --n-envs 2 --eval-episodes 2"
    assert main([*line.split(), "--set", "n_steps=8", "seq_len=8", "hidden_size=4"]) == 0
    assert "not carried over: normalize: " in capsys.readouterr().err
    file.unlink()
    (config,) = tmp_path.glob("runs/*/*/*/config.yaml")
    settings = load_settings(config.parent)
    assert settings.env_set == {"length": 5}
    assert settings.set["agent.learning_rate"] == 2.5e-4
    assert request(f"--config {config}") == settings


def test_unknown_activation_is_told(capsys):
    line = "train --env memrl/TMaze-v0 --core lstm --steps 9 --set policy.activation_fn=relu --show-config"
    assert main(line.split()) == 2
    assert "--set policy.activation_fn: 'relu' given, one of ReLU, Tanh" in capsys.readouterr().err


def test_files_number_of_steps_may_be_missing(tmp_path, capsys):
    (tmp_path / "short.yml").write_text("A-v0: {n_envs: 2}")
    line = "train --zoo short.yml#A-v0 --env memrl/TMaze-v0 --core lstm --show-config"
    assert main(line.split()) == 0
    assert "\nsteps: 100000\n" in capsys.readouterr().out


def test_numbers_are_numbers():
    zoo = read_zoo("ppo_lstm.yml", "Plain-v1")  # 2e-3 is text in YAML 1.1
    assert zoo.set["learning_rate"] == 2e-3
    assert np.isclose(zoo.arguments["learning_rate"], 2e-3)
