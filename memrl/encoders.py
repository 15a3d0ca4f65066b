"""Observation encoders: from one step's observation to one feature vector, as SB3 features extractors.

They work in memrl's agents and in unmodified Stable-Baselines3. SB3 prepares what they see: numbers become
float32, uint8 images in [0, 255] are divided by 255 and put channels first, Discrete and MultiDiscrete become
one-hot.
"""

from typing import Any, cast

import torch
from gymnasium import spaces
from stable_baselines3.common.preprocessing import get_flattened_obs_dim, is_image_space
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, FlattenExtractor
from torch import Tensor, nn

# The smallest side for which all three layers of the DQN network have an output.
_NATURE_SIDE = 36


class MiniGridExtractor(BaseFeaturesExtractor):
    """Encode MiniGrid's symbolic view, direction and mission text, as `memrl.envs.make_env` gives them.

    Every cell is the sum of three embeddings: its object, its color, its state. Views up to 7 x 7 go through
    one linear layer, larger ones through strided convolutions first. The words of the mission are embedded
    and keep their places, so their order counts. Other keys (direction, previous action, ...) are flattened
    and joined in.

    Args:
        observation_space: Dict with "image", a Box of ids of shape (height, width, 3), and "mission", a Box
            of token ids of shape (words,); the highest ids allowed by the boxes give the sizes of the tables.
        features_dim: width of the features, at least 1.
        embedding_dim: width of one cell's or one word's embedding, at least 1.

    Raises:
        ValueError: the space is not as above, or a width is below 1.
    """

    def __init__(self, observation_space: spaces.Dict, features_dim: int = 128, embedding_dim: int = 16) -> None:
        if not is_minigrid_space(observation_space):
            raise ValueError(
                f"observation_space: {observation_space} given, MiniGrid's Dict of image and mission needed"
            )
        _check_width("features_dim", features_dim)
        _check_width("embedding_dim", embedding_dim)
        super().__init__(observation_space, features_dim)
        image, mission = (cast(spaces.Box, observation_space[key]) for key in ("image", "mission"))
        self.objects, self.colors, self.states = (
            nn.Embedding(int(image.high[..., channel].max()) + 1, embedding_dim) for channel in range(3)
        )
        for table in (self.objects, self.colors, self.states):
            nn.init.normal_(table.weight, std=3**-0.5)  # the sum of three then has variance 1
        self.words = nn.Embedding(int(mission.high.max()) + 1, embedding_dim, padding_idx=0)

        height, width, _ = image.shape
        self.view, view_size = _shrink(embedding_dim, height, width, down_to=7)
        self.cells = nn.Sequential(nn.Linear(view_size, features_dim), nn.ReLU())
        self.sentence = nn.Sequential(nn.Linear(mission.shape[0] * embedding_dim, 32), nn.ReLU())
        self.others = [key for key in observation_space.spaces if key not in ("image", "mission")]
        others_dim = sum(get_flattened_obs_dim(observation_space[key]) for key in self.others)
        self.join = nn.Sequential(nn.Linear(features_dim + 32 + others_dim, features_dim), nn.ReLU())

    def forward(self, observations: dict[str, Tensor]) -> Tensor:
        """Ids as floats, (B, height, width, 3) and (B, words), to features (B, features_dim)."""
        objects, colors, states = observations["image"].long().unbind(-1)
        cells = self.objects(objects) + self.colors(colors) + self.states(states)
        words = self.words(observations["mission"].long())
        parts = [self.cells(self.view(cells.permute(0, 3, 1, 2))), self.sentence(words.flatten(1))]
        parts += [observations[key].flatten(1) for key in self.others]
        features: Tensor = self.join(torch.cat(parts, dim=1))
        return features


class ImageExtractor(BaseFeaturesExtractor):
    """A convolutional network for images of any size, 3 x 3 and up.

    From 36 x 36 on it is the network of Mnih et al. 2015, "Human-level control through deep reinforcement
    learning", Methods, which cannot take anything smaller; below, 3 x 3 convolutions halve the image until it
    is 4 x 4 or less.

    Args:
        observation_space: Box of shape (channels, height, width), channels first as SB3 arranges it.
        features_dim: width of the features, at least 1.

    Raises:
        ValueError: the space is not a Box of three axes with sides of at least 3, or the width is below 1.
    """

    def __init__(self, observation_space: spaces.Space[Any], features_dim: int = 256) -> None:
        if not isinstance(observation_space, spaces.Box) or len(observation_space.shape) != 3:
            raise ValueError(f"observation_space: {observation_space} given, a Box (channels, height, width) needed")
        channels, height, width = observation_space.shape
        if min(height, width) < 3:
            raise ValueError(f"observation_space: image of {height} x {width} given, at least 3 x 3 needed")
        _check_width("features_dim", features_dim)
        super().__init__(observation_space, features_dim)
        if min(height, width) >= _NATURE_SIDE:
            self.cnn = nn.Sequential(
                *(nn.Conv2d(channels, 32, kernel_size=8, stride=4), nn.ReLU()),
                *(nn.Conv2d(32, 64, kernel_size=4, stride=2), nn.ReLU()),
                *(nn.Conv2d(64, 64, kernel_size=3), nn.ReLU(), nn.Flatten()),
            )
            with torch.no_grad():
                size = self.cnn(torch.zeros(1, channels, height, width)).shape[1]
        else:
            shrink, size = _shrink(32, height, width, down_to=4)
            self.cnn = nn.Sequential(nn.Conv2d(channels, 32, kernel_size=3, padding=1), nn.ReLU(), shrink)
        self.linear = nn.Sequential(nn.Linear(size, features_dim), nn.ReLU())

    def forward(self, observations: Tensor) -> Tensor:
        """Images (B, channels, height, width) to features (B, features_dim)."""
        features: Tensor = self.linear(self.cnn(observations))
        return features


class DictExtractor(BaseFeaturesExtractor):
    """SB3's CombinedExtractor for Dict observations, with images of any size.

    Args:
        observation_space: Dict of spaces that are not Dicts themselves; images channels first.
        image_features_dim: features for each image; everything else is flattened.
    """

    def __init__(self, observation_space: spaces.Dict, image_features_dim: int = 256) -> None:
        encoders: dict[str, nn.Module] = {}
        features_dim = 0
        for key, space in observation_space.spaces.items():
            image = is_image_space(space)
            encoders[key] = ImageExtractor(space, image_features_dim) if image else nn.Flatten()
            features_dim += image_features_dim if image else get_flattened_obs_dim(space)
        super().__init__(observation_space, features_dim)
        self.extractors = nn.ModuleDict(encoders)

    def forward(self, observations: dict[str, Tensor]) -> Tensor:
        """A Dict of batches to features (B, features_dim), in the order of the space's keys."""
        return torch.cat([encoder(observations[key]) for key, encoder in self.extractors.items()], dim=1)


def default_extractor(
    observation_space: spaces.Space[Any],
) -> tuple[type[BaseFeaturesExtractor], dict[str, Any]]:
    """The encoder that fits a space, and its keyword arguments.

    >>> default_extractor(spaces.Box(-1, 1, (4,)))[0].__name__
    'FlattenExtractor'
    """
    if is_minigrid_space(observation_space):
        return MiniGridExtractor, {}
    if isinstance(observation_space, spaces.Dict):
        return DictExtractor, {}
    if is_image_space(observation_space):
        return ImageExtractor, {}
    return FlattenExtractor, {}


def is_minigrid_space(space: spaces.Space[Any]) -> bool:
    """Whether observations hold MiniGrid's cell ids and mission tokens, as `memrl.envs.make_env` has them."""
    if not isinstance(space, spaces.Dict) or not {"image", "mission"} <= space.spaces.keys():
        return False
    image, mission = space["image"], space["mission"]
    return (
        (isinstance(image, spaces.Box) and isinstance(mission, spaces.Box))
        and (len(image.shape) == 3 and image.shape[2] == 3 and len(mission.shape) == 1)
        and (image.dtype.kind in "ui" and mission.dtype.kind in "ui")
        and not is_image_space(image)  # pixels, not ids
    )


def _shrink(channels: int, height: int, width: int, down_to: int) -> tuple[nn.Sequential, int]:
    """Halve an image until no side is longer than `down_to`, then flatten it; also the flattened size."""
    layers: list[nn.Module] = []
    while max(height, width) > down_to:
        layers += [nn.Conv2d(channels, 64, kernel_size=3, stride=2, padding=1), nn.ReLU()]
        channels, height, width = 64, (height + 1) // 2, (width + 1) // 2
    return nn.Sequential(*layers, nn.Flatten()), channels * height * width


def _check_width(name: str, width: int) -> None:
    if width < 1:
        raise ValueError(f"{name}: {width} given, at least 1 needed")
