"""The model card: what a model is, how well it does, and how to use it."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.envs.registration import EnvSpec

from sb3_gac.data.trajectory import Trajectory

MODEL_FILE, CARD_FILE, CURVE_FILE, VIDEO_FILE = "model.safetensors", "README.md", "learning_curve.png", "replay.mp4"
PAPER = "https://arxiv.org/abs/2512.21527"
TAGS = ("reinforcement-learning", "deep-reinforcement-learning", "stable-baselines3", "gac", "generative-actor-critic")


def make_card(
    repo_id: str,
    description: dict[str, Any],
    env: EnvSpec | str,
    trajectories: Sequence[Trajectory],
    evaluation: str,
    files: Sequence[str],
    dataset: str | None = None,
    license: str | None = None,
) -> str:
    """
    The card as Markdown with the Hub's metadata above it.

    :param repo_id: The repository, ``"user/name"``.
    :param description: The JSON of :func:`~sb3_gac.hub.safe.describe`.
    :param env: What the environment is registered as, or its name where it is not.
    :param trajectories: Whole episodes of the evaluation, in env units.
    :param evaluation: How they were played.
    :param files: Names of the files beside the card.
    :param dataset: Name of the data set learnt from, if there is one.
    :param license: Licence of the model, as the Hub names it.
    """
    from huggingface_hub import EvalResult, ModelCardData

    returns = np.array([trajectory.total_return for trajectory in trajectories])
    mean_length = np.mean([len(trajectory) for trajectory in trajectories])
    name = env if isinstance(env, str) else env.id
    metrics = {"mean_reward": float(returns.mean()), "std_reward": float(returns.std()), "n_eval_episodes": len(returns)}
    task = "reinforcement-learning"
    data = ModelCardData(
        library_name="stable-baselines3",
        tags=[*TAGS, *([] if dataset is None else ["offline-reinforcement-learning"]), name],
        pipeline_tag=task,
        license=license,
        model_name=repo_id.split("/")[-1],
        eval_results=[EvalResult(task, name, name, metric, value, task_name=task) for metric, value in metrics.items()],
    )
    progress, versions = description["progress"], description["versions"]
    learnt = f"{progress['_n_updates']:,} gradient steps, {progress['_n_offline_updates']:,} of them offline"
    sections = [
        f"---\n{data.to_yaml()}\n---",
        f"# GAC on {name}",
        f"A [Generative Actor Critic]({PAPER}) that acts in `{name}`, trained with "
        "[Stable-Baselines3](https://github.com/DLR-RM/stable-baselines3) and sb3_gac.",
        "## Results",
        "| mean return | std of the returns | mean length |\n| ---: | ---: | ---: |\n"
        f"| {returns.mean():.2f} | {returns.std():.2f} | {mean_length:.1f} |",
        f"{len(returns)} whole episodes, {evaluation}.",
        *([f"[The film of an episode]({VIDEO_FILE})."] if VIDEO_FILE in files else []),
        "## Use",
        f"With sb3_gac and its extra `hub` installed:\n\n```python\n{_snippet(repo_id, env)}\n```",
        f"`{MODEL_FILE}` is all that this reads: no pickle is loaded, no code of the repository runs.",
        "## Training",
        learnt + ("" if dataset is None else f", from the data set `{dataset}`") + ".",
        *([f"![Learning curve]({CURVE_FILE})"] if CURVE_FILE in files else []),
        f"With {', '.join(f'{package} {version}' for package, version in versions.items())}, and these arguments:",
        f"```json\n{json.dumps(description['arguments'], indent=1)}\n```",
    ]
    return "\n\n".join(sections) + "\n"


def _snippet(repo_id: str, env: EnvSpec | str) -> str:
    make = "env = ...  # one that Gymnasium's registry does not know"
    if isinstance(env, EnvSpec):
        module = env.entry_point.partition(":")[0] if isinstance(env.entry_point, str) else "gymnasium"
        package = module.partition(".")[0]
        env_id = env.id if package == "gymnasium" else f"{package}:{env.id}"  # Gymnasium imports what registers it
        kwargs = {name: value for name, value in env.kwargs.items() if name != "render_mode"}
        make = f"env = gym.make({', '.join([repr(env_id), *(f'{name}={value!r}' for name, value in kwargs.items())])})"
    lines = [
        "import gymnasium as gym",
        "from stable_baselines3.common.evaluation import evaluate_policy",
        "from sb3_gac import load_from_hub",
        "",
        make,
        f"model = load_from_hub({repo_id!r}, env=env)",
        "print(evaluate_policy(model, model.get_env(), n_eval_episodes=10))",
    ]
    return "\n".join(lines)
