"""Where files of real data are found."""

import os
from pathlib import Path


def data_file(given: str, default: str, source: str) -> Path:
    """The file or folder a task reads.

    Args:
        given: a path, the task's option; "" looks up `default` in the folder that MEMRL_DATA names.
        default: place in that folder, e.g. "trec/train.txt".
        source: where to get the data, for the message.

    Raises:
        FileNotFoundError: nothing is there; says where to get it.
    """
    if given:
        path = Path(given)
    elif folder := os.environ.get("MEMRL_DATA"):
        path = Path(folder) / default
    else:
        raise FileNotFoundError(
            f"data: no path given (--set data=PATH), and the environment variable MEMRL_DATA, which names the folder "
            f"that holds {default}, is not set; the data is to be had from {source}"
        )
    if not path.exists():
        raise FileNotFoundError(f"data: {path} does not exist; it is to be had from {source}")
    return path
