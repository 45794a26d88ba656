"""Waves of features against their formula."""

import numpy as np
import pytest
import torch as th

from sb3_gac import GAC
from sb3_gac.fourier import FourierFeatures


def test_waves_are_sines_and_cosines_of_fixed_projections():
    waves = FourierFeatures(3, 5, 2.0)
    features = th.randn(4, 6, 3)
    projected = features @ waves.numbers
    th.testing.assert_close(waves(features), th.cat((features, projected.sin(), projected.cos()), dim=-1))
    assert waves(features).shape[-1] == waves.out_dim == 13
    assert not list(waves.parameters())


def test_the_scale_is_that_of_their_numbers():
    th.manual_seed(0)
    assert FourierFeatures(50, 2000, 2.0).numbers.std().item() == pytest.approx(2.0, rel=0.02)


def test_they_tell_apart_what_a_network_of_the_bare_features_confuses():
    """A line that changes sign every tenth of it."""
    x = th.linspace(-1, 1, 512)[:, None]
    y = (10 * x).floor() % 2 * 2 - 1
    errors = []
    for n_waves in (0, 32):
        th.manual_seed(0)
        waves = FourierFeatures(1, n_waves, 20.0)
        net = th.nn.Sequential(waves, th.nn.Linear(waves.out_dim, 32), th.nn.ReLU(), th.nn.Linear(32, 1))
        optimizer = th.optim.Adam(net.parameters(), lr=1e-2)
        for _ in range(200):
            loss = (net(x) - y).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        errors.append(loss.item())
    assert errors[1] < 0.2 < 0.8 < errors[0]


def test_a_model_keeps_its_waves(tmp_path):
    kwargs = dict(net_arch=[8], n_decoders=2, n_waves=3, wave_scale=0.7, nll_beta=0.5)
    model = GAC("MlpLatentPolicy", "Pendulum-v1", policy_kwargs=kwargs, device="cpu", seed=0)
    first, second = model.actor.model.decoder.members
    assert not th.equal(first.waves.numbers, second.waves.numbers)
    assert first.head.nll_beta == 0.5
    model.save(tmp_path / "model")
    loaded = GAC.load(tmp_path / "model", device="cpu")
    obs = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    np.testing.assert_array_equal(loaded.predict(obs, deterministic=True)[0], model.predict(obs, deterministic=True)[0])
