"""Observation encoders: nothing that counts is lost, and where SB3 has the same network, it agrees."""

import numpy as np
import pytest
import torch
from gymnasium import spaces
from minigrid.core.constants import COLOR_TO_IDX, OBJECT_TO_IDX
from stable_baselines3 import PPO
from stable_baselines3.common.preprocessing import preprocess_obs
from stable_baselines3.common.torch_layers import CombinedExtractor, FlattenExtractor, NatureCNN

from memrl.encoders import DictExtractor, ImageExtractor, MiniGridExtractor, default_extractor
from memrl.envs import make_env
from memrl.envs.missions import encode_mission

BALL, KEY, DOOR = OBJECT_TO_IDX["ball"], OBJECT_TO_IDX["key"], OBJECT_TO_IDX["door"]
RED, GREEN = COLOR_TO_IDX["red"], COLOR_TO_IDX["green"]


def minigrid_space(view=3, words=8, **others):
    image = spaces.Box(0, np.broadcast_to(np.array([10, 5, 3], np.uint8), (view, view, 3)), (view, view, 3), np.uint8)
    mission = spaces.Box(0, 55, (words,), np.uint8)
    return spaces.Dict({"image": image, "direction": spaces.Discrete(4), "mission": mission, **others})


def encoder_of(space):
    torch.manual_seed(0)
    return MiniGridExtractor(space).eval()


def prepare(space, observations):
    """A batch of observations as SB3 hands it to an extractor."""
    batch = {key: torch.as_tensor(np.stack([one[key] for one in observations])) for key in space.spaces}
    return preprocess_obs(batch, space)


def empty(space, mission="go to the red ball"):
    image = np.zeros(space["image"].shape, np.uint8)
    image[..., 0] = OBJECT_TO_IDX["empty"]
    tokens = encode_mission(mission, space["mission"].shape[0])
    return {"image": image, "direction": np.int64(0), "mission": tokens}


def differ(space, *observations):
    """Whether no two observations have the same features."""
    features = encoder_of(space)(prepare(space, observations))
    return all((features[i] - features[j]).abs().max() > 1e-4 for i in range(len(features)) for j in range(i))


@pytest.mark.parametrize("view", [3, 5, 7, 9, 11, 21])
def test_one_changed_cell_changes_the_features(view):
    space = minigrid_space(view)
    observations = [empty(space)]
    for row, column in [(0, 0), (view - 1, view // 2), (view // 2, view - 1)]:
        for channel, value in [(0, KEY), (1, GREEN), (2, 2)]:
            changed = empty(space)
            changed["image"][row, column, channel] = value
            observations.append(changed)
    assert differ(space, *observations)


def test_two_objects_of_one_color_and_one_object_in_two_colors_differ():
    space = minigrid_space()
    observations = [empty(space) for _ in range(4)]
    cells = [(BALL, RED, 0), (KEY, RED, 0), (BALL, GREEN, 0), (KEY, GREEN, 0)]
    for observation, cell in zip(observations, cells, strict=True):
        observation["image"][1, 1] = cell
    assert differ(space, *observations)


def test_places_of_the_cells_count():
    space = minigrid_space()
    apart, swapped, turned, mirrored, upended = (empty(space) for _ in range(5))
    apart["image"][0, 0], apart["image"][2, 1] = (BALL, RED, 0), (KEY, GREEN, 0)
    swapped["image"][0, 0], swapped["image"][2, 1] = (KEY, GREEN, 0), (BALL, RED, 0)
    turned["image"] = apart["image"].transpose(1, 0, 2).copy()
    mirrored["image"] = apart["image"][:, ::-1].copy()
    upended["image"] = apart["image"][::-1].copy()
    assert differ(space, apart, swapped, turned, mirrored, upended)


def test_every_word_its_order_and_the_direction_count():
    space = minigrid_space(words=12)
    facing = empty(space)
    facing["direction"] = np.int64(2)
    missions = [
        "put the red ball near the green key",
        "put the red ball near the green box",
        "put the green ball near the red key",
        "put the green key near the red ball",
        "put the red ball near the green key now",  # a word that no mission has is a word all the same
    ]
    assert differ(space, empty(space), facing, *(empty(space, mission) for mission in missions))


def test_gradients_reach_every_table_and_only_the_rows_that_were_seen():
    space = minigrid_space()
    seen = empty(space)
    seen["image"][0, 0] = (BALL, GREEN, 2)
    encoder = MiniGridExtractor(space)
    encoder(prepare(space, [seen])).sum().backward()

    def rows(table):
        return set(table.weight.grad.abs().sum(1).nonzero().flatten().tolist())

    assert rows(encoder.objects) == {OBJECT_TO_IDX["empty"], BALL}
    assert rows(encoder.colors) == {0, GREEN}
    assert rows(encoder.states) == {0, 2}
    assert rows(encoder.words) == set(seen["mission"].tolist()) - {0}
    assert all(parameter.grad is not None for parameter in encoder.parameters())


def test_other_keys_are_joined_in():
    space = minigrid_space(
        previous_action=spaces.Box(0, 1, (3,), np.float32),
        previous_reward=spaces.Box(-9, 9, (1,), np.float32),
    )
    plain = empty(space) | {
        "previous_action": np.zeros(3, np.float32),
        "previous_reward": np.zeros(1, np.float32),
    }
    acted = plain | {"previous_action": np.float32([0, 1, 0])}
    rewarded = plain | {"previous_reward": np.float32([1])}
    assert differ(space, plain, acted, rewarded)
    assert default_extractor(space) == (MiniGridExtractor, {})


def test_the_tables_hold_what_minigrid_can_show():
    env = make_env("MiniGrid-MemoryS7-v0", view_size=3)
    encoder = MiniGridExtractor(env.observation_space, features_dim=40, embedding_dim=6)
    assert encoder.objects.weight.shape == (11, 6)
    assert encoder.colors.weight.shape == (6, 6)
    assert encoder.states.weight.shape == (4, 6)
    highest = {key: np.asarray(part.high if key != "direction" else 3) for key, part in env.observation_space.items()}
    assert encoder(prepare(env.observation_space, [highest])).shape == (1, 40)
    assert encoder.features_dim == 40


def test_unmodified_ppo_trains_every_part():
    env = make_env("MiniGrid-MemoryS7-v0", view_size=3, actions="left,right,forward")
    extractor, keywords = default_extractor(env.observation_space)
    model = PPO(
        "MultiInputPolicy",
        env,
        n_steps=32,
        batch_size=16,
        n_epochs=1,
        seed=0,
        policy_kwargs={"features_extractor_class": extractor, "features_extractor_kwargs": keywords},
        device="cpu",
    )
    encoder = model.policy.features_extractor
    assert isinstance(encoder, MiniGridExtractor)
    # What reaches the encoder are ids: not divided by 255, height and width still in front.
    seen, _ = env.reset(seed=0)
    given = []
    encoder.register_forward_pre_hook(lambda module, inputs: given.append(inputs[0]["image"].clone()))
    model.predict(seen)
    np.testing.assert_array_equal(given[0][0].numpy(), seen["image"])
    before = {name: parameter.clone() for name, parameter in encoder.named_parameters()}
    model.learn(32)
    same = [name for name, parameter in encoder.named_parameters() if torch.equal(parameter, before[name])]
    assert same == []


@pytest.mark.parametrize("shape", [(3, 3, 3), (1, 4, 7), (3, 7, 7), (3, 10, 3), (12, 16, 16), (3, 35, 50)])
def test_small_images_of_any_shape_are_seen_whole(shape):
    torch.manual_seed(0)
    encoder = ImageExtractor(spaces.Box(0, 255, shape, np.uint8), features_dim=64)
    images = torch.rand(64, *shape, requires_grad=True)
    features = encoder(images)
    assert features.shape == (64, 64)
    features.sum().backward()
    assert (images.grad.abs().sum(0) > 0).all()  # every pixel counts


@pytest.mark.parametrize("shape", [(3, 36, 36), (4, 84, 84), (3, 40, 64)])
def test_large_images_go_through_the_network_of_sb3(shape):
    space = spaces.Box(0, 255, shape, np.uint8)
    peer = NatureCNN(space, features_dim=32)
    encoder = ImageExtractor(space, features_dim=32)
    encoder.load_state_dict(peer.state_dict())
    images = torch.rand(5, *shape)
    torch.testing.assert_close(encoder(images), peer(images))


def test_dicts_are_combined_as_in_sb3():
    space = spaces.Dict(
        {
            "camera": spaces.Box(0, 255, (3, 40, 40), np.uint8),
            "arm": spaces.Box(-1, 1, (2, 3), np.float32),
            "gear": spaces.Discrete(4),
        }
    )
    peer, encoder = CombinedExtractor(space), DictExtractor(space)
    encoder.load_state_dict(peer.state_dict())
    assert encoder.features_dim == peer.features_dim
    batch = {
        "camera": torch.rand(5, 3, 40, 40),
        "arm": torch.rand(5, 2, 3),
        "gear": torch.eye(4)[[0, 1, 2, 3, 0]],
    }
    torch.testing.assert_close(encoder(batch), peer(batch))


def test_dicts_with_small_images_work_where_sb3_gives_up():
    space = spaces.Dict({"view": spaces.Box(0, 255, (3, 7, 7), np.uint8), "gear": spaces.Discrete(2)})
    with pytest.raises(RuntimeError):
        CombinedExtractor(space)
    encoder = DictExtractor(space, image_features_dim=16)
    assert encoder({"view": torch.rand(2, 3, 7, 7), "gear": torch.eye(2)}).shape == (2, 18) == (2, encoder.features_dim)


@pytest.mark.parametrize(
    ("space", "wanted"),
    [
        (spaces.Box(-1, 1, (2,)), FlattenExtractor),
        (spaces.Discrete(4), FlattenExtractor),
        (spaces.MultiDiscrete([2, 4]), FlattenExtractor),
        (spaces.MultiBinary(3), FlattenExtractor),
        (spaces.Box(0, 255, (3, 5, 5), np.uint8), ImageExtractor),
        (spaces.Box(0, 1, (3, 5, 5), np.float32), FlattenExtractor),
        (spaces.Dict({"a": spaces.Discrete(2)}), DictExtractor),
        (minigrid_space(), MiniGridExtractor),
        # Pixels under MiniGrid's names are pixels.
        (
            spaces.Dict(
                {
                    "image": spaces.Box(0, 255, (5, 5, 3), np.uint8),
                    "mission": spaces.Box(0, 9, (4,), np.uint8),
                }
            ),
            DictExtractor,
        ),
        (spaces.Dict({"image": spaces.Discrete(3), "mission": spaces.Discrete(3)}), DictExtractor),
    ],
    ids=str,
)
def test_the_default_fits_the_space(space, wanted):
    assert default_extractor(space) == (wanted, {})
    assert wanted(space).features_dim > 0


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: MiniGridExtractor(spaces.Dict({"image": spaces.Discrete(2)})), "observation_space"),
        (lambda: MiniGridExtractor(minigrid_space(), features_dim=0), "features_dim: 0"),
        (lambda: MiniGridExtractor(minigrid_space(), embedding_dim=0), "embedding_dim: 0"),
        (lambda: ImageExtractor(spaces.Box(0, 255, (3, 2, 8), np.uint8)), "2 x 8 given, at least 3 x 3"),
        (lambda: ImageExtractor(spaces.Box(-1, 1, (4,))), r"a Box \(channels, height, width\) needed"),
        (
            lambda: ImageExtractor(spaces.Box(0, 255, (3, 8, 8), np.uint8), features_dim=-1),
            "features_dim: -1",
        ),
    ],
)
def test_what_does_not_fit_is_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()
