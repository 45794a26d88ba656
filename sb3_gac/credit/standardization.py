"""Advantages in units of what they are in each state."""

import numpy as np
import torch as th

from sb3_gac.networks import SpreadPredictor
from sb3_gac.type_aliases import Array

BATCH_SIZE = 512
MAX_SIZE = 4.0  # standard deviations; what is larger is cut


def standardise_by_state(
    spread_net: SpreadPredictor, optimizer: th.optim.Optimizer, features: th.Tensor, advantages: Array, n_updates: int
) -> Array:
    """
    Advantages minus their mean, by their standard deviation, both of which are predicted from the observation.

    :param spread_net: It learns.
    :param optimizer: Its optimizer.
    :param features: Features of the observations, of shape ``(n_steps, features_dim)``.
    :param advantages: Of mean 0 and standard deviation 1 or so, of shape ``(n_steps,)``.
    :param n_updates: Gradient steps.
    """
    targets = th.as_tensor(advantages, dtype=th.float32, device=features.device)
    for _ in range(n_updates):
        rows = th.randint(len(targets), (BATCH_SIZE,), device=features.device)
        mean, log_std = spread_net(features[rows])
        loss = (0.5 * ((targets[rows] - mean) * (-log_std).exp()).square() + log_std).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with th.no_grad():
        mean, log_std = spread_net(features)
        standardised = ((targets - mean) * (-log_std).exp()).clamp(-MAX_SIZE, MAX_SIZE)
    result: Array = standardised.cpu().numpy()
    return result / max(float(np.std(result)), 1e-6)
