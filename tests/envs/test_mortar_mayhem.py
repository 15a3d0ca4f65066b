"""memrl/MortarMayhem-v0 against the rules of Memory Gym's MortarMayhem-Grid, step by step, and what needs no memory."""

import itertools

import gymnasium as gym
import numpy as np
import pytest

from memrl.envs import MortarMayhem, list_envs

STAY, LEFT, RIGHT, FORWARD = range(4)
HEADINGS = [(0, -1), (-1, 0), (0, 1), (1, 0)]  # x, y; a left turn leads to the next one
COMMANDS = [*HEADINGS, (0, 0)]


class Specification:
    """The game told by counters that run down, not by a calendar of steps."""

    def __init__(self, start, commands, size=5, show=3, gap=1, delay=6, duration=2):
        self.at, self.heading, self.size = start, 0, size
        self.delay, self.duration = delay, duration
        self.left = list(commands)  # to be carried out
        self.frames = [frame for command in commands for frame in [command] * show + [None] * gap]
        self.target = self._after(start, self.left[0])
        self.fuse, self.burning = delay + 1, 0

    def _after(self, tile, command):
        return tile[0] + COMMANDS[command][0], tile[1] + COMMANDS[command][1]

    def see(self):
        tile, heading, command = np.zeros(self.size**2), np.zeros(4), np.zeros(5)
        tile[self.at[1] * self.size + self.at[0]] = heading[self.heading] = 1
        if self.frames and self.frames[0] is not None:
            command[self.frames[0]] = 1
        return [*tile, *heading, *command, float(self.burning > 0)]

    def step(self, action):
        """Reward, and whether the episode is over and a success."""
        if self.frames:
            self.frames.pop(0)
            if self.frames:
                return 0.0, False, False
        if action == LEFT:
            self.heading = (self.heading + 1) % 4
        elif action == RIGHT:
            self.heading = (self.heading - 1) % 4
        elif action == FORWARD:
            x, y = self._after(self.at, self.heading)
            if 0 <= x < self.size and 0 <= y < self.size:
                self.at = x, y
        if self.burning:
            self.burning -= 1
            if self.burning:
                return 0.0, self.at != self.target, False
            self.left.pop(0)
            self.target = self._after(self.target, self.left[0])
            self.fuse = self.delay
            return 0.0, False, False
        self.fuse -= 1
        if self.fuse:
            return 0.0, False, False
        self.burning = self.duration
        right = self.at == self.target
        last = len(self.left) == 1
        return 0.1 * right, not right or last, right and last


def specification_of(env, **keywords):
    """Start and commands, read from the environment."""
    copies = env.unwrapped.copies
    tiles = [(tile % copies.arena_size, tile // copies.arena_size) for tile in copies.targets[0].tolist()]
    commands = [COMMANDS.index((b[0] - a[0], b[1] - a[1])) for a, b in itertools.pairwise(tiles)]
    return Specification(tiles[0], commands, **keywords)


SETTINGS = [
    ({}, {}),
    ({"num_commands": 3, "explosion_delay": 2, "explosion_duration": 1}, {"delay": 2, "duration": 1}),
    (
        {"num_commands": 4, "arena_size": 2, "show_duration": 1, "show_delay": 0, "explosion_duration": 5},
        {"size": 2, "show": 1, "gap": 0, "duration": 5},
    ),
    ({"num_commands": 1, "arena_size": 3, "show_delay": 4}, {"size": 3, "gap": 4}),
]


@pytest.mark.parametrize(("keywords", "same"), SETTINGS)
def test_every_step_follows_the_specification(keywords, same):
    env = gym.make("memrl/MortarMayhem-v0", **keywords)
    random = np.random.default_rng(0)
    successes, lengths = [], []
    for seed in range(60):
        seen, _ = env.reset(seed=seed)
        game = specification_of(env, **same)
        assert seen.tolist() == game.see()
        care, over, steps = random.choice([0.0, 0.5, 0.9, 1.0]), False, 0
        while not over:
            action = env.unwrapped.oracle() if random.random() < care else random.integers(4)
            seen, reward, terminated, truncated, info = env.step(action)
            expected, over, success = game.step(action)
            assert (seen.tolist(), terminated, truncated) == (game.see(), over, False)
            assert reward == pytest.approx(expected)
            steps += 1
        assert info == {"is_success": success}
        successes.append(success)
        lengths.append(steps)
    assert {True, False} == set(successes)
    assert max(lengths) == env.unwrapped.copies.horizon


@pytest.mark.parametrize("keywords", [{}, {"explosion_delay": 2, "explosion_duration": 1}, {"arena_size": 9}])
def test_the_oracle_carries_out_every_command(keywords):
    copies = MortarMayhem(200, **keywords)
    copies.reset(seed=0)
    for _ in range(copies.horizon):
        _, _, terminated, _, infos = copies.step(copies.oracle())
    assert terminated.all()  # and none before
    assert infos["final_info"]["is_success"].all()


def test_the_longest_episode_has_118_steps():
    assert MortarMayhem(1).horizon == (3 + 1) * 10 + (6 + 2) * 10 - 2 == 118


def test_two_commands_by_hand():
    env = gym.make(
        "memrl/MortarMayhem-v0", num_commands=2, show_duration=1, show_delay=1, explosion_delay=3, explosion_duration=2
    )
    east_south = next(
        seed for seed in range(1000) if env.reset(seed=seed) and specification_of(env).left == [3, 2]
    )  # fmt: skip
    seen, _ = env.reset(seed=east_south)
    start = seen[:25].argmax()
    shown = [seen[29:34].tolist()]
    for _ in range(3):  # nothing moves
        seen, reward, over, _, _ = env.step(FORWARD)
        assert (seen[:25].argmax(), seen[25:29].argmax(), reward, over) == (start, 0, 0, False)
        shown.append(seen[29:34].tolist())
    assert shown == [[0, 0, 0, 1, 0], [0] * 5, [0, 0, 1, 0, 0], [0] * 5]
    trace = []
    for action in [RIGHT, FORWARD, STAY, STAY, RIGHT, FORWARD, STAY, STAY, STAY]:
        seen, reward, over, _, info = env.step(action)
        trace.append((int(seen[:25].argmax() - start), int(seen[-1]), reward, over))
    assert trace[:4] == [(0, 0, 0, False), (1, 0, 0, False), (1, 0, 0, False), (1, 1, 0.1, False)]
    # The explosion is seen twice; turning in it is allowed, and the step after its last sight may leave the tile.
    assert trace[4:6] == [(1, 1, 0, False), (6, 0, 0, False)]
    assert trace[6:] == [(6, 0, 0, False), (6, 0, 0, False), (6, 1, 0.1, True)]
    assert info == {"is_success": True}


def test_walking_onto_an_exploding_tile_ends_the_episode():
    env = gym.make("memrl/MortarMayhem-v0", num_commands=2)
    walked = 0
    for seed in range(20):
        seen, _ = env.reset(seed=seed)
        total = 0.0
        while not seen[-1]:
            seen, reward, over, _, _ = env.step(env.unwrapped.oracle())
            total += reward
        assert (total, over) == (0.1, False)
        before = seen[:25].argmax()
        seen, reward, over, _, info = env.step(FORWARD)
        assert over == (seen[:25].argmax() != before)
        if over:
            walked += 1
            assert (reward, info) == (0, {"is_success": False})
    assert walked > 5


def valid_commands(x, y, size):
    return [(x + dx, y + dy) for dx, dy in COMMANDS if 0 <= x + dx < size and 0 <= y + dy < size]


def test_starts_and_commands_are_equally_likely():
    copies = MortarMayhem(3000)
    copies.reset(seed=0)
    starts = np.bincount(copies.targets[:, 0], minlength=25)
    assert abs(starts - 120).max() < 4 * np.sqrt(120)
    counts = {}
    for tiles in copies.targets.tolist():
        for tile, there in itertools.pairwise(tiles):
            counts.setdefault(tile, {}).setdefault(there, 0)
            counts[tile][there] += 1
    assert len(counts) == 25
    for tile, own in counts.items():
        valid = [y * 5 + x for x, y in valid_commands(tile % 5, tile // 5, 5)]
        assert set(own) == set(valid)
        mean = sum(own.values()) / len(valid)
        assert max(abs(count - mean) for count in own.values()) < 4.5 * np.sqrt(mean)


def test_steps_to_remember():
    """From the last sight of the tenth command to the observation before the first step that it asks for."""
    game = Specification((2, 2), [4] * 10)
    last_seen = last_needed = None
    for step in range(118):
        if game.frames.count(4) == 1 and len([frame for frame in game.frames if frame is not None]) == 1:
            last_seen = step
        if last_needed is None and len(game.left) == 1:
            last_needed = step - 1
        game.step(STAY)
    (card,) = [card for card in list_envs() if card.id == "memrl/MortarMayhem-v0"]
    assert last_needed - last_seen == card.steps_to_remember


# Without memory of the commands. A command asks for one of the k tiles (3 in corners, 4 at borders, 5 inside) that are
# valid from the last target, which an agent that is still there stands on; so any player who has forgotten the commands
# gets one right with chance 1/k, and chooses only from where to meet the next one.


def bound(size, num_commands):
    """Expected return of the best player who knows everything but the commands: no memoryless one gets more."""
    tiles = [(x, y) for x in range(size) for y in range(size)]
    value = dict.fromkeys(tiles, 0.0)
    for _ in range(num_commands):
        value = {
            tile: (0.1 + max(value[there] for there in valid_commands(*tile, size))) / len(valid_commands(*tile, size))
            for tile in tiles
        }
    return np.mean(list(value.values()))


@pytest.mark.parametrize(("size", "num_commands"), [(2, 1), (2, 2), (3, 1)])
def test_the_bound_by_brute_force_over_all_sequences_of_actions(size, num_commands):
    timing = {"size": size, "show": 1, "gap": 0, "delay": 2, "duration": 1}
    best = []
    for start in itertools.product(range(size), repeat=2):
        lists = [[]]
        for _ in range(num_commands):
            lists = [
                [*commands, command]
                for commands in lists
                for command in range(5)
                if (end := np.sum([start, *(COMMANDS[c] for c in [*commands, command])], axis=0)).min() >= 0
                and end.max() < size
            ]
        chances = [chance(start, commands, size) for commands in lists]
        assert sum(chances) == pytest.approx(1)
        totals = []
        for actions in itertools.product(range(4), repeat=3 * num_commands):
            total = 0.0
            for commands, weight in zip(lists, chances, strict=True):
                game = Specification(start, commands, **timing)
                for _ in range(num_commands - 1):
                    game.step(STAY)
                for action in actions:
                    reward, over, _ = game.step(action)
                    total += weight * reward
                    if over:
                        break
            totals.append(total)
        best.append(max(totals))
    assert np.mean(best) == pytest.approx(bound(size, num_commands))


def chance(tile, commands, size):
    weight = 1.0
    for command in commands:
        weight /= len(valid_commands(*tile, size))
        tile = tile[0] + COMMANDS[command][0], tile[1] + COMMANDS[command][1]
    return weight


def corner_policy():
    """Actions by (tile, heading, explosion) of an agent that goes to a near corner and stays; its heading remembers.

    In one command it goes from beside a corner into it, or from diagonally beside it to its side. There it has arrived
    with another heading than north, which tells it to wait; it turns in the explosion. Others stay, or go one tile.
    """
    policy = {}

    def go(tile, heading, turn):
        """From facing north, turn to `heading` and step."""
        now = 0
        while now != heading:
            policy[tile, now, 0] = turn
            now = (now + (1 if turn == LEFT else -1)) % 4
        policy[tile, heading, 0] = FORWARD

    for corner_x, beside_x, sideways in [(0, 1, 1), (4, 3, 3)]:  # west, east
        turn = LEFT if sideways == 1 else RIGHT
        back = RIGHT if sideways == 1 else LEFT
        for beside_y, along in [(1, 0), (3, 2)]:  # north, south
            corner_y = 0 if along == 0 else 4
            go((beside_x, corner_y), sideways, turn)
            go((beside_x, beside_y), sideways, turn)
            go((corner_x, beside_y), along, back)
            # Arrived from diagonally beside the corner: turn on, the shorter way, while tiles explode.
            policy[(corner_x, beside_y), sideways, 1] = back if along == 0 else turn
        go((beside_x, 2), sideways, turn)
    go((2, 1), 0, STAY)
    go((2, 3), 2, LEFT)
    return policy


def expected_return(policy, start):
    """Exact return from a start: the agent's way is certain as long as it lives, and so are its chances."""
    at, heading, explosion, target, alive, total = start, 0, 0, start, 1.0, 0.0
    for step in range(40, 119):
        action = policy.get((at, heading, explosion), STAY)
        if action == FORWARD:
            there = at[0] + HEADINGS[heading][0], at[1] + HEADINGS[heading][1]
            at = there if 0 <= there[0] < 5 and 0 <= there[1] < 5 else at
        heading = (heading + {LEFT: 1, RIGHT: -1}.get(action, 0)) % 4
        since = (step - 46) % 8 if step >= 46 else None
        explosion = int(since in (0, 1))
        if since == 0:
            valid = valid_commands(*target, 5)
            alive *= (at in valid) / len(valid)
            total, target = total + 0.1 * alive, at
        elif since == 1:
            alive *= at == target
    return total


def test_the_best_memoryless_return():
    """It lies between that of a policy and the bound; the card has what both round to."""
    policy = corner_policy()
    returns = [expected_return(policy, (x, y)) for x in range(5) for y in range(5)]
    assert 0.03499 < np.mean(returns) < bound(5, 10) < 0.03522
    # On an arena of four corners both are the same.
    stay = np.mean([sum(0.1 / 3**n for n in range(1, 11))] * 4)
    assert bound(2, 10) == pytest.approx(stay)


def test_the_memoryless_policy_played():
    copies = MortarMayhem(4000)
    seen, _ = copies.reset(seed=0)
    table = np.zeros((2, 4, 25), np.int64)
    for ((x, y), heading, explosion), action in corner_policy().items():
        table[explosion, heading, y * 5 + x] = action
    returns, running = np.zeros(4000), np.ones(4000, bool)
    for _ in range(copies.horizon):
        actions = table[seen[:, -1].astype(int), seen[:, 25:29].argmax(axis=1), seen[:, :25].argmax(axis=1)]
        seen, rewards, terminated, _, _ = copies.step(actions)
        returns += rewards * running
        running &= ~terminated
    assert not running.any()
    assert abs(returns.mean() - 0.035) < 4 * returns.std() / 4000**0.5


def test_text_shows_target_and_commands():
    env = gym.make("memrl/MortarMayhem-v0", arena_size=3, num_commands=2, render_mode="ansi")
    seed = next(
        seed
        for seed in range(1000)
        if env.reset(seed=seed) and (specification_of(env).at, specification_of(env).left) == ((1, 1), [3, 4])
    )
    env.reset(seed=seed)
    assert env.render() == "...\n.^x\n...\n[>] o\nstep 0 of 22: commands are shown\n"
    for _ in range(14):
        env.step(env.unwrapped.oracle())
    assert env.render() == "###\n##>\n###\n[>] o\nstep 14 of 22: explosion\n"


def test_picture_marks_the_target():
    for keywords in ({}, {"arena_size": 32, "num_commands": 120}):
        env = gym.make("memrl/MortarMayhem-v0", render_mode="rgb_array", **keywords)
        env.reset(seed=0)
        copies = env.unwrapped.copies
        picture = env.render()
        assert max(picture.shape) < 1200
        cell = min(56, 900 // copies.arena_size)
        left = (picture.shape[1] - copies.arena_size * cell) // 2
        target = copies.targets[0, 1]
        x, y = left + target % copies.arena_size * cell + 2, 20 + target // copies.arena_size * cell + 2
        assert tuple(picture[y, x]) == (80, 170, 90)


@pytest.mark.parametrize(
    ("keywords", "named"),
    [
        ({"num_commands": 0}, "num_commands"),
        ({"num_commands": 10**6}, "num_commands"),
        ({"arena_size": 1}, "arena_size"),
        ({"arena_size": 5.0}, "arena_size"),
        ({"show_duration": 0}, "show_duration"),
        ({"show_delay": -1}, "show_delay"),
        ({"explosion_delay": 1}, "explosion_delay"),
        ({"explosion_duration": 0}, "explosion_duration"),
        ({"explosion_duration": True}, "explosion_duration"),
    ],
)
def test_bad_keywords_are_named(keywords, named):
    with pytest.raises(ValueError, match=f"^{named}: "):
        MortarMayhem(2, **keywords)
