"""Mission texts of MiniGrid and BabyAI as token ids."""

import re
from typing import Any

import numpy as np
from minigrid.core.mission import MissionSpace
from numpy.typing import NDArray

PADDING, UNKNOWN = 0, 1

# Every word and sign that MiniGrid 3.2 and BabyAI put into a mission. The place in the list is the token id
# minus 2, so that saved models stay readable: only append.
WORDS = (  # noqa: SIM905  # as a list it would take 54 lines
    ", a after and at avoid ball behind blue box door end fetch find from front get go goal green grey "
    "hallway in key lava left matching maze must near next object of on open opening pick purple put reach "
    "red right room rooms square the then to traverse unlock up use yellow you your"
).split()
VOCABULARY = {word: token for token, word in enumerate(WORDS, start=2)}
VOCABULARY_SIZE = len(WORDS) + 2

# The longest sentence of the BabyAI grammar: two pairs of "put the red ball in front of you next to the red
# ball in front of you" (17 words), each joined by "and", the pairs by "after you" or ", then".
LONGEST_BABYAI_MISSION = 2 * (17 + 1 + 17) + 2

_WORD_OR_SIGN = re.compile(r"[a-z]+|[^\sa-z]")


def split_mission(mission: str) -> list[str]:
    """Lower-case words and single signs.

    >>> split_mission("Open the red door, then go")
    ['open', 'the', 'red', 'door', ',', 'then', 'go']
    """
    return _WORD_OR_SIGN.findall(mission.lower())


def encode_mission(mission: str, length: int) -> NDArray[np.uint8]:
    """Token ids of a mission, padded with 0 to a fixed length; 1 for a word that is in no MiniGrid mission.

    Raises:
        ValueError: the mission has more than `length` words and signs.

    >>> encode_mission("go to the zebra", 5)
    array([19, 49, 47,  1,  0], dtype=uint8)
    """
    words = split_mission(mission)
    if len(words) > length:
        raise ValueError(f"mission_length: {length} given, but a mission has {len(words)} words: {mission!r}")
    tokens = np.zeros(length, np.uint8)
    tokens[: len(words)] = [VOCABULARY.get(word, UNKNOWN) for word in words]
    return tokens


def longest_mission(space: Any) -> int:
    """How many words and signs a mission of this space can have.

    BabyAI's space does not tell what missions there are, so it gets room for all of BabyAI's.

    >>> longest_mission(MissionSpace(lambda color: f"get the {color} ball", [["red", "dark red"]]))
    5
    """
    if type(space) is not MissionSpace:
        return LONGEST_BABYAI_MISSION
    choices = space.ordered_placeholders or []
    longest = [max(texts, key=lambda text: len(split_mission(text))) for texts in choices]
    return len(split_mission(space.mission_func(*longest)))
