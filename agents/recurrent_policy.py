"""Any memory core inside unmodified sb3-contrib RecurrentPPO."""

from typing import Any

from gymnasium import spaces
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import Schedule
from torch import Tensor, nn

from memrl import tree
from memrl.core import MemoryCore
from memrl.encoders import default_extractor
from memrl.registry import make_core


class RecurrentMemoryPolicy(RecurrentActorCriticPolicy):
    """A policy for RecurrentPPO that remembers with a memory core instead of an LSTM.

    `RecurrentPPO(RecurrentMemoryPolicy, env, policy_kwargs=dict(core="dnc"))` is all that changes. RecurrentPPO keeps
    four states of one size for every step (hidden and cell state of the actor's LSTM and of the critic's): a core's
    state travels as a hidden state, the others take as much room even where nothing is in them. `MemoryPPO` stores
    states at sequence starts only.

    Args:
        observation_space: as in SB3; Dict and images too.
        action_space: as in SB3.
        lr_schedule: as in SB3.
        core: name of the memory, one of `memrl.list_cores()`.
        core_kwargs: options of the core, as in `memrl.make_core`.
        share_core: one memory serves actor and critic, and only the actor trains it (RecurrentPPO's `shared_lstm`);
            False gives the critic a memory of its own, as RecurrentPPO has it by default.
        features_extractor_class: observation encoder. Default: chosen by the space.
        features_extractor_kwargs: its keyword arguments.
        kwargs: everything else as in sb3-contrib's policies, except the options of the LSTM.

    Raises:
        ValueError: unknown core or option, or an option of the LSTM.

    >>> from sb3_contrib import RecurrentPPO
    >>> model = RecurrentPPO(RecurrentMemoryPolicy, "CartPole-v1", n_steps=16, policy_kwargs=dict(core="gru"))
    >>> action, state = model.learn(16).predict(model.get_env().reset())
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        *,
        core: str = "lstm",
        core_kwargs: dict[str, Any] | None = None,
        share_core: bool = False,
        features_extractor_class: type[BaseFeaturesExtractor] | None = None,
        features_extractor_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        lstm_options = {"lstm_hidden_size", "n_lstm_layers", "shared_lstm", "enable_critic_lstm", "lstm_kwargs"}
        if given := sorted(lstm_options & kwargs.keys()):
            raise ValueError(f"{given[0]}: given, but the memory is core={core!r}; use core_kwargs or share_core")
        if features_extractor_class is None:
            features_extractor_class, defaults = default_extractor(observation_space)
            features_extractor_kwargs = {**defaults, **(features_extractor_kwargs or {})}
        core_kwargs = dict(core_kwargs or {})
        super().__init__(
            observation_space,
            action_space,
            lr_schedule,
            features_extractor_class=features_extractor_class,
            features_extractor_kwargs=features_extractor_kwargs,
            lstm_hidden_size=make_core(core, 1, **core_kwargs).output_size,
            shared_lstm=share_core,
            enable_critic_lstm=not share_core,
            **kwargs,
        )
        # The base class has built LSTMs of the right output width; their places are taken now.
        width = int(self.features_dim)
        self.core_name, self.core_kwargs, self.share_core = core, core_kwargs, share_core
        actor: Any = PackedCore(make_core(core, width, **core_kwargs))
        critic: Any = None if share_core else PackedCore(make_core(core, width, **core_kwargs))
        self.lstm_actor, self.lstm_critic = actor, critic
        self.lstm_hidden_state_shape = (1, 1, self.lstm_actor.hidden_size)
        self.optimizer = self.optimizer_class(self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs)  # type: ignore[call-arg]

    @staticmethod
    def _process_sequence(  # type: ignore[override]
        features: Tensor, lstm_states: tuple[Tensor, Tensor], episode_starts: Tensor, lstm: "PackedCore"
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Padded sequences, one after the other, through a core; resets inside take no loop over time."""
        rows = lstm_states[0].shape[1]
        x = features.reshape(rows, -1, lstm.input_size).swapaxes(0, 1)
        reset = episode_starts.reshape(rows, -1).swapaxes(0, 1) > 0.5
        y, packed = lstm(x, lstm_states[0][0], reset)
        return y.transpose(0, 1).flatten(0, 1), (packed.unsqueeze(0), lstm_states[1])

    def _get_constructor_parameters(self) -> dict[str, Any]:
        parameters: dict[str, Any] = super()._get_constructor_parameters()
        return parameters | {"core": self.core_name, "core_kwargs": self.core_kwargs, "share_core": self.share_core}


class PackedCore(nn.Module):
    """A core whose state is one array in which zeros mean the initial state, with the attributes of a one-layer LSTM.

    RecurrentPPO starts episodes with zeros, so the array holds how far the state is from the initial one.
    """

    num_layers = 1

    def __init__(self, core: MemoryCore[Any]) -> None:
        super().__init__()
        self.core, self.input_size = core, core.input_size
        self.hidden_size = tree.size(core.initial_state(1))

    def forward(self, x: Tensor, packed: Tensor, reset: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs (T, B, I), packed states (B, S) and resets (T, B) to outputs (T, B, O) and packed states."""
        # Detached: a stored state does not move with what an episode starts from. Where one starts, the core puts its
        # initial state in place itself, and that one learns.
        initial = tree.detach(self.core.initial_state(len(packed)))
        start = tree.pack(initial)
        y, state = self.core(x, tree.unpack(start + packed, initial), reset)
        return y, tree.pack(state) - start
