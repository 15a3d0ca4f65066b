"""memrl/ProofOfMemory-v0 against the rules of PocMemory and ProofofMemory, and by brute force over policies."""

import itertools

import gymnasium as gym
import numpy as np
import pytest

from memrl.envs import ProofOfMemory

LEFT, RIGHT = range(2)
STARTS = [-0.4, -0.2, 0.0, 0.2, 0.4]


class Specification:
    """The rules as they are written: positions are numbers, the ends are shown for two steps."""

    def __init__(self, start, goals, frozen, limit=16):
        self.position, self.goals, self.frozen, self.limit, self.time = start, goals, frozen, limit, 0

    def see(self):
        left, right = self.goals if self.time <= 2 else (0, 0)
        return np.array([left, self.position, right], np.float32).tolist()

    def step(self, action):
        self.time += 1
        if self.frozen and self.time <= 2:
            return self.see(), 0.0, False, self.time == self.limit
        self.position = round(self.position + (0.2 if action == RIGHT else -0.2), 2)
        if abs(self.position) == 1:
            goal = self.goals[0 if self.position < 0 else 1]
            return self.see(), goal * (1 + 6 * 0.1), True, False
        return self.see(), -0.1, False, self.time == self.limit


def hidden(env):
    copies = env.unwrapped.copies
    return round(0.2 * int(copies.place[0]), 2), (-int(copies.good[0]), int(copies.good[0]))


@pytest.mark.parametrize("limit", [9, 16, 40])
@pytest.mark.parametrize("frozen", [False, True])
def test_every_step_follows_the_specification(frozen, limit):
    env = gym.make("memrl/ProofOfMemory-v0", frozen=frozen, time_limit=limit)
    random = np.random.default_rng(0)
    endings = set()
    for seed in range(200):
        seen, _ = env.reset(seed=seed)
        line = Specification(*hidden(env), frozen, limit)
        assert seen.tolist() == line.see()
        bias, over = random.random(), False
        while not over:
            action = int(random.random() < bias)
            seen, reward, terminated, truncated, info = env.step(action)
            assert (seen.tolist(), pytest.approx(reward), terminated, truncated) == line.step(action)
            over = terminated or truncated
        assert info["is_success"] == (reward > 0)
        endings.add((terminated, info["is_success"]))
    assert endings == {(True, True), (True, False), (False, False)}


def test_frozen_by_hand():
    env = gym.make("memrl/ProofOfMemory-v0")
    seed = next(seed for seed in range(100) if env.reset(seed=seed) and hidden(env) == (0.4, (-1, 1)))
    trace = [env.reset(seed=seed)[0]]
    rewards = []
    for action in [LEFT, LEFT, RIGHT, RIGHT, RIGHT]:
        seen, reward, terminated, truncated, info = env.step(action)
        trace.append(seen)
        rewards.append(reward)
    shown, hidden_ends = [-1, 0.4, 1], [[0, 0.6, 0], [0, 0.8, 0], [0, 1, 0]]
    np.testing.assert_allclose(trace, [shown, shown, shown, *hidden_ends], rtol=1e-6)
    assert rewards == [0, 0, -0.1, -0.1, 1.6]
    assert (terminated, truncated, info) == (True, False, {"is_success": True})


def test_starts_and_good_ends_are_equally_likely():
    copies = ProofOfMemory(5000)
    copies.reset(seed=0)
    counts = np.histogram2d(copies.place, copies.good, [5, 2], [[-2.5, 2.5], [-2, 2]])[0]
    assert abs(counts - 500).max() < 4 * np.sqrt(450)


@pytest.mark.parametrize("frozen", [False, True])
def test_no_sequence_of_actions_gives_more_than_the_card_says(frozen):
    total = 0.0
    for start, good in itertools.product(STARTS, (-1, 1)):
        returns = []
        for actions in itertools.product((LEFT, RIGHT), repeat=9):
            line, own = Specification(start, (-good, good), frozen), 0.0
            for action in actions:
                _, reward, over, _ = line.step(action)
                own += reward
                if over:
                    break
            returns.append(own)  # whoever needs more steps than 9 loses 0.1 for each
        total += max(returns) / 10
    assert total == pytest.approx(1.2)


def masked_values(go_right, moves=13):
    """Expected return of what follows once the ends are hidden, by good end and place (-5 to 5 is 0 to 10).

    Args:
        go_right: probability to go right, by place -4 to 4.
        moves: that the time limit leaves: 16, less two frozen steps and the one that still sees the ends.
    """
    values = {}
    for good in (-1, 1):
        value = np.zeros(11)
        for _ in range(moves):
            to_left = np.concatenate([[-1.6 * good], -0.1 + value[1:9]])
            to_right = np.concatenate([-0.1 + value[2:10], [1.6 * good]])
            value = np.concatenate([[0], go_right * to_right + (1 - go_right) * to_left, [0]])
        values[good] = value
    return values


def memoryless_return(go_right):
    """Of the best frozen agent that goes by `go_right` where the ends are hidden.

    The one move that it makes with the ends in view may depend on start and good end.
    """
    values = masked_values(np.asarray(go_right, float))
    return np.mean([
        -0.1 + max(values[good][place + 5 - 1], values[good][place + 5 + 1])
        for place in range(-2, 3)
        for good in (-1, 1)
    ])  # fmt: skip


def test_the_best_memoryless_return_when_frozen():
    best = max(itertools.product((0, 1), repeat=9), key=memoryless_return)
    assert memoryless_return(best) == pytest.approx(0.34)
    assert best in [(0, 0, 0, 0, 0, 1, 1, 1, 1), (0, 0, 0, 0, 1, 1, 1, 1, 1)]  # to the nearer end
    # Random policies: near the best one, and anywhere.
    random = np.random.default_rng(0)
    for share in np.linspace(0.001, 1, 1500):
        go_right = (1 - share) * np.array(best) + share * random.beta(0.5, 0.5, 9)
        assert memoryless_return(go_right) < 0.34 + 1e-9


def play(frozen, decide):
    """Mean return of a policy that sees the last observation, over all starts and good ends."""
    returns = []
    for start, good in itertools.product(STARTS, (-1, 1)):
        line, total, over = Specification(start, (-good, good), frozen), 0.0, False
        seen = line.see()
        while not over:
            seen, reward, terminated, truncated = line.step(decide(*seen))
            total, over = total + reward, terminated or truncated
        returns.append(total)
    return np.mean(returns)


def to_the_end_in_view_or_near(left, position, right):
    return int((right or position) > 0)


def to_the_good_end_if_remembered(left, position, right):
    """To the nearer end; with the ends in view, to the good one if that step will do, else away: a shorter mistake."""
    if not right:
        return int(position > 0)
    will_do = (round(position + 0.2 * right, 2) > 0) == (right > 0)
    return int((right > 0) == will_do)


def test_the_best_memoryless_policies_played():
    assert play(True, to_the_good_end_if_remembered) == pytest.approx(0.34)
    # Not frozen, the agent's place keeps what was seen: no memory is needed.
    assert play(False, to_the_end_in_view_or_near) == pytest.approx(1.2)


def test_text_and_picture_show_the_good_end():
    env = gym.make("memrl/ProofOfMemory-v0", render_mode="ansi")
    seeds = [
        next(seed for seed in range(100) if env.reset(seed=seed) and hidden(env) == (0.2, ends))
        for ends in [(-1, 1), (1, -1)]
    ]
    env.reset(seed=seeds[0])
    assert env.render() == "-.....A...+\nstep 0 of at most 16\n"
    env = gym.make("memrl/ProofOfMemory-v0", render_mode="rgb_array")
    for seed, (left, right) in zip(
        seeds, [((205, 85, 75), (80, 170, 90)), ((80, 170, 90), (205, 85, 75))], strict=True
    ):
        env.reset(seed=seed)
        picture = env.render()
        assert (tuple(picture[40, 40]), tuple(picture[40, -40])) == (left, right)
        framed = picture[17, 30]
        for _ in range(3):
            env.step(RIGHT)
        assert (env.render()[17, 30] != framed).any()


@pytest.mark.parametrize(
    ("keywords", "named"),
    [({"frozen": 1}, "frozen"), ({"frozen": "no"}, "frozen"), ({"time_limit": 8}, "time_limit")],
)
def test_bad_keywords_are_named(keywords, named):
    with pytest.raises(ValueError, match=f"^{named}: "):
        ProofOfMemory(2, **keywords)
