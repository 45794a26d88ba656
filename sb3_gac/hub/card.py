"""The model card: what a model is, how well it does, and how to use it."""

import re
from dataclasses import dataclass
from typing import Any

from gymnasium.envs.registration import EnvSpec

from sb3_gac.hub.safe import MODEL_FILE, WEIGHTS_FILES
from sb3_gac.type_aliases import Array

CARD_FILE, CURVE_FILE, VIDEO_FILE = "README.md", "learning_curve.png", "replay.mp4"
PAPER = "https://arxiv.org/abs/2512.21527"
TAGS = ("reinforcement-learning", "deep-reinforcement-learning", "stable-baselines3", "gac", "generative-actor-critic")


@dataclass(frozen=True)
class CardContent:
    """
    What a card tells.

    :param repo_id: The repository, ``"user/name"``.
    :param description: The JSON of :func:`~sb3_gac.hub.safe.describe`.
    :param env_name: Name of the environment.
    :param spec: What the environment is registered as; ``None`` where it is not.
    :param returns: Undiscounted returns of whole episodes in env units, of shape ``(n_episodes,)``.
    :param lengths: Steps of the episodes, of shape ``(n_episodes,)``.
    :param seed: Seed of the evaluation.
    :param deterministic: Whether the policy exploited.
    :param no_curve: Why there is no learning curve; empty where there is one.
    :param no_video: Why there is no film; empty where there is one.
    :param dataset: Name of the data set learnt from, if there is one.
    :param license: Licence of the model, as the Hub names it.
    :param revision: Branch of the repository; ``None`` for the main one.
    """

    repo_id: str
    description: dict[str, Any]
    env_name: str
    spec: EnvSpec | None
    returns: Array
    lengths: Array
    seed: int
    deterministic: bool
    no_curve: str
    no_video: str
    dataset: str | None
    license: str | None
    revision: str | None


def make_card(content: CardContent) -> str:
    """
    The card as Markdown with the Hub's metadata above it.

    :param content: What it tells.
    """
    from huggingface_hub import EvalResult, ModelCardData

    metrics: dict[str, tuple[str, float]] = {
        "mean_reward": ("mean return", float(content.returns.mean())),
        "std_reward": ("standard deviation of the return", float(content.returns.std())),
        "n_eval_episodes": ("episodes", len(content.returns)),
        "seed": ("seed", content.seed),
    }
    results = [
        EvalResult(
            task_type="reinforcement-learning",
            task_name="reinforcement-learning",
            dataset_type=content.env_name,
            dataset_name=content.env_name,
            metric_type=kind,
            metric_name=name,
            metric_value=value,
        )
        for kind, (name, value) in metrics.items()
    ]
    data = ModelCardData(
        library_name="stable-baselines3",
        tags=[*TAGS, *(["offline-reinforcement-learning"] if content.dataset is not None else []), content.env_name],
        pipeline_tag="reinforcement-learning",
        license=content.license,
        model_name=content.repo_id.split("/")[-1],
        eval_results=results,
    )
    return f"---\n{data.to_yaml()}\n---\n\n{_body(content)}"


def _body(content: CardContent) -> str:
    returns, progress = content.returns, content.description["progress"]
    learnt = f"{progress['_n_updates']:,} gradient steps, {progress['_n_offline_updates']:,} of them offline"
    if content.dataset is not None:
        learnt += f", from the data set {escape(content.dataset)}"
    made_with = ", ".join(f"{package} {version}" for package, version in content.description["versions"].items())
    video = f"[The film of an episode]({VIDEO_FILE})."
    curve = f"![Learning curve]({CURVE_FILE})"
    sections = [
        f"# GAC on {escape(content.env_name)}",
        f"A [Generative Actor Critic]({PAPER}) that acts in {escape(content.env_name)}, trained with "
        "[Stable-Baselines3](https://github.com/DLR-RM/stable-baselines3) and sb3_gac.",
        "## Results",
        "| mean return | std of the returns | mean length |\n| ---: | ---: | ---: |\n"
        f"| {returns.mean():.2f} | {returns.std():.2f} | {content.lengths.mean():.1f} |",
        f"{len(returns)} whole episodes, {'exploiting' if content.deterministic else 'exploring'}, seed {content.seed}.",
        f"There is no film of an episode: {escape(content.no_video)}." if content.no_video else video,
        "## Use",
        f"With sb3_gac and its extra `hub` installed:\n\n{code_block(_snippet(content), 'python')}",
        f"`{MODEL_FILE}` (plain JSON) and `{WEIGHTS_FILES}` are all that this reads: no pickle is loaded, no code of the "
        "repository runs.",
        "## Training",
        f"{learnt}. With {made_with}.",
        f"There is no learning curve: {escape(content.no_curve)}." if content.no_curve else curve,
        f"All hyper-parameters are in [{MODEL_FILE}]({MODEL_FILE}).",
    ]
    return "\n\n".join(sections) + "\n"


def _snippet(content: CardContent) -> str:
    lines = ["import gymnasium as gym"]
    make = "env = ...  # one that Gymnasium's registry does not know"
    if content.spec is not None:
        kwargs = {name: value for name, value in content.spec.kwargs.items() if name != "render_mode"}
        arguments = ", ".join([repr(content.spec.id), *(f"{name}={value!r}" for name, value in kwargs.items())])
        make = f"env = gym.make({arguments})"
        package = content.spec.entry_point.partition(".")[0] if isinstance(content.spec.entry_point, str) else ""
        if package not in ("", "gymnasium"):
            lines.append(f"import {package}  # registers the environment")
    revision = "" if content.revision is None else f", revision={content.revision!r}"
    lines += [
        "from stable_baselines3.common.evaluation import evaluate_policy",
        "from sb3_gac import load_from_hub",
        "",
        make,
        f"model = load_from_hub({content.repo_id!r}, env=env{revision})",
        f"print(evaluate_policy(model, model.get_env(), n_eval_episodes={min(len(content.returns), 10)}))",
    ]
    return "\n".join(lines)


def escape(text: str) -> str:
    """
    Text that means nothing in Markdown but itself.

    :param text: Any text.
    """
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", " ".join(text.split()))


def code_block(text: str, language: str) -> str:
    """
    Text as a block of code.

    :param text: Any text.
    :param language: Its language.
    """
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"
