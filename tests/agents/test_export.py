"""An exported step is the policy's step: whole episodes in onnxruntime and torch.export beside predict."""

import numpy as np
import onnx
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecNormalize

from memrl.agents import export_policy
from memrl.agents.export import StepGraph, load_step

from .toys import CORES, loosen, make, scripted


def play(model, path, format, env, steps=40):
    """Act with the file through whole episodes; the policy sees the same observations with a state of its own."""
    graph = StepGraph(model.policy)
    run = load_step(path, format, graph.input_names())
    count = env.num_envs
    obs, starts = env.reset(), np.ones(count, bool)
    theirs = np.zeros(tuple(graph.example(count)[-2].shape), np.float32)
    state, ends = None, 0
    for _ in range(steps):
        raw = env.get_original_obs() if isinstance(env, VecNormalize) else obs
        parts = [raw[key] for key in graph.parts] if isinstance(raw, dict) else [raw]
        action, _, _, theirs = run([*parts, theirs, starts])
        expected, state = model.predict(obs, state, starts, deterministic=True)
        np.testing.assert_allclose(action, expected, atol=1e-5)
        obs, _, starts, _ = env.step(expected)
        ends += starts.sum()
    assert ends >= 4


@pytest.mark.parametrize("core", CORES)
def test_onnx_acts_as_the_policy_does(core, tmp_path):
    model = loosen(make(core=core))
    assert export_policy(model, tmp_path / "step.onnx") < 1e-5
    play(model, tmp_path / "step.onnx", "onnx", scripted())
    properties = {each.key: each.value for each in onnx.load(tmp_path / "step.onnx").metadata_props}
    assert properties["core"] == core


@pytest.mark.parametrize("core", ["gru", "dnc"])
def test_torch_export_acts_as_the_policy_does(core, tmp_path):
    model = loosen(make(core=core, policy_kwargs={"share_core": False}))
    assert export_policy(model, tmp_path / "step.pt2", "torch") < 1e-5
    play(model, tmp_path / "step.pt2", "torch", scripted())


ACTIONS = [spaces.MultiDiscrete([3, 2]), spaces.MultiBinary(3), spaces.Box(-0.1, 0.1, (2,), np.float32)]
OBSERVATIONS = [
    spaces.Discrete(4),
    spaces.Dict(a=spaces.MultiDiscrete([3, 2]), image=spaces.Box(0, 255, (3, 8, 8), np.uint8)),
]


@pytest.mark.parametrize("space", ACTIONS, ids=lambda space: type(space).__name__)
def test_action_spaces(space, tmp_path):
    model = loosen(make(env=scripted(action_space=space)))
    export_policy(model, tmp_path / "step.onnx")
    play(model, tmp_path / "step.onnx", "onnx", scripted(action_space=space))


@pytest.mark.parametrize("space", OBSERVATIONS, ids=lambda space: type(space).__name__)
def test_observation_spaces(space, tmp_path):
    policy = "MultiInputMemoryPolicy" if isinstance(space, spaces.Dict) else "MlpMemoryPolicy"
    model = loosen(make(env=scripted(observation_space=space), policy=policy))
    export_policy(model, tmp_path / "step.onnx")
    play(model, tmp_path / "step.onnx", "onnx", scripted(observation_space=space))


def test_normalisation_is_inside(tmp_path):
    env = VecNormalize(scripted(observation_space=spaces.Box(-5, 50, (3,), np.float32)), clip_obs=1.0)
    model = loosen(make(env=env))
    model.learn(36)
    env.training = env.norm_reward = False
    assert export_policy(model, tmp_path / "step.onnx", normalize=env) < 1e-5
    play(model, tmp_path / "step.onnx", "onnx", env)


def test_what_cannot_be_done_is_said_and_nothing_is_overwritten(tmp_path):
    model = make()
    (tmp_path / "there.onnx").write_text("mine")
    with pytest.raises(FileExistsError, match="writes new files only"):
        export_policy(model, tmp_path / "there.onnx")
    assert (tmp_path / "there.onnx").read_text() == "mine"
    with pytest.raises(ValueError, match="'onnx' or 'torch' needed"):
        export_policy(model, tmp_path / "step.tflite", "tflite")


def test_the_model_is_left_as_it_was(tmp_path):
    model = make()
    model.policy.set_training_mode(True)
    before = {name: weight.clone() for name, weight in model.policy.state_dict().items()}
    export_policy(model, tmp_path / "step.pt2", "torch")
    assert model.policy.training
    assert all(torch.equal(before[name], weight) for name, weight in model.policy.state_dict().items())


def test_normalisation_is_found_behind_previous_inputs_and_other_statistics_are_refused(tmp_path):
    env = VecNormalize(scripted(observation_space=spaces.Box(50, 150, (3,), np.float32)))
    model = loosen(make(env=env, policy="MultiInputMemoryPolicy", previous_action=True))
    model.learn(36)
    assert list(StepGraph(model.policy, env).scales) == ["observation"]
    assert export_policy(model, tmp_path / "step.pt2", "torch") < 1e-5
    with pytest.raises(ValueError, match="observations have no such part"):
        StepGraph(make().policy, VecNormalize(scripted(observation_space=spaces.Box(0, 1, (7,), np.float32))))


def test_keys_may_be_called_like_outputs_and_a_file_that_is_wrong_is_not_kept(tmp_path, monkeypatch):
    space = spaces.Dict(value=spaces.Box(-1, 1, (3,), np.float32), state=spaces.Discrete(2))
    model = loosen(make(env=scripted(observation_space=space), policy="MultiInputMemoryPolicy"))
    assert export_policy(model, tmp_path / "step.onnx") < 1e-5
    names = [each.name for each in onnx.load(tmp_path / "step.onnx").graph.input]
    assert {"obs.state", "obs.value", "state", "episode_start"} == set(names)
    monkeypatch.setattr(StepGraph, "_most_likely", lambda self, logits: logits.argmin(-1))
    with pytest.raises(ValueError, match="differs from the policy"):
        export_policy(model, tmp_path / "wrong.pt2", "torch")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step.onnx"]
