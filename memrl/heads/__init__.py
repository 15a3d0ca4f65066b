"""Supervised heads: what turns a memory core into a classifier, a tagger, a language model, an answerer.

A head is an encoder of inputs, any core, and a linear layer on the core's outputs. All heads are called alike:

    logits, state = head(inputs, state, reset, lengths)    # the last three may be left out
    loss = head.loss(logits, targets)                      # what is not asked for has the target IGNORED
"""

from memrl.heads.binary import BinaryVectors
from memrl.heads.classifier import Classifier
from memrl.heads.head import IGNORED, Batch, Head
from memrl.heads.next_token import NextToken
from memrl.heads.question_answering import QuestionAnswering
from memrl.heads.story_answer import StoryAnswer
from memrl.heads.tagger import Tagger

__all__ = [
    "IGNORED",
    "Batch",
    "BinaryVectors",
    "Classifier",
    "Head",
    "NextToken",
    "QuestionAnswering",
    "StoryAnswer",
    "Tagger",
]
