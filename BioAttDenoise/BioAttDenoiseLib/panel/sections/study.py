"""The page "Reader study": starts and stops a study, and records scores from keys and buttons."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ctk
import qt
import slicer
from slicer.i18n import tr as _

from ...inspection.inspection import inspection_of
from ...inspection.reader_study import SCORES, ReaderStudy, Scores, cases_of_scene, plan
from ...signals import connect
from .section import Section


class StudySection(Section):
    """See the module's docstring."""

    uiFile = "BioAttDenoiseStudy.ui"
    place = "studyPage"

    def setup(self) -> None:
        self.study = ReaderStudy()
        ui = self.ui
        ui.studyFileLineEdit.filters = ctk.ctkPathLineEdit.Files
        connect(ui.studyButton, "clicked(bool)", lambda checked: self.onStudy())
        connect(ui.studyBackButton, "clicked(bool)", lambda checked: self._do(self.study.back))
        window = slicer.util.mainWindow() if slicer.app.layoutManager() is not None else None
        self.shortcuts = []
        self.buttons = [ui.score1Button, ui.score2Button, ui.score3Button, ui.score4Button, ui.score5Button]
        for value, button in zip(SCORES, self.buttons, strict=True):
            connect(button, "clicked(bool)", lambda checked, v=value: self.onScore(v))
            self._key(str(value), window, lambda v=value: self.onScore(v))
        self._key("Backspace", window, lambda: self._do(self.study.back))
        self.update()

    def update(self) -> None:
        ui, running = self.ui, self.study.active
        ui.studyButton.text = _("Stop") if running else _("Start")
        ui.studyButton.enabled = running or self.panel.parameters is not None
        for widget in (ui.readerLineEdit, ui.studySlicesSpinBox, ui.seedSpinBox, ui.studyFileLineEdit):
            widget.enabled = not running
        asked = running and self.study.trial is not None
        for widget in (*self.buttons, *self.shortcuts):
            widget.enabled = asked
        ui.studyBackButton.enabled = running and bool(self.study.scores is not None and self.study.scores.rows)

    def connectParameters(self, parameters: Any) -> None:
        super().connectParameters(parameters)
        if parameters is None and self.study.active:  # the scene is closing
            self.stop()

    def cleanup(self) -> None:
        self.study.stop()

    def onStudy(self) -> None:
        """Start, or stop."""
        if self.study.active:
            self.stop()
            return
        parameters, path = self.panel.parameters, self.ui.studyFileLineEdit.currentPath
        cases = cases_of_scene()
        if not cases or not path:
            text = _("Denoise a scan first.") if not cases else _("Choose a file for the scores.")
            self.panel.showStatus(f"⚠ {text}")
            return
        self.panel.showStatus("")
        self.panel.live.clear()
        inspection_of(self.panel).comparison.leave()
        trials = plan(cases, parameters.studySlices, parameters.studySeed)
        target = Path(path) if Path(path).suffix else Path(f"{path}.csv")
        self._do(lambda: self.study.start(Scores(target, parameters.studyReader, parameters.studySeed, trials)))

    def stop(self) -> None:
        """Restore the previous views."""
        self.study.stop()
        self._tell()

    def onScore(self, value: int) -> None:
        self._do(lambda: self.study.score(value))

    def _do(self, step: Callable[[], None]) -> None:
        try:
            step()
        except OSError as error:
            self.panel.showStatus(_("⚠ Could not write the scores: {text}").format(text=error.strerror))
        except (ValueError, RuntimeError) as error:
            self.panel.showStatus(f"⚠ {error}")
        self._tell()

    def _tell(self) -> None:
        scores, trial = self.study.scores, self.study.trial
        text = ""
        if scores is not None and trial is not None:
            text = _("{number} of {count}: which image is better? 1: left, 3: equal, 5: right.")
            text = text.format(number=len(scores.rows) + 1, count=len(scores.trials))
        elif scores is not None:
            count = len(scores.trials)
            text = _("The pair is scored.") if count == 1 else _("All {count} pairs are scored.").format(count=count)
        self.ui.studyProgressLabel.text = text
        self.update()

    def _key(self, key: str, window: Any, slot: Callable[[], None]) -> None:
        shortcut = qt.QShortcut(qt.QKeySequence(key), window or self.widget)
        connect(shortcut, "activated()", slot)
        self.shortcuts.append(shortcut)
