"""
Learn, save without pickles, share on the Hugging Face Hub, and load what was shared.

    pip install ".[hub]" "gymnasium[classic-control]"
    python examples/share_on_hub.py                                        # offline: saves and loads a file
    hf auth login                                                          # or set HF_TOKEN
    python examples/share_on_hub.py --repo-id your-name/gac-Pendulum-v1    # the same and the Hub

HF_ENDPOINT is another address than https://huggingface.co, such as that of a mirror.
"""

import argparse

import gymnasium as gym
import numpy as np

from sb3_gac import GAC, load_from_hub, load_safe, push_to_hub, save_safe
from sb3_gac.hub import HubError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repo-id", help="repository to share the model in: your-name/gac-Pendulum-v1")
    parser.add_argument("--timesteps", type=int, default=4_000, help="environment steps to learn (default: 4000)")
    parser.add_argument("--output", default="gac_pendulum", help="file to save the model in")
    options = parser.parse_args()

    env = gym.make("Pendulum-v1")
    model = GAC("MlpLatentPolicy", env, train_freq=(1, "episode"), gradient_steps=20, learning_starts=0, seed=0)
    model.learn(options.timesteps)

    # Without a network: a file of safetensors and plain JSON, which may be sent to anyone and loaded from anyone
    print("saved in", save_safe(model, options.output))
    compare(model, load_safe(options.output, env))
    if options.repo_id is None:
        print("Nothing was shared: that takes --repo-id your-name/gac-Pendulum-v1.")
        return

    try:
        print("shared in", push_to_hub(model, options.repo_id, "Pendulum-v1", n_eval_episodes=5))
        compare(model, load_from_hub(options.repo_id, env=env))
    except HubError as error:
        raise SystemExit(f"{error}\nThe model is saved in {options.output} all the same.") from error


def compare(model: GAC, loaded: GAC) -> None:
    """Act with both."""
    observations = np.stack([model.observation_space.sample() for _ in range(5)])
    actions = [m.predict(observations, deterministic=True)[0] for m in (model, loaded)]
    assert (actions[0] == actions[1]).all()
    print("loaded: the same actions, bit for bit")


if __name__ == "__main__":
    main()
