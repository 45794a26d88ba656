"""Models of the Hub in the folders of the RL Zoo, and the zoo's command that plays them."""

import re

import gymnasium as gym
import pytest
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from sb3_gac import GAC, push_to_hub
from sb3_gac.zoo.__main__ import main
from tests.hub.local_hub import TOKEN

pytest.importorskip("rl_zoo3")
REPO = "tester/gac-Pendulum-v1"


@pytest.fixture(autouse=True)
def endpoint(hub, monkeypatch, tmp_path) -> None:
    """What HF_ENDPOINT would set in a process of its own."""
    constants = "huggingface_hub.constants"
    monkeypatch.setattr(f"{constants}.ENDPOINT", hub.url)
    monkeypatch.setattr(f"{constants}.HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.chdir(tmp_path)


def push(hub, env) -> None:
    options = dict(
        policy_kwargs=dict(net_arch=[16], n_candidates=8),
        learning_starts=0,
        train_freq=(1, "episode"),
        gradient_steps=2,
        seed=0,
        device="cpu",
    )
    model = GAC("MlpLatentPolicy", env, **options).learn(200)
    push_to_hub(model, REPO, env, token=TOKEN, endpoint=hub.url, n_eval_episodes=1, seed=3, video_steps=0)


def test_a_run(hub, capsys):
    push(hub, gym.make("Pendulum-v1"))
    main(["load-from-hub", "--env", "Pendulum-v1", "-orga", "tester"])
    main(["load-from-hub", "--env", "Pendulum-v1", "-orga", "tester", "-name", "gac-Pendulum-v1"])
    assert capsys.readouterr().out.splitlines()[-2:] == ["logs/gac/Pendulum-v1_1", "logs/gac/Pendulum-v1_2"]
    # No pickle was asked for
    fetched = {request.rpartition("/")[2] for request in hub.requests if request.startswith("GET") and "/resolve/" in request}
    assert fetched == {"model.safetensors"}
    main(["enjoy", "--env", "Pendulum-v1", "--no-render", "-n", "200", "--seed", "3"])
    assert "Episode Length 200" in capsys.readouterr().out


def test_its_normalisation(hub, capsys):
    normalized = VecNormalize(DummyVecEnv([lambda: gym.make("Pendulum-v1")]))
    push(hub, normalized)
    main(["load-from-hub", "--env", "Pendulum-v1", "-orga", "tester", "-f", "runs"])
    main(["enjoy", "--env", "Pendulum-v1", "--no-render", "-n", "200", "--seed", "3", "-f", "runs"])
    shown = float(re.findall(r"Episode Reward: (\S+)", capsys.readouterr().out)[-1])
    card = hub.repos[REPO].files()["README.md"].decode()
    assert f"| {shown:.2f} |" in card  # the first episode of the same seed


def test_what_is_not_there(capsys):
    with pytest.raises(SystemExit, match=r"error: nobody/gac-Pendulum-v1 was not loaded: .*404"):
        main(["load-from-hub", "--env", "Pendulum-v1", "-orga", "nobody"])
    with pytest.raises(SystemExit, match=r"error: .*Nowhere"):
        main(["load-from-hub", "--env", "Nowhere-v0", "-orga", "tester"])
    with pytest.raises(SystemExit) as stopped:
        main(["load-from-hub", "--env", "Pendulum-v1"])
    assert stopped.value.code == 2
    assert "-orga" in capsys.readouterr().err
