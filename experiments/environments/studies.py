"""The studies of this experiment: which command answers which question. The other scripts here are studies as well."""

STUDIES = {
    # Where goods lie and which gates are barred: does a memory close half of the gap that forgetting leaves?
    "warehouse": (
        "--env memrl/Warehouse-v0 --cores none,gru --seeds 3 --steps 2000000 --n-envs 64"
        " --set learning_rate=lin_2e-3 ent_coef=0.01 gamma=0.98 n_steps=64 batch_size=1024 target_kl=null"
    ),
    # Which roads are congested today, from the trips made so far.
    "traffic": (
        "--env memrl/Traffic-v0 --cores none,gru --seeds 3 --steps 1000000 --n-envs 64"
        " --set learning_rate=lin_1e-3 ent_coef=0.01 batch_size=1024"
    ),
    # Velocities, from positions that were seen.
    "position_only_cartpole": (
        "--env memrl/PositionOnlyCartPole-v0 --cores none,gru --seeds 3 --steps 500000 --n-envs 32"
        " --set learning_rate=lin_1e-3 batch_size=1024"
    ),
    # The suit of the card shown three cards ago, in POPGym's game and its twin alike.
    "repeat_previous_easy": (
        "--env popgym-RepeatPreviousEasy-v0 --cores none,lstm,gru --seeds 3 --steps 800000 --n-envs 32"
        " --threshold 0.95 --set learning_rate=lin_1e-3 batch_size=1024"
    ),
}
