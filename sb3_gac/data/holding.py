"""How to stay where a trajectory ended, which recordings that are cut on arrival do not show."""

from dataclasses import dataclass

import numpy as np

from sb3_gac.data.trajectory import Array

N_NEAR = 256  # transitions that the dynamics of a place are fitted to; they are twice what is fitted, at least
MAX_ERROR = 0.05  # of each entry's changes, root mean squares: of the fit, and of what still changes at rest
# Of the variance of actions, beside that of observations. What learns from a stiffer spring, with some error in its actions,
# comes to rest less far from where it should
ACTION_COST = 0.01
RICCATI_STEPS = 100
PUSH_STEPS = 10  # that one push lasts
MARGIN = 0.5  # standard deviations that what is simulated may lie beyond what was recorded
MIN_EFFECT = 1e-3  # of the strongest, that a change of the observation or action must have to be made use of
ROUNDING = 1e-5  # of standardised numbers


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
    it is pushed. Where the transitions are not linear, rest would take other actions than were recorded, or what is simulated
    leaves what was recorded, nothing is known.

    :param rows: Standardised observations of all steps, of shape ``(n_steps, n_entries)``.
    :param actions: Actions of all steps, floats of shape ``(n_steps, *action_shape)``.
    :param is_followed: Whether a step led to the next row, booleans of shape ``(n_steps,)``.
    """

    def __init__(self, rows: Array, actions: Array, is_followed: Array) -> None:
        self.recorded_actions = actions
        flat = actions.reshape(len(actions), -1).astype(np.float64)
        self.action_mean, self.action_std = flat.mean(axis=0), np.maximum(flat.std(axis=0), ROUNDING)
        self.actions = (flat - self.action_mean) / self.action_std
        self.action_low, self.action_high = self.actions.min(axis=0), self.actions.max(axis=0)
        self.rows = rows.astype(np.float64)
        self.low, self.high = self.rows.min(axis=0) - MARGIN, self.rows.max(axis=0) + MARGIN
        self.followed = np.flatnonzero(is_followed)
        self.before = self.rows[self.followed]
        self.squares = np.square(self.before).sum(axis=1)
        self.changes = self.rows[self.followed + 1] - self.before
        self.regulators: dict[int, _Regulator | None] = {}
        self.generator = np.random.default_rng(0)

    def rest(self, end: int) -> Array:
        """
        The standardised observation at rest of what stays where a trajectory ended, of shape ``(n_entries,)``; its last one
        where no rest is known. There may be one where nothing is shown of the way to it, which leaves what was recorded.

        :param end: The last step.
        """
        regulator = self._regulator(end)
        return self.rows[end] if regulator is None else regulator.rest

    def stay(self, end: int, n_steps: int) -> tuple[Array, Array]:
        """
        What follows the last step of a trajectory that stays at the nearest place to rest. Actions of the data push it about;
        what is shown is what the regulator does about that.

        :param end: The last step.
        :param n_steps: Number of steps wanted.
        :return: Standardised observations ``(n_steps, n_entries)`` and actions ``(n_steps, *action_shape)``; no steps where it
            is not known how to stay.
        """
        regulator = self._regulator(end)
        if regulator is None:
            return self.rows[:0], self.recorded_actions[:0]
        pushing = self.generator.integers(len(self.actions), size=-(-n_steps // PUSH_STEPS))
        pushes = self.actions[pushing].repeat(PUSH_STEPS, axis=0)
        observations, actions = np.empty((n_steps, self.rows.shape[1])), np.empty((n_steps, self.actions.shape[1]))
        observation = regulator.step(self.rows[end], self.actions[end])
        for step in range(n_steps):
            if not _is_within(observation, self.low, self.high):
                return self.rows[:0], self.recorded_actions[:0]
            observations[step], actions[step] = observation, self._clip(regulator.act(observation))
            observation = regulator.step(observation, self._clip(actions[step] + pushes[step]))
        actions = actions * self.action_std + self.action_mean
        return observations, actions.reshape(n_steps, *self.recorded_actions.shape[1:]).astype(self.recorded_actions.dtype)

    def _clip(self, action: Array) -> Array:
        return action.clip(self.action_low, self.action_high)

    def _regulator(self, end: int) -> _Regulator | None:
        if end not in self.regulators:
            self.regulators[end] = self._fit_regulator(self.rows[end])
        return self.regulators[end]

    def _fit_regulator(self, end: Array) -> _Regulator | None:
        n_entries, n_inputs = len(end), len(end) + self.actions.shape[1] + 1
        if len(self.followed) < N_NEAR or 2 * n_inputs > N_NEAR:
            return None
        _, _, shift, _ = self._fit_place(end)
        place = end + shift[:n_entries]
        drift, effect, shift, is_known = self._fit_place(place)
        rest, action = place + shift[:n_entries], shift[n_entries:]
        is_possible = _is_within(action, self.action_low - ROUNDING, self.action_high + ROUNDING)
        if not (is_known and is_possible and _is_within(rest, self.low, self.high)):
            return None
        return _Regulator(rest, action, drift, effect, _lqr_gain(drift, effect))

    def _fit_place(self, place: Array) -> tuple[Array, Array, Array, bool]:
        """
        The linear model of a place, as of a :class:`_Regulator`; how far from the place, and from the mean action, to rest;
        whether the model and its rest are to be trusted.
        """
        distances = self.squares - 2 * self.before @ place  # squared, but for what is the same for all
        near = np.argpartition(distances, N_NEAR - 1)[:N_NEAR]
        changes = self.changes[near]
        inputs = np.column_stack((self.before[near] - place, self.actions[self.followed[near]], np.ones(N_NEAR)))
        weights = np.linalg.lstsq(inputs, changes, rcond=None)[0]
        slopes, change = weights[:-1].T, weights[-1]
        shift = np.linalg.lstsq(slopes, -change, rcond=MIN_EFFECT)[0]
        errors = np.sqrt(np.square(changes - inputs @ weights).sum(axis=0) / (N_NEAR - inputs.shape[1]))
        tolerance = MAX_ERROR * np.sqrt(np.square(changes).mean(axis=0)) + ROUNDING
        is_known = bool((np.maximum(errors, np.abs(slopes @ shift + change)) <= tolerance).all())
        n_entries = len(place)
        return np.eye(n_entries) + slopes[:, :n_entries], slopes[:, n_entries:], shift, is_known


def _is_within(point: Array, low: Array, high: Array) -> bool:
    return bool(((low <= point) & (point <= high)).all())


def _lqr_gain(drift: Array, effect: Array) -> Array:
    """Of the linear-quadratic regulator with unit costs of observations, by the Riccati recursion."""
    cost = np.eye(len(drift))
    for _ in range(RICCATI_STEPS):
        pull = effect.T @ cost
        gain: Array = np.linalg.solve(ACTION_COST * np.eye(effect.shape[1]) + pull @ effect, pull @ drift)
        cost = np.eye(len(drift)) + drift.T @ cost @ (drift - effect @ gain)
    return gain
