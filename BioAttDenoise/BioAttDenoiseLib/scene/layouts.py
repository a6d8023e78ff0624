"""The layouts of the comparison. Leaving restores the previous layout."""

from __future__ import annotations

from typing import Any

import slicer
from slicer.i18n import tr as _

INPUT, OUTPUT, DIFFERENCE, ATTENTION = "BioAttInput", "BioAttOutput", "BioAttDifference", "BioAttAttention"
BARS, CURVES = "BioAttProbabilities", "BioAttProbabilitiesAlongZ"

BLIND_VIEWS = ("BioAttFirst", "BioAttSecond")

SIDE_BY_SIDE, GRID, SINGLE, TRIPLE, BLIND = "side by side", "grid", "single", "triple", "blind"
_ROWS = {
    SIDE_BY_SIDE: ((INPUT, OUTPUT),),
    GRID: ((INPUT, OUTPUT), (DIFFERENCE, ATTENTION)),
    SINGLE: ((INPUT,),),
    TRIPLE: ((INPUT, OUTPUT), (DIFFERENCE,)),
    BLIND: (BLIND_VIEWS,),
}
"""TRIPLE is the grid without an attention view, BLIND the layout of a reader study."""
_LABELS = {INPUT: "I", OUTPUT: "O", DIFFERENCE: "D", ATTENTION: "A", BLIND_VIEWS[0]: "1", BLIND_VIEWS[1]: "2"}
_COLORS = {INPUT: "#8FB4D9", OUTPUT: "#8FD9A8", DIFFERENCE: "#D9C78F", ATTENTION: "#D98FC0"}
_COLORS |= dict.fromkeys(BLIND_VIEWS, "#B0B0B0")
FIRST_ID = 28800
VIEW_GROUP = 28
"""View group of the comparison, so that linked scrolling does not move the user's other views."""


class Layouts:
    """Shows one of the layouts; remembers the layout before the first `show`."""

    def __init__(self) -> None:
        self.former: int | None = None
        self.kind: str | None = None
        self.charts = False

    @property
    def active(self) -> bool:
        return self.kind is not None

    def show(self, kind: str, charts: bool = False) -> None:
        """Switch to a layout, with plot views next to it if `charts`. Raises RuntimeError without a window."""
        manager = slicer.app.layoutManager()
        if manager is None:
            raise RuntimeError(_("Slicer runs without a main window: comparing needs slice views."))
        node = manager.layoutLogic().GetLayoutNode()
        identity = FIRST_ID + 2 * list(_ROWS).index(kind) + charts
        if not node.IsLayoutDescription(identity):
            node.AddLayoutDescription(identity, description(_ROWS[kind], charts))
        if not self.active:
            self.former = node.GetViewArrangement()
        manager.setLayout(identity)
        self.kind, self.charts = kind, charts
        # Slicer sends no event when a scene is saved, and a scene file with this layout would open without views
        node.SetSaveWithScene(False)
        plots = [slicer.mrmlScene.GetSingletonNode(name, "vtkMRMLPlotViewNode") for name in (BARS, CURVES)]
        for view in (*self.views().values(), *plots):
            if view is not None:
                view.SetSaveWithScene(False)

    @property
    def on_screen(self) -> bool:
        """Whether the current layout is one of these."""
        manager = slicer.app.layoutManager()
        if manager is None or not self.active:
            return False
        return FIRST_ID <= manager.layoutLogic().GetLayoutNode().GetViewArrangement() < FIRST_ID + 2 * len(_ROWS)

    def leave(self) -> None:
        """Restore the layout before the first `show`, unless the user selected another one meanwhile."""
        manager = slicer.app.layoutManager()
        if self.active and manager is not None:
            if self.on_screen:
                manager.setLayout(self.former)
            manager.layoutLogic().GetLayoutNode().SetSaveWithScene(True)
        self.former, self.kind, self.charts = None, None, False

    def views(self) -> dict[str, Any]:
        """The slice nodes of the current layout by name."""
        names = [name for row in _ROWS[self.kind] for name in row] if self.kind else []
        return {name: slicer.mrmlScene.GetSingletonNode(name, "vtkMRMLSliceNode") for name in names}


def description(rows: tuple[tuple[str, ...], ...], charts: bool) -> str:
    """Slicer's XML description of a layout."""
    lines = "".join(f'<item><layout type="horizontal">{"".join(map(_slice_view, row))}</layout></item>' for row in rows)
    slices = f'<layout type="vertical">{lines}</layout>'
    if not charts:
        return slices
    plots = "".join(
        f'<item><view class="vtkMRMLPlotViewNode" singletontag="{name}">'
        f'<property name="viewlabel" action="default">{label}</property></view></item>'
        for name, label in ((BARS, "p"), (CURVES, "pz"))
    )
    return (
        f'<layout type="horizontal" split="true"><item splitSize="650">{slices}</item>'
        f'<item splitSize="350"><layout type="vertical">{plots}</layout></item></layout>'
    )


def _slice_view(name: str) -> str:
    properties = {
        "orientation": "Axial", "viewlabel": _LABELS[name], "viewcolor": _COLORS[name], "viewgroup": str(VIEW_GROUP),
    }  # fmt: skip
    inside = "".join(f'<property name="{key}" action="default">{value}</property>' for key, value in properties.items())
    return f'<item><view class="vtkMRMLSliceNode" singletontag="{name}">{inside}</view></item>'
