"""What users of Stable-Baselines3 expect: seeds, initial weights, callbacks, evaluation, logging."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.callbacks import (
    BaseCallback,
    CheckpointCallback,
    EvalCallback,
    StopTrainingOnMaxEpisodes,
)
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor, VecNormalize
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from memrl import make_core
from memrl.agents import MemoryA2C, MemoryPPO

from .toys import CORES, SMALL, Scripted, assert_same, collect, loosen, make, ratios, scripted

# Single calls of predict are what is tested; tests/agents/test_carry.py has what the warning is for.
pytestmark = pytest.mark.filterwarnings("ignore:predict. no state given")

AGENTS = [MemoryPPO, MemoryA2C]
ROLLOUT = 3 * 12


# --- training and seeds


@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.parametrize("core", CORES)
def test_equal_seeds_give_equal_weights(core, agent):
    found = [make(agent, core=core, seed=seed).learn(2 * ROLLOUT).policy.state_dict() for seed in (5, 5, 6)]
    assert_same(found[0], found[1])
    assert any(not torch.equal(found[0][name], found[2][name]) for name in found[0])


@pytest.mark.parametrize("core", CORES)
def test_orthogonal_initialisation_leaves_the_core_alone(core):
    model = make(core=core, policy_kwargs={"share_core": False, "ortho_init": True})
    torch.manual_seed(1)  # the agent's seed; the cores are the first things to be built
    expected = [make_core(core, 3, **SMALL.get(core, {})) for _ in range(2)]
    for ours, theirs in zip((model.policy.core, model.policy.critic_core), expected, strict=True):
        assert_same(dict(ours.state_dict()), dict(theirs.state_dict()))
    # While the layers around it are orthogonal: rows of the action layer have length 0.01.
    torch.testing.assert_close(model.policy.action_net.weight.norm(dim=1), torch.full((3,), 0.01))
    rate = model.policy.mlp_extractor.policy_net[0].weight
    torch.testing.assert_close(rate @ rate.T, 2 * torch.eye(6), atol=1e-5, rtol=0)


def test_forget_gates_start_open():
    bias = make(core="lstm").policy.core.rnn.bias_ih_l0
    assert bias[8:16].tolist() == [1.0] * 8


def test_learning_goes_on_without_a_reset():
    model = make(env=scripted([[50], [50]])).learn(24)
    assert not model._last_episode_starts.any()
    before = model._last_state
    seen = []
    begin = model.rollout_buffer.begin
    model.rollout_buffer.begin = lambda state, starts: seen.append((state, starts)) or begin(state, starts)
    model.learn(24, reset_num_timesteps=False)
    assert seen[0][0] is before
    assert not seen[0][1].any()
    assert model.num_timesteps == 48
    model.learn(24)
    assert seen[12][1].all()  # a reset begins new episodes
    assert model.num_timesteps == 24


def test_a_stopping_callback_stops_and_learning_can_go_on():
    class Stop(BaseCallback):
        def _on_step(self):
            return self.n_calls < 5

    model = make().learn(10 * ROLLOUT, callback=Stop())
    assert model.num_timesteps == 5 * 3
    model.learn(ROLLOUT, reset_num_timesteps=False)
    assert model.num_timesteps == 5 * 3 + ROLLOUT


def test_going_on_after_a_stop_begins_where_the_environments_are():
    """StopTrainingOnMaxEpisodes stops just where an episode ends; the next one must not inherit its memory."""
    env = scripted([[3], [50]])
    model = make(env=env).learn(1000, callback=StopTrainingOnMaxEpisodes(1))
    assert model.num_timesteps == 2 * 3 * 2  # an episode each, SB3 says, so twice the one of three steps
    now = np.stack(list(env.buf_obs.values()))[0]
    seen = []
    begin = model.rollout_buffer.begin
    model.rollout_buffer.begin = lambda state, starts: seen.append(starts.tolist()) or begin(state, starts)
    model.learn(24, reset_num_timesteps=False)
    np.testing.assert_array_equal(model.rollout_buffer.observation_parts[""][0], now)
    assert seen[0] == [True, False]


def test_callbacks_see_what_sb3_shows_them():
    names = {"self", "env", "callback", "rollout_buffer", "n_rollout_steps", "actions", "values", "log_probs"}
    names |= {"new_obs", "rewards", "dones", "infos"}

    class Look(BaseCallback):
        starts, ends, seen = 0, 0, 0

        def _on_rollout_start(self):
            self.starts += 1

        def _on_step(self):
            assert names <= self.locals.keys()
            assert self.locals["rewards"].shape == self.locals["dones"].shape == (3,)
            self.seen += 1
            return True

        def _on_rollout_end(self):
            self.ends += 1
            assert self.model.rollout_buffer.full

    look = Look()
    make().learn(2 * ROLLOUT, callback=look)
    assert (look.starts, look.ends, look.seen) == (2, 2, 24)


def test_device_is_honoured():
    model = make(device=torch.device("cpu"))
    assert model.device == torch.device("cpu")
    assert {parameter.device.type for parameter in model.policy.parameters()} == {"cpu"}
    assert model.rollout_buffer.device == torch.device("cpu")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an accelerator")
@pytest.mark.parametrize("core", CORES)
def test_on_an_accelerator(core, tmp_path):
    model = make(core=core, device="cuda", refresh_states=True, n_epochs=2, policy_kwargs={"share_core": False})
    collect(model)
    assert (ratios(model) - 1).abs().max() <= 1e-4
    model.learn(2 * ROLLOUT)
    assert {parameter.device.type for parameter in model.policy.parameters()} == {"cuda"}
    model.save(tmp_path / "model")
    loaded = MemoryPPO.load(tmp_path / "model", device="cpu")
    obs = np.ones((3, 3), np.float32)
    for _ in range(3):
        ours, theirs = (each.predict(obs, deterministic=True)[0] for each in (model, loaded))
        np.testing.assert_array_equal(ours, theirs)


# --- evaluation


class Echo(gym.Env):
    """Pays 1 for the action that was observed in the first of four steps; the rest is noise."""

    observation_space, action_space = spaces.Box(0, 3, (1,), np.float32), spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.now, self.wanted = 0, int(self.np_random.integers(3))
        return np.array([self.wanted], np.float32), {}

    def step(self, action):
        self.now += 1
        obs = np.array([self.np_random.uniform(0, 3)], np.float32)
        return obs, float(action == self.wanted), self.now == 4, False, {"is_success": action == self.wanted}


def monitored(copies=2, env=Echo):
    return VecMonitor(DummyVecEnv([env] * copies))


def test_evaluate_policy_carries_and_resets_the_memory():
    model = loosen(make(env=monitored(), core="lstm"))
    calls = []
    predict = model.predict

    def spy(obs, state=None, episode_start=None, deterministic=False):
        actions, after = predict(obs, state=state, episode_start=episode_start, deterministic=deterministic)
        calls.append((obs.copy(), state, episode_start.copy(), actions, after))
        return actions, after

    model.predict = spy
    evaluate_policy(model, monitored(3), n_eval_episodes=6)
    assert len(calls) == 8
    # The same by hand, with a loop that keeps one list of observations for each running episode.
    histories = [[] for _ in range(3)]
    for i, (obs, state, starts, actions, _) in enumerate(calls):
        assert state is (calls[i - 1][4] if i else None)
        assert starts.tolist() == [i % 4 == 0] * 3
        for env in range(3):
            histories[env] = [] if starts[env] else histories[env]
            histories[env].append(obs[env])
            alone = None
            for past in histories[env]:
                action, alone = predict(past, state=alone, deterministic=True)
            assert action == actions[env]


@pytest.mark.parametrize("agent", AGENTS)
def test_eval_callback_saves_the_best_model(agent, tmp_path):
    model = make(agent, env=monitored(3), tensorboard_log=None)
    callback = EvalCallback(
        monitored(2),
        n_eval_episodes=4,
        eval_freq=12,
        log_path=tmp_path,
        best_model_save_path=tmp_path,
        verbose=0,
        warn=True,
    )
    model.learn(2 * ROLLOUT, callback=callback)
    results = np.load(tmp_path / "evaluations.npz")
    assert results["timesteps"].tolist() == [36, 72]
    assert results["results"].shape == results["successes"].shape == (2, 4)
    assert callback.best_mean_reward == results["results"].mean(1).max()
    best = agent.load(tmp_path / "best_model", device="cpu")
    assert best.num_timesteps == results["timesteps"][results["results"].mean(1).argmax()]


def test_checkpoints_and_max_episodes(tmp_path):
    model = make(env=monitored(3))
    callbacks = [CheckpointCallback(8, tmp_path, name_prefix="m"), StopTrainingOnMaxEpisodes(2)]
    model.learn(100 * ROLLOUT, callback=callbacks)
    # Two episodes for each of three environments, of four steps each.
    assert model.num_timesteps == 2 * 4 * 3
    assert [path.name for path in tmp_path.iterdir()] == ["m_24_steps.zip"]
    assert MemoryPPO.load(tmp_path / "m_24_steps", device="cpu").num_timesteps == 24


def test_vec_normalize_in_training_saving_and_frozen_evaluation(tmp_path):
    env = VecNormalize(monitored(3), gamma=0.9)
    model = make(env=env).learn(3 * ROLLOUT)
    assert model.get_vec_normalize_env() is env
    kept = model.rollout_buffer.observation_parts[""]
    assert abs(kept.mean()) < 1 < 3 * kept.std()  # normalised, where the environment's lie in [0, 3]
    model.save(tmp_path / "model")
    env.save(tmp_path / "normalize.pkl")

    frozen = VecNormalize.load(tmp_path / "normalize.pkl", monitored(2))
    frozen.training, frozen.norm_reward = False, False
    loaded = MemoryPPO.load(tmp_path / "model", env=frozen, device="cpu")
    assert loaded.get_vec_normalize_env() is frozen
    mean, var, count = frozen.obs_rms.mean.copy(), frozen.obs_rms.var.copy(), frozen.obs_rms.count
    rewards, lengths = evaluate_policy(loaded, frozen, n_eval_episodes=6, return_episode_rewards=True)
    assert lengths == [4] * 6
    assert set(rewards) <= {0.0, 1.0, 2.0, 3.0, 4.0}  # as the environment pays
    np.testing.assert_array_equal(frozen.obs_rms.mean, mean)
    np.testing.assert_array_equal(frozen.obs_rms.var, var)
    assert frozen.obs_rms.count == count
    # An evaluation during training takes over the statistics of training.
    other = VecNormalize(monitored(2), training=False, norm_reward=False)
    model.learn(ROLLOUT, callback=EvalCallback(other, eval_freq=12, n_eval_episodes=2, verbose=0))
    np.testing.assert_array_equal(other.obs_rms.mean, env.obs_rms.mean)


def test_predict_checks_what_it_is_given():
    model = make()
    obs = np.zeros((3, 3), np.float32)
    _, state = model.predict(obs)
    with pytest.raises(ValueError, match="state: of 3 environments given, 2 observations"):
        model.predict(obs[:2], state=state)
    with pytest.raises(ValueError, match="a tuple given"):
        model.predict(Scripted([3]).reset())
    with pytest.raises(ValueError, match="a dict given, an array needed"):
        model.predict({"observation": obs})
    with pytest.raises(ValueError, match="shape"):
        model.predict(np.zeros((3, 4), np.float32))


# --- logging


def scalars(folder):
    (run,) = folder.iterdir()
    events = EventAccumulator(str(run))
    events.Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_tensorboard_has_sb3s_tags(tmp_path):
    kwargs = {"env": monitored(3), "tensorboard_log": str(tmp_path)}
    model = make(**kwargs, clip_range_vf=0.2).learn(3 * ROLLOUT)
    model.logger.close()
    train = {
        "approx_kl",
        "clip_fraction",
        "clip_range",
        "clip_range_vf",
        "entropy_loss",
        "explained_variance",
    }
    train |= {"learning_rate", "loss", "policy_gradient_loss", "value_loss"}
    found = scalars(tmp_path)
    rollout = {"rollout/ep_len_mean", "rollout/ep_rew_mean", "rollout/success_rate"}
    assert found.keys() == {"time/fps", *rollout, *(f"train/{tag}" for tag in train)}
    assert [step for step, _ in found["rollout/ep_len_mean"]] == [36, 72, 108]  # environment steps
    assert {value for _, value in found["rollout/ep_len_mean"]} == {4.0}
    assert next(tmp_path.iterdir()).name == "MemoryPPO_1"


def test_tensorboard_of_a2c(tmp_path):
    model = make(
        MemoryA2C,
        env=scripted(action_space=spaces.Box(-1, 1, (2,), np.float32)),
        tensorboard_log=str(tmp_path),
    )
    model.learn(3 * ROLLOUT, log_interval=1)
    model.logger.close()
    train = {"entropy_loss", "explained_variance", "learning_rate", "policy_loss", "std", "value_loss"}
    assert {tag for tag in scalars(tmp_path) if tag.startswith("train/")} == {f"train/{tag}" for tag in train}
    assert next(tmp_path.iterdir()).name == "MemoryA2C_1"


@pytest.mark.filterwarnings("ignore:rich is experimental")  # tqdm about the bar that SB3 uses
def test_progress_bar(capsys):
    make().learn(2 * ROLLOUT, progress_bar=True)
    assert "72/72" in capsys.readouterr().out
