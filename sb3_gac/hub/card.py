"""The model card: what a model is, how well it does, and how to use it."""

from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from gymnasium.envs.registration import EnvSpec

from sb3_gac.hub.description import MODEL_FILE, WEIGHTS_FILE
from sb3_gac.hub.replay import Evaluation

CARD_FILE, CURVE_FILE, VIDEO_FILE = "README.md", "learning_curve.png", "replay.mp4"
PAPER = "https://arxiv.org/abs/2512.21527"


@dataclass(frozen=True)
class CardContent:
    """
    What a card tells.

    :param repo_id: The repository, ``"user/name"``.
    :param revision: Its branch; ``None`` for the main one.
    :param env_name: Name of the environment.
    :param spec: What the environment is registered as, if it is.
    :param description: See :func:`~sb3_gac.hub.description.describe`.
    :param evaluation: Returns of the model.
    :param dataset: Name of the data set learnt from, if there is one.
    :param zip_file: Name of the SB3 archive.
    :param no_curve: Why there is no learning curve; ``None`` where there is one.
    :param no_video: Why there is no film; ``None`` where there is one.
    :param video_url: Where the film is found.
    :param license: Licence of the model, as the Hub names it.
    """

    repo_id: str
    revision: str | None
    env_name: str
    spec: EnvSpec | None
    description: dict[str, Any]
    evaluation: Evaluation
    dataset: str | None
    zip_file: str
    no_curve: str | None
    no_video: str | None
    video_url: str
    license: str | None = None


def dataset_name(dataset: str | PurePath | None) -> str | None:
    """
    How a data set is called in public: a Minari id as it is, a path without its folders.

    :param dataset: Minari id, or path.
    """
    if dataset is None:
        return None
    path = PurePath(dataset)
    is_path = isinstance(dataset, PurePath) or path.is_absolute() or path.suffix in (".hdf5", ".h5") or "\\" in str(dataset)
    return path.name if is_path else str(dataset)


def make_card(content: CardContent) -> str:
    """
    The card as Markdown with the Hub's metadata above it.

    :param content: What it tells.
    """
    from huggingface_hub import ModelCardData

    tags = ["reinforcement-learning", "deep-reinforcement-learning", "stable-baselines3", "gac", "generative-actor-critic"]
    if content.dataset is not None:
        tags.append("offline-reinforcement-learning")
    data = ModelCardData(
        library_name="stable-baselines3",
        tags=[*tags, content.env_name],
        pipeline_tag="reinforcement-learning",
        license=content.license,
        model_name=content.repo_id.split("/")[-1],
        eval_results=_eval_results(content),
    )
    return f"---\n{data.to_yaml()}\n---\n\n{_body(content)}"


def _eval_results(content: CardContent) -> list[Any]:
    from huggingface_hub import EvalResult

    evaluation = content.evaluation
    metrics: dict[str, tuple[str, float | int | None]] = {
        "mean_reward": ("mean return", evaluation.mean),
        "std_reward": ("standard deviation of the return", evaluation.std),
        "normalized_score": ("normalised score", evaluation.normalized_score),
        "n_eval_episodes": ("episodes", len(evaluation.returns)),
        "seed": ("seed", evaluation.seed),
    }
    return [
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
        if value is not None
    ]


def _body(content: CardContent) -> str:
    evaluation, progress = content.evaluation, content.description["progress"]
    n_offline, n_updates = progress["_n_offline_updates"], progress["_n_updates"]
    how = "exploiting (deterministic)" if evaluation.is_deterministic else "exploring (not deterministic)"
    learnt = f"{n_updates:,} gradient steps"
    if n_offline > 0:
        learnt += f", {n_offline:,} of them offline"
    if content.dataset is not None:
        learnt += f", from the data set `{content.dataset}`"
    made_with = ", ".join(f"{package} {version}" for package, version in content.description["versions"].items())
    sections = [
        f"# GAC on {content.env_name}",
        f"A [Generative Actor Critic]({PAPER}) that acts in `{content.env_name}`, trained with "
        "[Stable-Baselines3](https://github.com/DLR-RM/stable-baselines3) and sb3_gac.",
        "## Results",
        _results_table(evaluation),
        f"{len(evaluation.returns)} whole episodes, {how}, seed {evaluation.seed}. {_scale(evaluation)}",
        _video(content),
        "## Use",
        f"With sb3_gac and its extra `hub` installed:\n\n```python\n{_snippet(content)}\n```",
        f"`{MODEL_FILE}` (plain JSON) and `{WEIGHTS_FILE}` are all that this reads: no pickle is loaded, no code of the "
        f"repository runs. `{content.zip_file}` is the archive of Stable-Baselines3, for the RL Zoo and other tools; it holds "
        "pickles, which run code when they are loaded: `load_from_hub(..., trust_pickle=True)`, if you trust who made them.",
        "## Training",
        f"{learnt}. With {made_with}.",
        f"![Learning curve]({CURVE_FILE})" if content.no_curve is None else f"There is no learning curve: {content.no_curve}.",
        _details("Hyper-parameters", content.description["arguments"]),
    ]
    return "\n\n".join(sections) + "\n"


def _results_table(evaluation: Evaluation) -> str:
    columns = {
        "mean return": f"{evaluation.mean:.2f}",
        "std of the returns": f"{evaluation.std:.2f}",
        "normalised score": "unknown" if evaluation.normalized_score is None else f"{evaluation.normalized_score:.1f}",
        "mean length": f"{evaluation.lengths.mean():.1f}",
    }
    return "\n".join(f"| {' | '.join(row)} |" for row in (columns.keys(), ["---:"] * len(columns), columns.values()))


def _scale(evaluation: Evaluation) -> str:
    if evaluation.reference_returns is None:
        return "No reference returns are known, so there is no normalised score."
    low, high = evaluation.reference_returns
    return f"The normalised score is 0 at a return of {low:g} and 100 at {high:g}."


def _video(content: CardContent) -> str:
    if content.no_video is not None:
        return f"There is no film of an episode: {content.no_video}."
    player = f'<video controls autoplay loop muted src="{content.video_url}"></video>'
    return f"{player}\n\nThe film of an episode: [{VIDEO_FILE}]({VIDEO_FILE})"


def _snippet(content: CardContent) -> str:
    lines = ["import gymnasium as gym"]
    revision = "" if content.revision is None else f", revision={content.revision!r}"
    if content.spec is None:
        make = f"env = ...  # {content.env_name}, which Gymnasium's registry does not know"
    else:
        kwargs = {name: value for name, value in content.spec.kwargs.items() if name != "render_mode"}
        make = (
            f"env = gym.make({', '.join([repr(content.spec.id), *(f'{name}={value!r}' for name, value in kwargs.items())])})"
        )
        if wrappers := [wrapper.name for wrapper in content.spec.additional_wrappers]:
            make += f"  # the model saw it through {', '.join(wrappers)}"
        package = content.spec.entry_point.partition(".")[0] if isinstance(content.spec.entry_point, str) else ""
        if package not in ("", "gymnasium"):
            lines.append(f"import {package}  # registers the environment")
    lines += [
        "from stable_baselines3.common.evaluation import evaluate_policy",
        "from sb3_gac import load_from_hub",
        "",
        make,
        f"model = load_from_hub({content.repo_id!r}, env=env{revision})",
        f"print(evaluate_policy(model, model.get_env(), n_eval_episodes={min(len(content.evaluation.returns), 10)}))",
    ]
    return "\n".join(lines)


def _details(title: str, data: dict[str, Any]) -> str:
    import yaml  # huggingface_hub brings it

    text = yaml.safe_dump(_readable(data), sort_keys=False, default_flow_style=None, allow_unicode=True)
    return f"<details>\n<summary>{title}</summary>\n\n```yaml\n{text}```\n\n</details>"


def _readable(data: Any) -> Any:
    """What :func:`~sb3_gac.hub.plain.to_plain` returned, as one would write it by hand: a reader needs no types."""
    if isinstance(data, list):
        return [_readable(item) for item in data]
    if not isinstance(data, dict):
        return data
    tag = next(iter(data), "")
    if tag == "$object":
        return {data[tag]: {key: _readable(item) for key, item in data.items() if key != tag}}
    if tag == "$float":
        return float(data[tag])
    return _readable(data[tag]) if tag.startswith("$") else {key: _readable(item) for key, item in data.items()}
