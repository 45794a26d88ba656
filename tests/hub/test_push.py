"""Models pushed to a Hub on this machine and pulled from it."""

import json
import pickle
import re
import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest
import yaml
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from sb3_gac import GAC, load_from_hub, push_to_hub
from sb3_gac.hub import HubError
from tests.hub.local_hub import TOKEN, LocalHub

REPO = "tester/gac"
QUICK = dict(token=TOKEN, n_eval_episodes=2, video_steps=0)
OBSERVATIONS = np.random.default_rng(0).uniform(-1, 1, size=(4, 3)).astype(np.float32)


def act(model) -> np.ndarray:
    return model.predict(OBSERVATIONS, deterministic=True)[0]


def push(model, hub, env, **kwargs) -> str:
    return push_to_hub(model, REPO, env, endpoint=hub.url, **(QUICK | kwargs))


def pull(hub, **kwargs) -> GAC:
    return load_from_hub(REPO, endpoint=hub.url, device="cpu", **kwargs)


@pytest.fixture(scope="module")
def pendulum() -> GAC:
    env = gym.make("Pendulum-v1", max_episode_steps=30)
    options = dict(policy_kwargs=dict(net_arch=[16], n_candidates=8), train_freq=(1, "episode"), seed=0, device="cpu")
    return GAC("MlpLatentPolicy", env, learning_starts=0, **options).learn(90)


@pytest.fixture
def env() -> gym.Env:
    return gym.make("Pendulum-v1", max_episode_steps=30)


def card_of(hub: LocalHub) -> str:
    return hub.repos[REPO].files()["README.md"].decode()


def metadata(hub: LocalHub) -> dict:
    return yaml.safe_load(card_of(hub).split("---\n")[1])


def test_bit_for_bit(hub, pendulum, env):
    address = push(pendulum, hub, env)
    files = hub.repos[REPO].files()
    assert set(files) == {".gitattributes", "README.md", "model.safetensors"}
    assert address == f"{hub.url}/{REPO}/commit/{hub.repos[REPO].branches['main']}"
    loaded = pull(hub, env=env)
    np.testing.assert_array_equal(act(loaded), act(pendulum))
    assert loaded.num_timesteps == 90
    # Nothing else of it was asked for
    fetched = {request.rpartition("/")[2] for request in hub.requests if request.startswith("GET") and "/resolve/" in request}
    assert fetched == {"model.safetensors"}


def test_one_commit(hub, pendulum, env):
    push(pendulum, hub, env)
    # What is stale goes, other files of the repository stay
    hub.repos[REPO].files().update({"notes.txt": b"mine", "replay.mp4": b"of another model"})
    push(pendulum, hub, env, n_eval_episodes=1)
    assert hub.repos[REPO].messages[1:] == 2 * ["GAC on Pendulum-v1"]
    files = hub.repos[REPO].files()
    assert files["notes.txt"] == b"mine"
    assert "replay.mp4" not in files


def test_the_numbers_of_the_card(hub, pendulum, env):
    push(pendulum, hub, env, seed=5, n_eval_episodes=3, license="mit", dataset="mujoco/hopper")
    card, data = card_of(hub), metadata(hub)
    assert (data["library_name"], data["pipeline_tag"], data["license"]) == (
        "stable-baselines3",
        "reinforcement-learning",
        "mit",
    )
    assert {"Pendulum-v1", "offline-reinforcement-learning"} <= set(data["tags"])
    (result,) = data["model-index"][0]["results"]
    numbers = {metric["type"]: metric["value"] for metric in result["metrics"]}
    assert all(isinstance(value, int | float) for value in numbers.values())

    # As if played by hand
    total = []
    env.reset(seed=5)
    for _ in range(3):
        observation, state, done, total = env.reset(seed=None if total else 5)[0], None, False, [*total, 0.0]
        while not done:
            action, state = pendulum.predict(observation[None], state, deterministic=True)
            observation, reward, terminated, truncated, _ = env.step(action[0])
            total[-1] += float(reward)
            done = terminated or truncated
    assert numbers["mean_reward"] == pytest.approx(np.mean(total), abs=1e-5)
    assert numbers["std_reward"] == pytest.approx(np.std(total), abs=1e-5)
    assert numbers["n_eval_episodes"] == 3
    assert f"| {np.mean(total):.2f} | {np.std(total):.2f} | 30.0 |\n\n3 whole episodes, exploiting, seed 5." in card
    assert " gradient steps, 0 of them offline, from the data set `mujoco/hopper`." in card
    assert '"n_candidates": 8' in card
    assert "film" not in card and "curve" not in card


def test_a_learning_curve_and_a_film(hub, pendulum, tmp_path):
    pytest.importorskip("pygame")
    np.savez(tmp_path / "evaluations.npz", timesteps=np.arange(1, 4), results=np.ones((3, 2)))
    env = gym.make("Pendulum-v1", max_episode_steps=30, render_mode="rgb_array")
    push(pendulum, hub, env, learning_curve=tmp_path, video_steps=3)
    files = hub.repos[REPO].files()
    assert files["learning_curve.png"].startswith(b"\x89PNG") and files["replay.mp4"][4:8] == b"ftyp"
    assert "![Learning curve](learning_curve.png)" in card_of(hub) and "(replay.mp4)" in card_of(hub)


def test_the_snippet_runs_in_a_process_that_knows_nothing(hub, pendulum, env, tmp_path):
    push(pendulum, hub, env)
    (snippet,) = re.findall(r"```python\n(.*?)```", hub.repos[REPO].files()["README.md"].decode(), flags=re.DOTALL)
    program = snippet + (
        "import numpy as np\n"
        "observations = np.random.default_rng(0).uniform(-1, 1, size=(4, 3)).astype(np.float32)\n"
        "print(model.predict(observations, deterministic=True)[0].tobytes().hex())\n"
    )
    # As pickles would need it: nothing of this process, no folder of the project but the package
    environment = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path), "PATH": "", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {json.dumps(sys.path[0] or '.')})\n{program}"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment | _package(tmp_path), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    evaluation, actions = done.stdout.strip().splitlines()[-2:]
    assert float(evaluation.strip("()").split(",")[0].removeprefix("np.float64(").rstrip(")")) < 0
    assert actions == act(pendulum).tobytes().hex()


def _package(tmp_path) -> dict[str, str]:
    """A path with the package alone, as if it were installed."""
    import sb3_gac

    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sb3_gac").symlink_to(next(iter(sb3_gac.__path__)))
    return {"PYTHONPATH": str(tmp_path / "site")}


def test_a_commit_of_a_private_repository(hub, pendulum, env):
    push(pendulum, hub, env, private=True)
    repo = hub.repos[REPO]
    assert repo.private
    commit = repo.branches["main"]
    repo.commit("main", {}, "nothing is left")
    np.testing.assert_array_equal(act(pull(hub, revision=commit, token=TOKEN)), act(pendulum))
    for revision, token in ((None, None), ("v3", TOKEN), (None, TOKEN)):
        with pytest.raises(HubError, match=r"tester/gac was not loaded: .*404"):
            pull(hub, revision=revision, token=token)


def test_private_means_private(hub, pendulum, env):
    push(pendulum, hub, env)
    commits = dict(hub.repos[REPO].commits)
    with pytest.raises(HubError, match=r"no file of it has changed.*exists and is public"):
        push(pendulum, hub, env, private=True)
    assert hub.repos[REPO].commits == commits


def test_normalised_observations(hub, env):
    def make():
        return DummyVecEnv([lambda: gym.make("Pendulum-v1", max_episode_steps=30)])

    normalized = VecNormalize(make())
    kwargs = dict(learning_starts=0, train_freq=30, policy_kwargs=dict(net_arch=[16]), device="cpu")
    model = GAC("MlpLatentPolicy", normalized, **kwargs).learn(60)
    count = normalized.obs_rms.count
    push(model, hub, normalized)
    # The evaluation has changed no statistics, and given raw returns
    assert (normalized.obs_rms.count, normalized.training, normalized.norm_reward) == (count, True, True)
    assert metadata(hub)["model-index"][0]["results"][0]["metrics"][0]["value"] < -20
    loaded = pull(hub, env=env)
    observations = np.ones((1, 3), dtype=np.float32)
    frozen = loaded.get_vec_normalize_env()
    np.testing.assert_array_equal(frozen.normalize_obs(observations), normalized.normalize_obs(observations))
    assert not frozen.training and not frozen.norm_reward
    # A model without an environment keeps them for the one it gets, and for the next push
    with pytest.warns(UserWarning, match="normalised by VecNormalize"):
        loaded = pull(hub)
    before = metadata(hub)["model-index"]
    push(loaded, hub, make())
    assert metadata(hub)["model-index"] == before
    # An environment that is normalised already takes them up and goes on
    theirs = VecNormalize(make())
    loaded = pull(hub, env=theirs)
    assert loaded.get_env() is theirs and not isinstance(theirs.venv, VecNormalize) and theirs.training
    np.testing.assert_array_equal(theirs.obs_rms.mean, normalized.obs_rms.mean)
    # The model goes on learning where it was
    assert model.learn(30, reset_num_timesteps=False).num_timesteps == 90


class Bomb:
    """Leaves a file wherever it is loaded."""

    def __init__(self, path) -> None:
        self.path = path

    def __reduce__(self):
        return (eval, (f"open({str(self.path)!r}, 'w').close()",))


class TestPickles:
    @pytest.fixture
    def mark(self, hub, pendulum, env, tmp_path):
        """Where the bombs in all the pickles that a repository may hold leave their mark."""
        push(pendulum, hub, env)
        mark = tmp_path / "exploded"
        for name in ("gac-Pendulum-v1.zip", "vec_normalize.pkl", "gac.pkl", "policy.pth", "optimizer.pt", "config.pickle"):
            hub.repos[REPO].files()[name] = pickle.dumps(Bomb(mark))
        return mark

    def test_they_are_not_loaded(self, hub, pendulum, env, mark):
        np.testing.assert_array_equal(act(pull(hub, env=env)), act(pendulum))
        assert not mark.exists()

    def test_the_bomb_is_one(self, mark):
        pickle.loads(pickle.dumps(Bomb(mark)))
        assert mark.exists()

    def test_nor_in_the_place_of_the_weights(self, hub, env, mark):
        hub.repos[REPO].files()["model.safetensors"] = pickle.dumps(Bomb(mark))
        with pytest.raises(ValueError, match=r"model\.safetensors cannot be loaded: it is damaged"):
            pull(hub, env=env)
        assert not mark.exists()

    def test_there_is_nothing_else(self, hub, mark):
        del hub.repos[REPO].files()["model.safetensors"]
        with pytest.raises(HubError, match=r"was not loaded: .*404"):
            pull(hub)
        assert not mark.exists()


class TestFailures:
    @pytest.mark.parametrize(
        ("part", "status"), [("whoami", 500), ("preupload", 403), ("validate-yaml", 403), ("/commit/", 403), ("/commit/", 500)]
    )
    def test_change_nothing(self, hub, pendulum, env, part, status):
        push(pendulum, hub, env)
        before = dict(hub.repos[REPO].files())
        hub.fail(part, status)
        advice = "hf auth login" if status == 403 else str(status)
        with pytest.raises(HubError, match=rf"tester/gac was not pushed, no file .* changed; .*save_safe.*{advice}"):
            push(pendulum, hub, env, n_eval_episodes=3)
        assert hub.repos[REPO].files() == before
        assert len(hub.repos[REPO].messages) == 2

    def test_of_the_network(self, pendulum, env):
        with LocalHub() as hub:
            address = hub.url
        with pytest.raises(HubError, match="was not pushed"):
            push_to_hub(pendulum, REPO, env, endpoint=address, **QUICK)

    @pytest.mark.parametrize("is_offline", [False, True])
    def test_what_was_downloaded_is_loaded_without_a_network(self, hub, pendulum, env, monkeypatch, is_offline):
        push(pendulum, hub, env)
        if is_offline:
            with monkeypatch.context() as patch, pytest.raises(HubError, match="was not loaded"):
                patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
                pull(hub)
        pull(hub)
        hub.fail("", 503)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", is_offline)
        np.testing.assert_array_equal(act(pull(hub)), act(pendulum))

    def test_a_wrong_token_is_said_before_the_evaluation(self, hub, pendulum, env):
        with pytest.raises(HubError, match="hf auth login"):
            push(pendulum, hub, env, token="hf_wrong", n_eval_episodes=10**6)
        assert hub.repos == {}


class TestArguments:
    """What is wrong is said before anything is done."""

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            (dict(repo_id="no name"), "no name"),
            (dict(repo_id="name"), "must be 'user/name'"),
            (dict(n_eval_episodes=0), "n_eval_episodes must be at least 1, got 0"),
        ],
    )
    def test_wrong_ones(self, hub, pendulum, env, changes, message):
        options = dict(repo_id=REPO, env=env, endpoint=hub.url) | QUICK | changes
        with pytest.raises(ValueError, match=message):
            push_to_hub(pendulum, **options)
        assert hub.requests == []

    def test_no_learning_curve(self, hub, pendulum, env):
        with pytest.raises(FileNotFoundError, match="there is no evaluations"):
            push(pendulum, hub, env, learning_curve="nowhere")
        assert hub.requests == []

    def test_what_json_cannot_hold(self, hub, env):
        model = GAC("MlpLatentPolicy", env, learning_rate=lambda progress: 1e-3, policy_kwargs=dict(net_arch=[8]))
        with pytest.raises(ValueError, match=r"\['learning_rate'\] is the function"):
            push(model, hub, env)
        assert hub.requests == []

    def test_an_unknown_environment(self, hub, pendulum):
        with pytest.raises(gym.error.Error, match="Nowhere"):
            push(pendulum, hub, "Nowhere-v0")
        assert hub.requests == []
