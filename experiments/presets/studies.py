"""Whether the preset `default` is sane: environments without a preset of their own, each a memory and no memory."""

SETTINGS = "--n-envs 32 --set learning_rate=lin_1e-3 batch_size=1024"  # those of memrl/presets/default.yaml

STUDIES = {
    # Control: the velocity of a pendulum whose angle alone is seen.
    "position_only_pendulum": (
        f"--env memrl/PositionOnlyPendulum-v0 --cores none,gru --seeds 3 --steps 500000 {SETTINGS}"
    ),
    # Recall over few steps: which end of a corridor is the good one.
    "proof_of_memory": f"--env memrl/ProofOfMemory-v0 --cores none,gru --seeds 3 --steps 300000 {SETTINGS}",
    # Recall over an episode: the suit of the first of 52 cards.
    "repeat_first": f"--env memrl/RepeatFirst-v0 --cores none,gru --seeds 3 --steps 500000 {SETTINGS}",
}
