"""The studies of this experiment: which command answers which question."""

STUDIES = {
    # Does every memory learn what the memoryless control cannot? Once it has, training ends: one of 15 runs that went
    # on had forgotten it at the end.
    "tmaze_10": (
        "--env memrl/TMaze-v0 --cores none,lstm,gru,ntm,dnc,memformer --seeds 3 --steps 150000 --n-envs 32"
        " --stop-at 0.98 --threshold 0.95 --set learning_rate=lin_1e-3 n_steps=64 ent_coef=0.03"
    ),
    # The same over a longer corridor, to be remembered for 50 steps. The trap is to walk to the junction and never
    # turn, return 0: an entropy bonus of 0.05 keeps turning likely enough to be found, and gates that start with
    # memories of up to 64 steps carry the sign there.
    "tmaze_50_lstm": (
        "--env memrl/TMaze-v0 --env-set length=50 --cores lstm --seeds 3 --steps 2000000 --n-envs 32"
        " --stop-at 0.98 --threshold 0.95 --set learning_rate=5e-4 ent_coef=0.05 batch_size=1024 chrono_span=64"
    ),
    "tmaze_50_dnc": (
        "--env memrl/TMaze-v0 --env-set length=50 --cores dnc --seeds 3 --steps 2000000 --n-envs 32"
        " --stop-at 0.98 --threshold 0.95 --set learning_rate=5e-4 ent_coef=0.05 batch_size=1024"
    ),
    # A published benchmark: the suit of the card shown three cards ago.
    "repeat_previous_easy": (
        "--env popgym-RepeatPreviousEasy-v0 --cores lstm,gru,dnc --seeds 1 --steps 700000 --n-envs 32"
        " --threshold 0.95 --set learning_rate=lin_1e-3 batch_size=1024"
    ),
    # Look at an object, walk away, find its like. Ten epochs: what to do depends on the object remembered and the
    # object in view together.
    "minigrid_memory_s7": (
        "--env MiniGrid-MemoryS7-v0 --env-set view_size=3 actions=left,right,forward --cores lstm --seeds 3"
        " --steps 1000000 --n-envs 32 --stop-at 0.97 --threshold 0.9"
        " --set learning_rate=lin_1e-3 ent_coef=0.03 n_epochs=10 target_kl=null"
    ),
}
