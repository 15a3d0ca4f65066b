"""Actor-critic policies with a memory core between the observation encoder and the heads.

observation -> features extractor -> core -> mlp_extractor -> action and value heads
"""

import warnings
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.distributions import CategoricalDistribution, Distribution
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, MlpExtractor
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import Tensor

from memrl import tree
from memrl.encoders import ImageExtractor, default_extractor
from memrl.registry import make_core

from .buffer import Sequences
from .distributions import LightCategorical, masked


class PolicyState(NamedTuple):
    """What a policy remembers: the state of its core, and of the critic's own core if it has one."""

    actor: Any
    critic: Any = ()


class MlpMemoryPolicy(ActorCriticPolicy):
    """Actor and critic on top of a memory core.

    Args:
        observation_space: as in SB3.
        action_space: Discrete, MultiDiscrete, MultiBinary or Box.
        lr_schedule: as in SB3.
        core: name of the memory, one of `memrl.list_cores()`.
        core_kwargs: options of the core, as in `memrl.make_core`.
        share_core: one memory serves actor and critic; False gives the critic a memory of its own.
        net_arch: layers between core and heads, as in SB3. Default: one of 64 units for each.
        features_extractor_class: observation encoder, applied to each step. Default: chosen by the space.
        kwargs: everything else as in SB3's ActorCriticPolicy.

    Raises:
        ValueError: unknown core or option; encoders of their own for actor and critic, but one core.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        *,
        core: str = "lstm",
        core_kwargs: dict[str, Any] | None = None,
        share_core: bool = True,
        net_arch: list[int] | dict[str, list[int]] | None = None,
        features_extractor_class: type[BaseFeaturesExtractor] | None = None,
        features_extractor_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        self.core_name, self.core_kwargs, self.share_core = core, dict(core_kwargs or {}), share_core
        self._state_was_lost = self._warned_of_lost_state = False
        if share_core and not kwargs.get("share_features_extractor", True):
            raise ValueError("share_features_extractor: False needs share_core=False, since one core reads one encoder")
        if features_extractor_class is None:
            features_extractor_class, defaults = default_extractor(observation_space)
            features_extractor_kwargs = {**defaults, **(features_extractor_kwargs or {})}
        if kwargs.get("optimizer_class", torch.optim.Adam) is torch.optim.Adam and not kwargs.get("optimizer_kwargs"):
            kwargs["optimizer_kwargs"] = {"eps": 1e-5, "fused": True}  # SB3's Adam, in one kernel for all parameters
        super().__init__(
            observation_space,
            action_space,
            lr_schedule,
            net_arch={"pi": [64], "vf": [64]} if net_arch is None else net_arch,
            features_extractor_class=features_extractor_class,
            features_extractor_kwargs=features_extractor_kwargs,
            **kwargs,
        )

    def _build(self, lr_schedule: Schedule) -> None:
        if isinstance(self.action_dist, CategoricalDistribution):
            self.action_dist = LightCategorical(self.action_dist.action_dim)
        # Before the heads, which need its width, and outside the modules that SB3 re-initialises (`ortho_init`).
        width = int(self.features_dim)  # SB3 has NumPy integers for MultiDiscrete observations
        self.core = make_core(self.core_name, width, **self.core_kwargs)
        self.critic_core = None if self.share_core else make_core(self.core_name, width, **self.core_kwargs)
        super()._build(lr_schedule)

    def _build_mlp_extractor(self) -> None:
        self.mlp_extractor = MlpExtractor(
            self.core.output_size,
            net_arch=self.net_arch,
            activation_fn=self.activation_fn,
            device=self.device,
        )

    def _get_constructor_parameters(self) -> dict[str, Any]:
        parameters = super()._get_constructor_parameters()
        for fixed in ("use_sde", "squash_output", "full_std", "use_expln"):
            parameters.pop(fixed)
        return parameters | {
            "core": self.core_name,
            "core_kwargs": self.core_kwargs,
            "share_core": self.share_core,
            "share_features_extractor": self.share_features_extractor,
        }

    def initial_state(self, batch_size: int) -> PolicyState:
        """State at the start of an episode."""
        critic = () if self.critic_core is None else self.critic_core.initial_state(batch_size)
        return PolicyState(self.core.initial_state(batch_size), critic)

    def forward(  # type: ignore[override]
        self,
        obs: PyTorchObs,
        state: PolicyState,
        episode_starts: Tensor,
        deterministic: bool = False,
        action_masks: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor, PolicyState]:
        """Act for one step.

        Args:
            obs: observations of B environments.
            state: what was remembered before them.
            episode_starts: true where an observation opens an episode; memory is reset first. Shape (B,).
            deterministic: take the most likely action.
            action_masks: true where a choice is allowed, as in `distributions.masked`; None: everything is.

        Returns:
            Actions (B, ...), values (B, 1), log-probabilities (B,) and the new state.
        """
        actor, critic, state = self._remember(obs, state, episode_starts)
        distribution = self._distribution(actor, action_masks)
        actions = distribution.get_actions(deterministic=deterministic)
        log_prob = distribution.log_prob(actions)
        return actions.reshape((-1, *self.action_space.shape)), self._value(critic), log_prob, state  # type: ignore[misc]

    def predict_values(  # type: ignore[override]
        self, obs: PyTorchObs, state: PolicyState, episode_starts: Tensor
    ) -> Tensor:
        """Values (B, 1) of observations, given what is remembered before them."""
        _, critic, _ = self._remember(obs, state, episode_starts)
        return self._value(critic)

    def get_distribution(  # type: ignore[override]
        self, obs: PyTorchObs, state: PolicyState, episode_starts: Tensor, action_masks: Tensor | None = None
    ) -> tuple[Distribution, PolicyState]:
        """Distribution of the actions of B environments, and the new state."""
        actor, _, state = self._remember(obs, state, episode_starts)
        return self._distribution(actor, action_masks), state

    def evaluate_actions(self, obs: PyTorchObs, actions: Tensor) -> Any:
        """Not possible without a state: `evaluate_sequences` takes its place."""
        raise NotImplementedError("evaluate_actions knows no state; call evaluate_sequences")

    def evaluate_sequences(
        self, obs: PyTorchObs, actions: Tensor, sequences: Sequences, action_masks: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Values, log-probabilities and entropies of stored steps, remembering through their whole sequences.

        Encoder and heads see the M real steps only; padding exists inside the core alone.

        Args:
            obs: observations. Shape (M, ...).
            actions: actions. Shape (M, ...).
            sequences: which step of which sequence each of the M is, and the states before the sequences.
            action_masks: what was allowed when the actions were taken. Shape (M, choices).

        Returns:
            Three tensors of shape (M,); entropy is None where the distribution has no closed form.
        """
        features = self.extract_features(obs)
        actor_features, critic_features = features if isinstance(features, tuple) else (features, features)
        actor = critic = sequences.run(self.core, actor_features, sequences.state.actor)
        if self.critic_core is not None:
            critic = sequences.run(self.critic_core, critic_features, sequences.state.critic)
        distribution = self._distribution(actor, action_masks)
        return self._value(critic).flatten(), distribution.log_prob(actions), distribution.entropy()

    def final_state(self, obs: PyTorchObs, sequences: Sequences) -> PolicyState:
        """States after sequences that all have the same length."""
        features = self.extract_features(obs)
        actor_features, critic_features = features if isinstance(features, tuple) else (features, features)
        critic: Any = ()
        if self.critic_core is not None:
            critic = sequences.final(self.critic_core, critic_features, sequences.state.critic)
        return PolicyState(sequences.final(self.core, actor_features, sequences.state.actor), critic)

    def predict(
        self,
        observation: np.ndarray[Any, Any] | dict[str, np.ndarray[Any, Any]],
        state: tuple[Any, ...] | None = None,
        episode_start: np.ndarray[Any, Any] | None = None,
        deterministic: bool = False,
        action_masks: np.ndarray[Any, Any] | None = None,
    ) -> tuple[np.ndarray[Any, Any], tuple[Any, ...] | None]:
        """Actions for observations, and the state to hand in next time.

        Args:
            observation: of one environment or of several.
            state: what the last call returned; None starts from the initial state.
            episode_start: true where an observation opens an episode. Shape (B,). None: nowhere.
            deterministic: take the most likely action.
            action_masks: true where a choice is allowed, as in MaskablePPO; None: everything is.

        Returns:
            Actions, and a `PolicyState` of NumPy arrays with the environments in axis 0.

        Raises:
            ValueError: the observation does not fit the space, the state is of another number of environments, or the
                masks do not fit the action space.
        """
        self._check_observation(observation)
        self._warn_of_lost_state(state, episode_start)
        self.set_training_mode(False)
        obs, vectorised = self.obs_to_tensor(observation)
        batch = len(next(iter(obs.values())) if isinstance(obs, dict) else obs)
        with torch.no_grad():
            memory = (
                self.initial_state(batch)
                if state is None
                else tree.map(lambda leaf: torch.as_tensor(leaf, device=self.device), PolicyState(*state))
            )
            if tree.batch_size(memory) != batch:
                raise ValueError(f"state: of {tree.batch_size(memory)} environments given, {batch} observations given")
            starts = torch.zeros(batch, dtype=torch.bool, device=self.device)
            if episode_start is not None:
                given = np.asarray(episode_start, dtype=bool)
                if given.size not in (1, batch):
                    raise ValueError(f"episode_start: of {given.size} environments given, {batch} observations given")
                starts |= torch.as_tensor(given.reshape(-1), device=self.device)
            latent, _, memory = self._remember(obs, memory, starts)
            masks = None
            if action_masks is not None:
                allowed = np.asarray(action_masks, dtype=bool)
                if vectorised and len(allowed) != batch:
                    raise ValueError(f"action_masks: of {len(allowed)} environments given, {batch} observations given")
                masks = torch.as_tensor(allowed, device=self.device).reshape(batch, -1)
            chosen = self._distribution(latent, masks).get_actions(deterministic=deterministic)
        actions = chosen.cpu().numpy().reshape((-1, *self.action_space.shape))  # type: ignore[misc, arg-type]
        if isinstance(self.action_space, spaces.Box):
            actions = np.clip(actions, self.action_space.low, self.action_space.high)
        return actions if vectorised else actions.squeeze(axis=0), tree.map(lambda leaf: leaf.cpu().numpy(), memory)

    def _warn_of_lost_state(self, state: tuple[Any, ...] | None, episode_start: Any) -> None:
        """Twice in a row without a state, and not because episodes begin: it was not handed back in."""
        lost = state is None and (episode_start is None or not np.all(episode_start))
        if lost and self._state_was_lost and tree.size(self.initial_state(1)):
            warnings.warn(
                "predict: no state given, so the policy acts without memory; hand in what the last call returned, "
                "`action, state = model.predict(obs, state)`, or use memrl.agents.MemoryAgent",
                UserWarning,
                stacklevel=4,
            )
            self._warned_of_lost_state = True
        self._state_was_lost = lost and not self._warned_of_lost_state

    def _check_observation(self, observation: Any) -> None:
        given = f"a {type(observation).__name__}"
        if isinstance(observation, tuple):
            raise ValueError(
                "observation: a tuple given; of what an environment's `reset` returns, the first is needed"
            )
        if not isinstance(self.observation_space, spaces.Dict):
            if isinstance(observation, dict):
                raise ValueError(f"observation: {given} given, an array needed")
            return
        keys = self.observation_space.spaces.keys()
        if isinstance(observation, dict):
            if observation.keys() == keys:
                return
            given += f" with {', '.join(observation)}"
        hint = "; VecPreviousInputs adds the previous ones" if keys & {"previous_action", "previous_reward"} else ""
        raise ValueError(f"observation: {given} given, a dict with {', '.join(keys)} needed{hint}")

    def _remember(
        self, obs: PyTorchObs, state: PolicyState, episode_starts: Tensor
    ) -> tuple[Tensor, Tensor, PolicyState]:
        """One step of the cores: what actor and critic see, and the new state."""
        if episode_starts.any():
            state = tree.where(episode_starts, self.initial_state(len(episode_starts)), state)
        features = self.extract_features(obs)
        actor_features, critic_features = features if isinstance(features, tuple) else (features, features)
        actor, actor_state = self.core.step(actor_features, state.actor)
        if self.critic_core is None:
            return actor, actor, PolicyState(actor_state)
        critic, critic_state = self.critic_core.step(critic_features, state.critic)
        return actor, critic, PolicyState(actor_state, critic_state)

    def _distribution(self, latent: Tensor, action_masks: Tensor | None = None) -> Distribution:
        latent = self.mlp_extractor.forward_actor(latent)
        if action_masks is None:
            return self._get_action_dist_from_latent(latent)
        return masked(self.action_space, self.action_net(latent), action_masks)

    def _value(self, latent: Tensor) -> Tensor:
        value: Tensor = self.value_net(self.mlp_extractor.forward_critic(latent))
        return value


class CnnMemoryPolicy(MlpMemoryPolicy):
    """`MlpMemoryPolicy` with a convolutional encoder by default."""

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        lr_schedule: Schedule,
        features_extractor_class: type[BaseFeaturesExtractor] | None = None,
        **kwargs: Any,
    ) -> None:
        # In a Dict, which an image becomes beside a previous action, each part gets the encoder that fits it.
        if features_extractor_class is None and not isinstance(observation_space, spaces.Dict):
            features_extractor_class = ImageExtractor
        super().__init__(
            observation_space,
            action_space,
            lr_schedule,
            features_extractor_class=features_extractor_class,
            **kwargs,
        )


class MultiInputMemoryPolicy(MlpMemoryPolicy):
    """`MlpMemoryPolicy` for Dict observations; the encoder is chosen by the space."""
