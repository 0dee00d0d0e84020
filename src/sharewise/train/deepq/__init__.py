"""Deep Q-learning of several games with one network.

A game is a maker of gymnasium environments: the package `gymnasium` (extra ``robots``) is imported where one is built.
"""

from ._agent import MultiTaskDQN
from ._options import DQNOptions
from ._play import GameMaker
from ._score import Score

__all__ = ["DQNOptions", "GameMaker", "MultiTaskDQN", "Score"]
