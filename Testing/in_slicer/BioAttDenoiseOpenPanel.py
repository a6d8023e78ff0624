"""In Slicer: opens the module's panel as a user does. Slicer only prints errors raised while a panel is built, so they
are caught here.
"""

import sys
import traceback

import slicer

failures = []
sys.excepthook = lambda kind, value, trace: failures.append("".join(traceback.format_exception(kind, value, trace)))

slicer.util.selectModule("BioAttDenoise")
slicer.app.processEvents()
widget = slicer.modules.bioattdenoise.widgetRepresentation().self()
assert widget.panel is not None, "the panel was not built"
assert not widget.ui.denoiseButton.enabled, "nothing can be denoised in an empty scene"
if failures:
    raise RuntimeError("\n".join(failures))
