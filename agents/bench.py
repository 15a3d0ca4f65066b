"""The benchmarks of `memrl bench`, by the names under which the command line finds them."""

from .bench_cores import bench_cores
from .bench_envs import bench_envs
from .bench_ppo import bench_ppo

__all__ = ["bench_cores", "bench_envs", "bench_ppo"]
