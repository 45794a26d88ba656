"""How to stay where a trajectory ended, which recordings that are cut on arrival do not show."""

from dataclasses import dataclass

import numpy as np

from sb3_gac.data.trajectory import Array

N_NEAR = 256  # transitions that the dynamics of a place are fitted to
MAX_ERROR = 0.05  # of the fit, as a share of the changes, root mean squares; beyond it nobody knows how to stay
ACTION_COST = 0.1  # of the variance of actions, beside that of observations
RICCATI_STEPS = 100
PUSH_STEPS = 10  # that one push lasts
MIN_EFFECT = 1e-3  # of the strongest, that a change of the observation or action must have to be made use of
MIN_STD = 1e-8


@dataclass(frozen=True)
class _Regulator:
    """
    A linear-quadratic regulator around a place to rest, in standardised units.

    :param rest: Observation that does not change under ``action``, of shape ``(n_entries,)``.
    :param action: Of shape ``(n_actions,)``.
    :param drift: How deviations from ``rest`` go on by themselves, of shape ``(n_entries, n_entries)``.
    :param effect: What deviations from ``action`` do to them, of shape ``(n_entries, n_actions)``.
    :param gain: Action against each deviation, of shape ``(n_actions, n_entries)``.
    """

    rest: Array
    action: Array
    drift: Array
    effect: Array
    gain: Array

    def act(self, observation: Array) -> Array:
        action: Array = self.action - self.gain @ (observation - self.rest)
        return action

    def step(self, observation: Array, action: Array) -> Array:
        following: Array = self.rest + self.drift @ (observation - self.rest) + self.effect @ (action - self.action)
        return following


class Holding:
    """
    Simulated steps of staying where a trajectory ended, by regulators of what the data shows nearby.

    A linear model is fitted to the transitions nearest to the end, solved for the nearest observation and action under which
    nothing changes, and fitted anew there. Its linear-quadratic regulator brakes, comes to rest there, and comes back when
    it is pushed. Where few transitions are near, they are not linear, or rest lies outside of the data, nothing is known.

    :param rows: Standardised observations of all steps, of shape ``(n_steps, n_entries)``.
    :param actions: Actions of all steps, of shape ``(n_steps, *action_shape)``.
    :param is_followed: Whether a step led to the next row, booleans of shape ``(n_steps,)``.
    """

    def __init__(self, rows: Array, actions: Array, is_followed: Array) -> None:
        self.recorded_actions = actions
        flat = actions.reshape(len(actions), -1).astype(np.float64)
        self.action_mean, self.action_std = flat.mean(axis=0), flat.std(axis=0).clip(min=MIN_STD)
        self.actions = (flat - self.action_mean) / self.action_std
        self.low, self.high = self.actions.min(axis=0), self.actions.max(axis=0)
        self.rows = rows.astype(np.float64)
        self.followed = np.flatnonzero(is_followed)
        self.before = self.rows[self.followed]
        self.sizes = np.square(self.before).sum(axis=1)
        self.changes = self.rows[self.followed + 1] - self.before
        self.regulators: dict[int, _Regulator | None] = {}

    def stay(self, end: int, n_steps: int) -> tuple[Array, Array]:
        """
        What follows the last step of a trajectory where it stays. Actions of the data push it about; what is shown is what
        the regulator does about that.

        :param end: The last step.
        :param n_steps: Number of steps wanted.
        :return: Standardised observations ``(n_steps, n_entries)`` and actions ``(n_steps, *action_shape)``; no steps where it
            is not known how to stay.
        """
        if end not in self.regulators:
            self.regulators[end] = self._fit_regulator(self.rows[end])
        regulator = self.regulators[end]
        if regulator is None:
            return self.rows[:0], self.recorded_actions[:0]
        pushes = self.actions[np.random.randint(len(self.actions), size=-(-n_steps // PUSH_STEPS))].repeat(PUSH_STEPS, axis=0)
        observations, actions = np.empty((n_steps, self.rows.shape[1])), np.empty((n_steps, self.actions.shape[1]))
        observation = regulator.step(self.rows[end], self.actions[end])
        for step in range(n_steps):
            observations[step], actions[step] = observation, regulator.act(observation).clip(self.low, self.high)
            observation = regulator.step(observation, (actions[step] + pushes[step]).clip(self.low, self.high))
        actions = actions * self.action_std + self.action_mean
        return observations, actions.reshape(n_steps, *self.recorded_actions.shape[1:]).astype(self.recorded_actions.dtype)

    def _fit_regulator(self, end: Array) -> _Regulator | None:
        if len(self.followed) < N_NEAR or self.recorded_actions.dtype.kind != "f":
            return None
        n_entries = len(end)
        rest = end
        for _ in range(2):  # around the end, and then where it can rest
            distances = self.sizes - 2 * self.before @ rest  # squared, but for what is the same for all
            near = np.argpartition(distances, N_NEAR - 1)[:N_NEAR]
            changes = self.changes[near]
            inputs = np.column_stack((self.before[near] - rest, self.actions[self.followed[near]], np.ones(N_NEAR)))
            weights = np.linalg.lstsq(inputs, changes, rcond=None)[0]
            slopes, change = weights[:-1].T, weights[-1]
            shift = np.linalg.lstsq(slopes, -change, rcond=MIN_EFFECT)[0]
            rest = rest + shift[:n_entries]
        tolerance = MAX_ERROR * np.sqrt(np.square(changes).mean())
        errors = (changes - inputs @ weights, slopes @ shift + change)
        is_known = all(np.sqrt(np.square(error).mean()) <= tolerance for error in errors)
        action = shift[n_entries:]
        if not (is_known and _is_within(rest, self.rows) and _is_within(action, self.actions)):
            return None
        drift, effect = np.eye(n_entries) + slopes[:, :n_entries], slopes[:, n_entries:]
        return _Regulator(rest, action, drift, effect, _lqr_gain(drift, effect))


def _is_within(point: Array, rows: Array) -> bool:
    return bool((point >= rows.min(axis=0)).all() and (point <= rows.max(axis=0)).all())


def _lqr_gain(drift: Array, effect: Array) -> Array:
    """Of the linear-quadratic regulator with unit costs of observations, by the Riccati recursion."""
    cost = np.eye(len(drift))
    for _ in range(RICCATI_STEPS):
        pull = effect.T @ cost
        gain: Array = np.linalg.solve(ACTION_COST * np.eye(effect.shape[1]) + pull @ effect, pull @ drift)
        cost = np.eye(len(drift)) + drift.T @ cost @ (drift - effect @ gain)
    return gain
