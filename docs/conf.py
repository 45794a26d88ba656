"""Sphinx settings; ``tox -e docs`` builds the site into ``build/docs``."""

import sb3_gac

project = "sb3_gac"
author = "the sb3_gac developers"
copyright = author
release = version = sb3_gac.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["README.md"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
# As the source has them, not as Python evaluates them
autodoc_preserve_defaults = True
autodoc_type_aliases = {"GymEnv": "GymEnv", "MaybeCallback": "MaybeCallback", "Schedule": "Schedule"}
# What the RL Zoo and the Hub need is imported when it is used; nothing has to be mocked
maximum_signature_line_length = 90

html_theme = "furo"
html_title = f"sb3_gac {release}"
html_static_path = ["static"]
html_css_files = ["style.css"]
