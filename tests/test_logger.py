"""What SB3's loggers and monitors write of a run."""

import csv
import json
from unittest import mock

import numpy as np
import pytest
from stable_baselines3.common.logger import configure
from stable_baselines3.common.monitor import Monitor, load_results
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_tables(small_gac, diary_env, tmp_path, kind):
    model = small_gac(diary_env(), learning_starts=1)
    model.set_logger(configure(str(tmp_path), [kind]))
    model.learn(20, log_interval=1)
    model.logger.close()
    lines = (tmp_path / f"progress.{kind}").read_text().splitlines()
    rows = list(csv.DictReader(lines)) if kind == "csv" else [json.loads(line) for line in lines]
    assert [int(row["time/total_timesteps"]) for row in rows] == [5, 10, 15, 20]
    assert [float(row["rollout/ep_rew_mean"]) for row in rows] == [15.0] * 4
    assert np.isfinite([float(row["train/loss"]) for row in rows]).all()


def test_json_of_an_offline_run(small_gac, make_dataset, tmp_path):
    model = small_gac()
    model.set_logger(configure(str(tmp_path), ["json"]))
    model.learn_offline(make_dataset(), 6, log_interval=3)
    model.logger.close()
    rows = [json.loads(line) for line in (tmp_path / "progress.json").read_text().splitlines()]
    assert [row["train/n_updates"] for row in rows] == [3, 6]


def test_the_text_logger(small_gac, diary_env, capsys):
    small_gac(diary_env(), verbose=1).learn(10, log_interval=1)
    printed = capsys.readouterr().out
    assert "Using cpu device" in printed
    assert "ep_rew_mean" in printed and "total_timesteps" in printed and "kl_coef" in printed


@pytest.mark.parametrize(("window", "mean"), [(1, 55.0), (2, 45.5), (100, 30.5)])
def test_stats_window_size(small_gac, diary_env, window, mean):
    """Episodes of 4, 6, 8, then 10 steps return 10, 21, 36 and 55; their mean over the window is logged."""

    class Growing(diary_env):  # from two steps before the first reset
        def reset(self, **kwargs):
            self.length += 2
            return super().reset(**kwargs)

    model = small_gac(Growing(length=2), stats_window_size=window).learn(4 + 6 + 8 + 10)
    assert model.ep_info_buffer.maxlen == model.ep_success_buffer.maxlen == window
    with mock.patch.object(model.logger, "record", wraps=model.logger.record) as record:
        model.dump_logs()
    assert mock.call("rollout/ep_rew_mean", mean) in record.call_args_list


def test_monitor(small_gac, diary_env, tmp_path):
    model = small_gac(Monitor(diary_env(), str(tmp_path / "0"))).learn(12)
    model.get_env().close()
    results = load_results(str(tmp_path))
    assert results["r"].tolist() == [15.0, 15.0]
    assert results["l"].tolist() == [5, 5]


def test_vec_monitor(small_gac, diary_env, tmp_path):
    env = VecMonitor(DummyVecEnv([lambda n=n: diary_env(length=n) for n in (2, 3)]), str(tmp_path / "0"))
    model = small_gac(env).learn(12)
    env.close()
    results = load_results(str(tmp_path))
    assert sorted(results["r"]) == [3.0, 3.0, 3.0, 6.0, 6.0]
    assert len(model.ep_info_buffer) == 5
