"""The film of an episode."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.vec_env import VecEnv

from sb3_gac.type_aliases import Array

DEFAULT_FPS = 30


class Film:
    """
    What the first environment shows of its first episode; whatever goes wrong ends the film with a warning, not the episode.

    :param file: The mp4 file.
    :param max_steps: Steps after which the film ends; 0 for no film.
    """

    def __init__(self, file: Path, max_steps: int) -> None:
        self.file = file
        self.n_left = max_steps + 1 if max_steps > 0 else 0  # with what is seen after the reset
        self._writer: Any = None

    def record(self, vec_env: VecEnv, dones: Array) -> None:
        """
        Take a picture, after the reset and after each step.

        :param vec_env: The environments.
        :param dones: Which episodes have ended, of shape ``(n_envs,)``.
        """
        # After the last step what would be seen is the start of the next episode
        if dones[0] or self.n_left == 0:
            return self.close()
        try:
            self._take_picture(vec_env.get_images()[0], vec_env.metadata.get("render_fps") or DEFAULT_FPS)
            self.n_left -= 1
        except Exception as error:  # renderers, their drivers and ffmpeg fail in ways of their own
            warnings.warn(f"there is no film of an episode: {type(error).__name__}: {error}", stacklevel=2)
            self.close()
            self.file.unlink(missing_ok=True)

    def close(self) -> None:
        """End the film."""
        self.n_left = 0
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _take_picture(self, picture: Array | None, fps: Any) -> None:
        if picture is None:
            raise ValueError("the environment renders no images")
        frame = np.ascontiguousarray(picture[..., :3], dtype=np.uint8)
        if self._writer is None:
            from imageio_ffmpeg import write_frames

            height, width, _ = frame.shape
            # Browsers play no other pixels than these, which need even sizes
            options: dict[str, Any] = {"codec": "libx264", "macro_block_size": 2, "ffmpeg_log_level": "error"}
            self._writer = write_frames(self.file, (width, height), fps=fps, **options)
            self._writer.send(None)
        self._writer.send(frame)
