"""The stories of bAbI v1.2, as they stand in its files."""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from memrl.tasks.lines import enough, numbered_lines

SOURCE = "http://www.thespermwhale.com/jaseweston/babi/tasks_1-20_v1-2.tar.gz"
NUM_TASKS = 20
# Words keep their hyphens and apostrophes; the full stop or question mark at the end is a word of its own.
WORD = re.compile(r"[\w'-]+|[.?]")


class Line(NamedTuple):
    """A sentence of a story, or a question in it."""

    words: tuple[str, ...]  # in lower case, "." or "?" at the end
    answers: tuple[str, ...] = ()  # in lower case, one or several; none says that it is no question
    supporting: tuple[int, ...] = ()  # numbers of the lines that hold the answer, from 1


Story = tuple[Line, ...]


def read_babi(path: str | Path) -> Iterator[Story]:
    """Stream the stories of Weston et al. 2015, "Towards AI-complete question answering", version 1.2.

    Args:
        path: lines of `number sentence`, or `number question<TAB>answers<TAB>numbers of supporting lines`, answers with
            commas and numbers with blanks between them. A story opens with number 1.

    Raises:
        FileNotFoundError: no such file; says where to get it.
        ValueError: a line that is not as above, by its number.
    """
    story: list[Line] = []
    for place, text in numbered_lines(path, SOURCE):
        number, line = _line(place, text)
        if number == 1 and story:
            yield tuple(story)
            story = []
        if number != len(story) + 1:
            raise ValueError(f"{place}: line {number} of a story given, {len(story) + 1} needed")
        story.append(line)
    if story:
        yield tuple(story)


def _line(place: str, text: str) -> tuple[int, Line]:
    columns = text.split("\t")
    number, _, sentence = columns[0].partition(" ")
    words = tuple(WORD.findall(sentence.lower()))
    if not number.isdecimal() or not words or len(columns) not in (1, 3):
        raise ValueError(
            f"{place}: {text!r} given, `number sentence` or `number question<TAB>answer<TAB>supporting lines` needed"
        )
    if len(columns) == 1:
        return int(number), Line(words)
    answers = tuple(answer.strip().lower() for answer in columns[1].split(","))
    supporting = columns[2].split()
    if not all(answers):
        raise ValueError(f"{place}: {columns[1]!r} given as the answer, a word, or several with commas, needed")
    if not all(fact.isdecimal() and 1 <= int(fact) < int(number) for fact in supporting):
        raise ValueError(f"{place}: supporting lines {columns[2]!r} given, numbers of lines before this one needed")
    return int(number), Line(words, answers, tuple(map(int, supporting)))


def parse_tasks(tasks: str) -> tuple[int, ...]:
    """Which of the 20 tasks are meant: "qa1", "qa1,qa4" or "qa1-20".

    Raises:
        ValueError: anything else.

    >>> parse_tasks("qa1,qa4-6")
    (1, 4, 5, 6)
    """
    chosen: list[int] = []
    for part in tasks.split(","):
        ends = re.fullmatch(r"\s*(?:qa)?(\d+)(?:-(?:qa)?(\d+))?\s*", part)
        first, last = (int(ends[1]), int(ends[2] or ends[1])) if ends else (0, 0)
        if not 1 <= first <= last <= NUM_TASKS:
            raise ValueError(
                f"tasks: {tasks!r} given, from qa1 to qa{NUM_TASKS} needed, as in qa1 or qa1,qa4 or qa1-20"
            )
        chosen += range(first, last + 1)
    if len(set(chosen)) < len(chosen):
        raise ValueError(f"tasks: {tasks!r} names a task twice")
    return tuple(chosen)


def names_of_tests(tasks: Sequence[int]) -> tuple[str, ...]:
    """Names of the test sets: of all tasks together, and of each where several are learned jointly.

    >>> names_of_tests([1]), names_of_tests([1, 4])
    (('test',), ('test', 'qa1', 'qa4'))
    """
    return ("test", *(f"qa{task}" for task in tasks if len(tasks) > 1))


@lru_cache(maxsize=64)
def load_stories(folder: Path, task: int, part: str) -> Sequence[Story]:
    """The stories of one task that ask something; from others there is nothing to learn.

    Args:
        folder: of files like qa1_single-supporting-fact_train.txt.
        task: 1 to 20.
        part: "train" or "test".

    Raises:
        FileNotFoundError: no file of that task in the folder; says where to get it.
        ValueError: a malformed line, or fewer such stories than needed: one for the test; two to learn from, since one
            of them is for validation.
    """
    files = sorted(folder.glob(f"qa{task}_*_{part}.txt"))
    if len(files) != 1:
        found = f"{len(files)} of them" if files else "none"
        raise FileNotFoundError(
            f"{folder}: one file qa{task}_*_{part}.txt needed, {found} there; they are to be had from {SOURCE}"
        )
    stories = [story for story in read_babi(files[0]) if any(line.answers for line in story)]
    return tuple(enough(stories, 2 if part == "train" else 1, "stories with a question", files[0], SOURCE))


def learned_and_held_out(stories: Sequence[Story]) -> tuple[Sequence[Story], Sequence[Story]]:
    """Stories to learn from, and the last tenth, which is for validation (Sukhbaatar et al. 2015, section 4.2).

    >>> learned_and_held_out(["first", "last"])
    (['first'], ['last'])
    """
    first = len(stories) - max(1, len(stories) // 10)
    return stories[:first], stories[first:]


def number_words(stories: Sequence[Story]) -> dict[str, int]:
    """A number from 1 for every word of sentences and answers, in the order of the alphabet; 0 is left for padding."""
    words = {word for story in stories for line in story for word in (*line.words, *line.answers)}
    return {word: number for number, word in enumerate(sorted(words), start=1)}
