"""A hook of MkDocs: the site's files are the repository's own, named by their path in it.

`README.md`, `Docs/priors.md` and `Resources/Models/bioatt.md` link to one another by relative paths, which a site of
`Docs/` alone would break.
"""

from __future__ import annotations

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

PATTERNS = (
    "*.md",
    "LICENSE.txt",
    "CITATION.cff",
    "constraints.txt",
    "Docs/**/*.md",
    "Docs/images/*.png",
    "Resources/Models/*.md",
    "Resources/Screenshots/*.png",
    "Resources/Anatomy/*.json",
    "Training/*.md",
    "Training/*.csv",
    "Training/configs/*",
    "Training/results/**/*.md",
    "Training/results/**/*.png",
    "Training/results/*/results.json",
    "Testing/**/*.md",
)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The theme's files, and those of the repository that match PATTERNS."""
    root = Path(config.config_file_path).parent
    chosen = [file for file in files if file.src_dir != config.docs_dir]
    for path in sorted({path for pattern in PATTERNS for path in root.glob(pattern)}):
        name = path.relative_to(root).as_posix()
        chosen.append(File(name, str(root), config.site_dir, config.use_directory_urls))
    return Files(chosen)
