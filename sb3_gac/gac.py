"""Generative Actor Critic."""

import math
from typing import Any, ClassVar

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.torch_layers import get_actor_critic_arch
from stable_baselines3.common.type_aliases import GymEnv, Schedule

from sb3_gac.arguments import check_arguments, without_peers_arguments
from sb3_gac.credit import OFFLINE, ONLINE, AdvantageCredit, CreditRule
from sb3_gac.data.buffer import TrajectoryReplayBuffer
from sb3_gac.data.space import scale_actions
from sb3_gac.data.trajectory import map_observations
from sb3_gac.exploration import Behaviour, RandomPolicies, TargetReturn, draw_behaviours
from sb3_gac.inference import PlanState, elbo, fit_posterior
from sb3_gac.offline_algorithm import OfflineAlgorithm
from sb3_gac.policies import CnnPolicy, LatentPlanPolicy, MlpPolicy, MultiInputPolicy
from sb3_gac.type_aliases import Array, ElboTerms, PlanGaussian, StepTable, TrajectoryBatch

MIN_LOG_KL_COEF, MAX_LOG_KL_COEF = -7.0, 3.0
KL_LEARNING_RATE = 0.02  # of the logarithm of the coefficient
# Steps of a segment to encode, and others to score. With those for images, a gradient step sends as many pictures through
# the features extractor as one of SAC does.
N_STEPS, N_IMAGE_STEPS = 8, 2
# Environment steps after which advantages are estimated anew: a fraction of those in the buffer, within these bounds
ADVANTAGE_GROWTH, MIN_ADVANTAGE_FREQ, MAX_ADVANTAGE_FREQ = 0.2, 100, 1000
FEATURES_BATCH = 4096  # observations that go through the features extractor at once
# Episodes after which half of those that start still follow a random policy, once some have done better than others
N_RANDOM_EPISODES = 10


class GAC(OfflineAlgorithm):
    """
    Generative Actor Critic (GAC), offline and online, from nothing but the return of each trajectory.

    Paper: https://arxiv.org/abs/2512.21527. Policy evaluation learns a generative model of trajectories and returns through
    latent plans; policy improvement infers plans: the best one to exploit, one sampled given a moving target to explore.
    Not the GAC of Distributional Policy Optimization (https://arxiv.org/abs/1905.09855).

    :param policy: ``"MlpLatentPolicy"``, ``"CnnLatentPolicy"``, ``"MultiInputLatentPolicy"``, or a class.
        How plans are made and followed is set by ``policy_kwargs``, see :class:`~sb3_gac.policies.LatentPlanPolicy`.
    :param env: Environment to learn in; ``None`` to learn from a data set alone.
    :param learning_rate: Learning rate of all networks, or a function of the progress remaining (from 1 to 0).
    :param buffer_size: Transitions that the replay buffer holds.
    :param learning_starts: Environment steps before the first gradient step online. Episodes that start until then, and until
        some have done better than others, follow random policies; later ones ever more rarely, none after offline learning.
    :param batch_size: Segments, or trajectories, per gradient step.
    :param gamma: Discount of values, and so of the advantages of steps and segments; returns are undiscounted.
    :param gae_lambda: Decay of the trace of the λ-returns that advantages are learnt from, as PPO's.
    :param advantage_temperature: Standard deviations of the advantage that make an action count e times as much; ``None``:
        all count alike, the evidence of the paper.
    :param return_only: Whether to learn from nothing but the return of each trajectory: rewards of steps are never looked at.
    :param train_freq: Environment steps, or ``(n, "episode")``, between two calls of ``train``.
    :param gradient_steps: Gradient steps per call; -1 for as many as environment steps, -10 for one per ten of them,
        whatever the number of environments.
    :param action_noise: Noise added to the actions of rollouts.
    :param replay_buffer_class: A :class:`~sb3_gac.data.buffer.TrajectoryReplayBuffer`.
    :param replay_buffer_kwargs: Keyword arguments of the replay buffer.
    :param optimize_memory_usage: Taken as by SAC; next observations are never stored.
    :param effective_horizon: Steps that the mean action log-likelihood counts for (T0). The raw sum over a long
        trajectory would drown the other terms.
    :param kl_coef: Weight of the divergence from the prior; ``"auto"`` learns it, so that plans hold ``target_kl`` nats.
    :param target_kl: Information in a plan, in nats, that ``"auto"`` aims at. Few nats generalise, many tell more plans apart.
    :param posterior_steps: Gradient steps that improve each trajectory's posterior; 0 is a plain variational auto-encoder.
    :param explore_ratio: Fraction of the episodes of rollouts that explore, once learning has started; the others follow the
        best plan without noise, so that the states an evaluation would meet are learnt from, too.
    :param offline_ratio: Share of each batch drawn from the data set while there is a replay buffer too; more while that
        holds fewer trajectories than a batch has places for.
    :param max_grad_norm: Norm that gradients are clipped to.
    :param stats_window_size: Episodes that the rollout statistics are averaged over.
    :param tensorboard_log: Folder of the TensorBoard log.
    :param policy_kwargs: Keyword arguments of the policy.
    :param verbose: 0 for no output, 1 for information, 2 for debugging.
    :param seed: Seed of all random numbers.
    :param device: PyTorch device.
    :param _init_setup_model: Whether to build the networks at once.
    :param peers_arguments: Arguments that only SAC and TQC have; ignored with a warning.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "MlpLatentPolicy": MlpPolicy,
        "CnnLatentPolicy": CnnPolicy,
        "MultiInputLatentPolicy": MultiInputPolicy,
        "MlpPolicy": MlpPolicy,
        "CnnPolicy": CnnPolicy,
        "MultiInputPolicy": MultiInputPolicy,
    }
    credit_rule_class: ClassVar[type[CreditRule]] = AdvantageCredit
    """What steps and segments are weighed by; a subclass may name another."""
    policy: LatentPlanPolicy
    actor: LatentPlanPolicy
    credit: CreditRule
    replay_buffer: TrajectoryReplayBuffer | None

    def __init__(
        self,
        policy: str | type[LatentPlanPolicy],
        env: GymEnv | str | None = None,
        learning_rate: float | Schedule = 1e-3,
        buffer_size: int = 20_000,
        learning_starts: int = 100,
        batch_size: int = 256,
        gamma: float = 0.99,
        train_freq: int | tuple[int, str] = 50,
        gradient_steps: int = -10,
        action_noise: ActionNoise | None = None,
        replay_buffer_class: type[ReplayBuffer] | None = None,
        replay_buffer_kwargs: dict[str, Any] | None = None,
        optimize_memory_usage: bool = False,
        gae_lambda: float = 0.85,
        advantage_temperature: float | None = 0.4,
        return_only: bool = False,
        effective_horizon: float = 16.0,
        kl_coef: str | float = "auto",
        target_kl: float = 3.0,
        posterior_steps: int = 0,
        explore_ratio: float = 0.9,
        offline_ratio: float = 0.5,
        max_grad_norm: float = 10.0,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: th.device | str = "auto",
        _init_setup_model: bool = True,
        **peers_arguments: Any,
    ) -> None:
        for name in without_peers_arguments(peers_arguments):
            raise TypeError(f"GAC.__init__() got an unexpected keyword argument {name!r}")
        super().__init__(
            policy,
            env,
            learning_rate,
            buffer_size,
            learning_starts,
            batch_size,
            gamma=gamma,
            train_freq=train_freq,
            gradient_steps=gradient_steps,
            action_noise=action_noise,
            replay_buffer_class=replay_buffer_class,
            replay_buffer_kwargs=replay_buffer_kwargs,
            optimize_memory_usage=optimize_memory_usage,
            policy_kwargs=policy_kwargs,
            stats_window_size=stats_window_size,
            tensorboard_log=tensorboard_log,
            verbose=verbose,
            device=device,
            support_multi_env=True,
            seed=seed,
            sde_support=False,
            supported_action_spaces=(spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary),
        )
        self.gae_lambda = gae_lambda
        self.advantage_temperature = advantage_temperature
        self.return_only = return_only
        self.effective_horizon = effective_horizon
        self.kl_coef = kl_coef
        self.target_kl = target_kl
        self.posterior_steps = posterior_steps
        self.explore_ratio = explore_ratio
        self.offline_ratio = offline_ratio
        self.max_grad_norm = max_grad_norm
        check_arguments(self)

        self.target_return: TargetReturn | None = None
        self._log_kl_coef = 0.0
        self._credited_steps: int | None = None  # ever written to the replay buffer, when advantages were last estimated
        self._is_informed = False  # whether some actions have ever been known to be better than others
        self._n_informed_episodes = 0
        self._random_policies: RandomPolicies | None = None
        self._last_plans: PlanState | None = None

        if env is None:  # a data set, the loaded model or set_env() will bring them
            self.observation_space = self.action_space = None  # type: ignore[assignment]
            self.n_envs = 1
        elif _init_setup_model:
            self._setup_model()

    def _setup_model(self) -> None:
        if not (isinstance(self.policy_class, type) and issubclass(self.policy_class, LatentPlanPolicy)):
            raise ValueError(
                f"policy must subclass LatentPlanPolicy, {self.policy_class} does not; is the model of another algorithm?"
            )
        check_arguments(self)  # those given to ``load``, too
        super()._setup_model()
        self.credit = self.make_credit(self.policy).to(self.device)
        self.actor = self.policy  # as SB3's algorithms have one
        self._begin_rollout()
        if self.target_return is None:
            self.target_return = TargetReturn()
        if self.env is not None:
            self._check_normalization()

    def make_credit(self, policy: LatentPlanPolicy) -> CreditRule:
        """
        What learns credit, with networks of the size of the policy's critic.

        :param policy: The policy whose features it sees.
        """
        _, critic_arch = get_actor_critic_arch(policy.net_arch)
        return self.credit_rule_class(policy.features_dim, policy.encoded_dim, critic_arch, policy.activation_fn)

    def _get_policy_from_name(self, policy_name: str) -> type[BasePolicy]:
        if policy_name not in self.policy_aliases:
            raise ValueError(f"Policy {policy_name} unknown, there are {', '.join(self.policy_aliases)}")
        return super()._get_policy_from_name(policy_name)

    @property
    def n_sampled_steps(self) -> int:
        """Steps of a trajectory that are encoded, and number of others that are scored."""
        return N_IMAGE_STEPS if self.policy.sees_images else N_STEPS

    @property
    def critic(self) -> LatentPlanPolicy:
        """The policy: acting searches what its predictors say, with the features that all share."""
        return self.policy

    @property
    def critic_target(self) -> LatentPlanPolicy:
        """The critic itself: values are bootstrapped by sweeps over the whole buffer, so no copy lags behind."""
        return self.critic

    # ---------------------------------------------------------------- policy evaluation

    def train(self, gradient_steps: int, batch_size: int = 256) -> None:
        """
        Maximise the evidence lower bound of sampled trajectories.

        :param gradient_steps: Number of gradient steps.
        :param batch_size: Number of segments, or of trajectories, per step.
        """
        if gradient_steps == 0:
            return
        self._assign_credit()
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)

        for _ in range(gradient_steps):
            batch = self._sample_batch(batch_size, 2 * self.n_sampled_steps)
            kl_coef = self._current_kl_coef()
            terms = self._elbo(batch)
            loss = self._loss(terms, kl_coef)
            self._step(loss, terms)
            if self.kl_coef == "auto":
                self._adjust_kl_coef(terms.kl.mean().item())

        for name, term in terms._asdict().items():
            self.logger.record(f"train/{name}", term.mean().item())
        self.logger.record("train/loss", loss.item())
        self.logger.record("train/kl_coef", kl_coef)
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")

    def _elbo(self, batch: TrajectoryBatch) -> ElboTerms:
        """Encode one sample of the steps and score another: the plan then carries intent, not noise."""
        features = self.policy.step_features(batch.observations, batch.ages)
        first_features = self.policy.extract_features(batch.first_observations)
        encoded, scored = slice(None, self.n_sampled_steps), slice(self.n_sampled_steps, None)
        posterior = self._posterior(features[:, encoded], batch.actions[:, encoded], first_features)
        return elbo(
            self.policy.model,
            posterior,
            features[:, scored],
            batch.actions[:, scored],
            first_features,
            batch.returns,
            batch.advantages,
            batch.weights[:, scored],
        )

    def _loss(self, terms: ElboTerms, kl_coef: float) -> th.Tensor:
        """Minus the bound, with the actions of ``effective_horizon`` steps; returns count once an episode has ended."""
        predictions = float(self._knows_returns) * terms.return_log_prob + terms.advantage_log_prob
        return -(self.effective_horizon * terms.action_log_prob + predictions - kl_coef * terms.kl).mean()

    def _step(self, loss: th.Tensor, terms: ElboTerms) -> None:
        optimizer = self.policy.optimizer
        optimizer.zero_grad()
        loss.backward()
        grad_norm = th.nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], self.max_grad_norm)
        self._check_finite(terms, loss, grad_norm)
        optimizer.step()
        self._n_updates += 1

    def _check_finite(self, terms: ElboTerms, loss: th.Tensor, grad_norm: th.Tensor) -> None:
        """Stop before a step that would make the weights NaN, and say what was not finite."""
        if th.isfinite(loss) and th.isfinite(grad_norm):
            return
        culprits = [name for name, term in terms._asdict().items() if not th.isfinite(term).all()]
        culprits = culprits or ["gradient" if th.isfinite(loss) else "loss"]
        raise ValueError(f"the loss is not finite after {self._n_updates} updates: {', '.join(culprits)}")

    @th.no_grad()
    def infer_plans(self, batch: TrajectoryBatch) -> th.Tensor:
        """
        Plans behind trajectories, the means of their posteriors, of shape ``(batch_size, plan_dim)``.

        :param batch: Sampled trajectories.
        """
        features = self.policy.step_features(batch.observations, batch.ages)
        first_features = self.policy.extract_features(batch.first_observations)
        return self._posterior(features, batch.actions, first_features).mean

    def _posterior(self, features: th.Tensor, actions: th.Tensor, first_features: th.Tensor) -> PlanGaussian:
        return fit_posterior(
            self.policy.model,
            self.policy.encoder,
            features,
            actions,
            first_features,
            self.effective_horizon,
            self.posterior_steps,
            self._current_kl_coef(),
        )

    def _current_kl_coef(self) -> float:
        return math.exp(self._log_kl_coef) if self.kl_coef == "auto" else float(self.kl_coef)

    def _adjust_kl_coef(self, kl: float) -> None:
        """Dual ascent: information that costs more nats than the target becomes dearer, less becomes cheaper."""
        step = KL_LEARNING_RATE * min(kl / self.target_kl - 1, 1.0)
        self._log_kl_coef = min(max(self._log_kl_coef + step, MIN_LOG_KL_COEF), MAX_LOG_KL_COEF)

    # ---------------------------------------------------------------- credit

    def _assign_credit(self) -> None:
        """Estimate the advantages of all steps anew, whenever much has come to the replay buffer, and weigh steps by them."""
        buffers = self._buffers()
        if not buffers:
            raise RuntimeError("nothing to learn from: there is no data set and the replay buffer is empty")
        n_steps = 0 if self.replay_buffer is None else self.replay_buffer.n_rows * self.replay_buffer.n_envs
        if not self._is_credit_due(n_steps):
            return
        is_first, self._credited_steps = self._credited_steps is None, n_steps
        self._take_statistics()
        if self.advantage_temperature is None and self.policy.plan_horizon is None:
            self._is_informed |= self._knows_returns
            return
        self.policy.set_training_mode(False)
        tables = [buffer.steps() for buffer in buffers]
        sources = list(zip(buffers, tables, strict=True))
        rewards: Array | None = None
        if not self.return_only:
            rewards = np.concatenate([buffer.rewards.reshape(-1)[table.indices] for buffer, table in sources])
        elif not self._knows_returns:
            rewards = np.zeros(sum(len(table.indices) for table in tables))
        credit = self.credit.assign(
            th.cat([self._features_of(buffer, table) for buffer, table in sources]),
            th.cat([self._actions_of(buffer, table) for buffer, table in sources]),
            rewards,
            StepTable.concatenate(tables),
            self.gamma,
            self.gae_lambda,
            self.advantage_temperature,
            self.policy.plan_horizon,
            OFFLINE if is_first and self.offline_buffer is not None else ONLINE,
        )
        start = 0
        for buffer, table in sources:
            own = slice(start, start + len(table.indices))
            buffer.set_credit(
                table.indices, credit.weights[own], None if credit.advantages is None else credit.advantages[own]
            )
            start = own.stop
        self._is_informed |= any(np.ptp(part) > 0 for part in (credit.weights, credit.advantages) if part is not None)
        for name, value in credit.logs.items():
            self.logger.record(f"train/{name}", value)

    def _is_credit_due(self, n_steps: int) -> bool:
        """Whether enough has come since credit was last assigned, or the first return, or a buffer without any."""
        buffers = self._buffers()
        if self._credited_steps is None:
            return True
        if self.policy.plan_horizon is not None and not all(buffer.knows_advantages for buffer in buffers):
            return True
        if not self._knows_returns and any(buffer.n_trajectories > 0 for buffer in buffers):
            return True
        n_held = min(self._credited_steps, self.buffer_size)
        n_held += 0 if self.offline_buffer is None else self.offline_buffer.size()
        freq = min(max(ADVANTAGE_GROWTH * n_held, MIN_ADVANTAGE_FREQ), MAX_ADVANTAGE_FREQ)
        return abs(n_steps - self._credited_steps) >= freq  # loading may bring a smaller buffer

    @th.no_grad()
    def _features_of(self, buffer: TrajectoryReplayBuffer, table: StepTable) -> th.Tensor:
        """Features of all observations of a buffer, of shape ``(n_steps, features_dim)``."""
        n_parts = math.ceil(len(table.indices) / FEATURES_BATCH)
        return th.cat(
            [
                self.policy.extract_features(buffer.observations_at(indices, self._vec_normalize_env))
                for indices in np.array_split(table.indices, n_parts)
            ]
        )

    def _actions_of(self, buffer: TrajectoryReplayBuffer, table: StepTable) -> th.Tensor:
        """Encoded actions of all steps of a buffer, of shape ``(n_steps, encoded_dim)``."""
        actions = buffer.actions.reshape(-1, buffer.actions.shape[-1])[table.indices].astype(np.float32)
        return self.policy.model.decoder.head.encode(th.as_tensor(actions, device=self.device))

    # ---------------------------------------------------------------- online

    def _begin_rollout(self) -> None:
        super()._begin_rollout()
        self._last_plans = PlanState.begin(self.n_envs, self.policy.plan_dim)
        self._random_policies = RandomPolicies(self.n_envs, self.policy.features_dim, self.action_space)
        self._behaviours = np.full(self.n_envs, Behaviour.EXPLORE)

    @property
    def _knows_returns(self) -> bool:
        return self.target_return is not None and self.target_return.value is not None

    def _fit_target(self, returns: Array) -> None:
        assert self.target_return is not None
        self.target_return.fit(returns)
        self._tell_target()

    def _end_episode(self, episode_return: float) -> None:
        assert self.target_return is not None
        self._n_informed_episodes += self._is_informed
        self.target_return.update(episode_return)
        self._tell_target()

    def _tell_target(self) -> None:
        """The policy explores with the target, also when it is used alone."""
        assert self.target_return is not None
        if self.target_return.value is not None:
            self.policy.planner.target_return.fill_(self.target_return.value)
            if hasattr(self, "_logger"):  # there is none before the first learning
                self.logger.record("rollout/target_return", self.target_return.value)

    def _begin_episodes(self, is_start: Array, learning_starts: int) -> None:
        """
        Decide what the episodes that start follow: random policies until some have done better than others, then ever fewer.

        A model that has learnt offline knows where to go.
        """
        assert self._random_policies is not None
        n_starts = int(is_start.sum())
        if n_starts == 0:
            return
        random_ratio = N_RANDOM_EPISODES / (N_RANDOM_EPISODES + self._n_informed_episodes)
        if self._n_offline_updates > 0:
            random_ratio = 0.0
        elif self.num_timesteps < learning_starts:
            random_ratio = 1.0
        self._behaviours[is_start] = draw_behaviours(n_starts, self.explore_ratio, random_ratio)
        self._random_policies.draw(np.flatnonzero(is_start & (self._behaviours == Behaviour.RANDOM)))

    def _act(self, behaviour: Behaviour, envs: Array) -> Array:
        """Buffer actions of the environments that follow a behaviour, of shape ``(len(envs), *action_shape)``."""
        assert self._last_obs is not None and self._last_episode_starts is not None and self._last_plans is not None
        obs: Any = map_observations(lambda array: array[envs], self._last_obs)
        if behaviour == Behaviour.RANDOM:
            assert self._random_policies is not None
            with th.no_grad():
                features = self.policy.extract_features(self.policy.obs_to_tensor(obs)[0]).cpu().numpy()
            return self._random_policies.act(features, envs).reshape(-1, *self.action_space.shape)  # type: ignore[misc]
        is_start = np.asarray(self._last_episode_starts, dtype=bool)[envs]
        plans = PlanState(*(part[envs] for part in self._last_plans))
        actions, state = self.policy.predict(obs, plans, is_start, deterministic=behaviour == Behaviour.EXPLOIT)
        assert state is not None
        for part, new in zip(self._last_plans, state, strict=True):
            part[envs] = new
        if not isinstance(self.action_space, spaces.Box):
            return actions
        of_all = np.zeros((self.n_envs, *actions.shape[1:]), dtype=actions.dtype)
        of_all[envs] = actions
        self._rollout_env.check_actions(of_all)  # an infinite one would be clipped
        return scale_actions(self.action_space, actions)

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "actor", "credit", "_last_plans", "_random_policies"]

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return ["policy", "policy.optimizer", "credit", "credit.optimizer"], []
