"""Configuration tables that select another training method: the shipped recipes, and which tables are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bioatt.core.errors import InputError
from bioatt_training.adversarial.methods import METHODS, Alden, LowDose, Unpaired
from bioatt_training.fit.config import Config

CONFIGS = Path(__file__).parents[3] / "Training" / "configs"


@pytest.mark.parametrize(("name", "kind"), [("alden", Alden), ("unpaired", Unpaired), ("low_dose", LowDose)])
def test_the_recipes(name, kind):
    config = Config.read(CONFIGS / f"{name}.toml", METHODS)
    assert type(config.method) is kind


def test_a_recipe_without_a_method_has_none():
    assert Config.read(CONFIGS / "paper.toml", METHODS).method is None


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ("[alden]\nfeatures = 'vgg'", "features is 'vgg': use 'organ_maps'"),
        ("[alden]\nstyle = 1.0", "unknown key 'style'"),
        ("[alden]\ncontrast = -1", "contrast must be 0 or more"),
        ("[alden]\nplaces = 0", "places, temperature and width must be above 0"),
        ("[alden]\n[unpaired]", r"both \[alden\] and \[unpaired\]"),
        ("[low_dose]\nlearn = 'magic'", "learn is 'magic'"),
        ("[diffusion]", "unknown table"),
    ],
)
def test_what_a_table_may_not_say(tmp_path, table, reason):
    path = tmp_path / "x.toml"
    path.write_text(f'[run]\nname = "x"\nversion = "1"\n[data]\nbank = "b"\n[optimiser]\nmargin = 8\n{table}')
    with pytest.raises(InputError, match=reason):
        Config.read(path, METHODS)


def test_what_does_not_go_together(tiny):
    organ_maps = Alden(features="organ_maps")
    assert tiny(method=organ_maps).method == organ_maps
    with pytest.raises(InputError, match="multiple of 8 px within a patch's margins, not 34"):
        tiny(method=organ_maps, margin=3)
    with pytest.raises(InputError, match='needs \\[data\\] sampling = "random"'):
        tiny(method=LowDose(), sampling="grid", epochs=3)
    with pytest.raises(InputError, match="requires a method"):
        tiny(monitor="val_guarded")


def test_an_existing_run_s_note_does_not_change(tiny):
    """Existing run folders must resume, so a run without a method stores nothing about one."""
    from bioatt_training.fit.run import _noted

    config = tiny()
    assert '"method"' not in _noted(config)
    assert '"most_drift_hu"' in _noted(replace(config, method=LowDose()))
