"""The headless Slicer itself: PythonQt's conventions, stand-in widgets, scenes, modules, views. The expected behaviour
is taken from Slicer's sources.
"""

import subprocess
import sys

import numpy as np
import pytest
from places import ROOT

PLAIN_UI = """<ui version="4.0">
 <class>Plain</class>
 <widget class="qMRMLWidget" name="Plain">
  <layout class="QVBoxLayout" name="column"><item><widget class="qMRMLNodeComboBox" name="selector"/></item></layout>
 </widget>
 <customwidgets>
  <customwidget><class>qMRMLWidget</class><extends>QWidget</extends></customwidget>
  <customwidget><class>qMRMLNodeComboBox</class><extends>QWidget</extends></customwidget>
 </customwidgets>
 <connections>
  <connection>
   <sender>Plain</sender><signal>mrmlSceneChanged(vtkMRMLScene*)</signal>
   <receiver>selector</receiver><slot>setMRMLScene(vtkMRMLScene*)</slot>
  </connection>
 </connections>
</ui>"""
PLAIN_MODULE = """
import slicer
from slicer.ScriptedLoadableModule import *


class Plain(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = "Plain"


class PlainWidget(ScriptedLoadableModuleWidget):
    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        widget = slicer.util.loadUI(self.resourcePath("UI/Plain.ui"))
        self.layout.addWidget(widget)
        self.ui = slicer.util.childWidgetVariables(widget)
        widget.setMRMLScene(slicer.mrmlScene)
"""


@pytest.fixture
def qt(slicer):
    import qt

    return qt


def test_properties_are_attributes(qt):
    button = qt.QPushButton("Denoise")
    assert button.text == "Denoise"
    button.text = "Cancel"
    button.checkable = True
    assert (button.text, button.checkable, button.enabled) == ("Cancel", True, True)
    with pytest.raises(TypeError, match="not callable"):
        button.text()
    assert type(button) is qt.QPushButton


def test_unknown_names_raise(qt, slicer):
    label = qt.QLabel()
    for widget in (label, slicer.qMRMLNodeComboBox(), qt.QTimer()):
        with pytest.raises(AttributeError):
            widget.txet = "typing error"
        with pytest.raises(AttributeError):
            print(widget.txet)
    label.name = "label"
    assert label.objectName == "label"
    assert label.className() == "QLabel"


def test_signals_by_signature(qt):
    button, heard = qt.QPushButton(), []
    button.checkable = True

    def without_arguments():
        heard.append("called")

    button.connect("clicked(bool)", heard.append)
    button.connect("clicked(bool)", without_arguments)
    button.connect("clicked()", without_arguments)
    button.click()
    assert heard == [True, "called", "called"]
    button.disconnect("clicked(bool)", heard.append)
    button.click()
    assert heard[3:] == ["called", "called"]
    for signature in ("clickd(bool)", "clicked(int)", "clicked"):
        with pytest.raises(ValueError, match="no signal"):
            button.connect(signature, without_arguments)


def test_a_node_combo_box_follows_the_scene(slicer, make_ct):
    box, heard = slicer.qMRMLNodeComboBox(), []
    box.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    box.noneEnabled, box.addEnabled = True, False
    box.setMRMLScene(slicer.mrmlScene)
    box.connect("currentNodeChanged(vtkMRMLNode*)", heard.append)
    node = make_ct()
    assert box.currentNode() is None
    box.setCurrentNode(node)
    assert heard == [node]
    slicer.mrmlScene.RemoveNode(node)
    assert box.currentNode() is None
    assert heard == [node, None]
    first, second, third = (make_ct(name=name) for name in "abc")
    box.setCurrentNode(second)
    slicer.mrmlScene.RemoveNode(second)
    assert box.currentNode() is third, "Qt goes on with the row below"
    slicer.mrmlScene.RemoveNode(third)
    assert box.currentNode() is first
    slicer.mrmlScene.RemoveNode(first)
    hidden = make_ct(name="hidden")
    hidden.SetHideFromEditors(True)
    make_ct(name="shown")
    assert [n.GetName() for n in box.nodes()] == ["shown"]


def test_a_ui_file_with_an_unknown_widget_is_refused(slicer, tmp_path):
    (tmp_path / "x.ui").write_text(
        '<ui version="4.0"><class>X</class><widget class="qMRMLUnheardOf" name="X"/><customwidgets><customwidget>'
        "<class>qMRMLUnheardOf</class><extends>QWidget</extends></customwidget></customwidgets></ui>"
    )
    with pytest.raises(RuntimeError, match="qMRMLUnheardOf"):
        slicer.util.loadUI(str(tmp_path / "x.ui"))


def test_parameters_are_typed_and_bound(slicer, scene, qt):
    from typing import Annotated

    import ctk
    from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper

    class Parameters:
        strength: Annotated[float, WithinRange(0, 100)] = 70.0
        live: bool = False

    wrapped = parameterNodeWrapper(Parameters)(scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode"))
    parent = qt.QWidget()
    slider, check_box = ctk.ctkSliderWidget(parent), qt.QCheckBox(parent)
    slider.setProperty("SlicerParameterName", "strength")
    check_box.setProperty("SlicerParameterName", "live")
    tag = wrapped.connectGui(parent)
    assert slider.value == 70
    slider.value = 30
    check_box.checked = True
    assert (wrapped.strength, wrapped.live) == (30, True)
    wrapped.strength = 55
    assert slider.value == 55
    with pytest.raises(ValueError, match="101"):
        wrapped.strength = 101
    wrapped.disconnectGui(tag)
    slider.value = 10
    assert wrapped.strength == 55


def test_scenes_are_saved_and_read(slicer, make_ct, tmp_path):
    hu = slicer.util.arrayFromVolume(make_ct(name="kept")).copy()
    assert slicer.util.saveScene(str(tmp_path / "s.mrb"))
    slicer.mrmlScene.Clear(0)
    slicer.util.loadScene(str(tmp_path / "s.mrb"))
    np.testing.assert_array_equal(slicer.util.array("kept"), hu)


def test_a_view_shows_its_volume(slicer, make_ct, views):
    """The slice view's pixels are the slice's HU after window and level."""
    node = make_ct(slices=8, size=40)
    slicer.util.setSliceViewerLayers(background=node, fit=True)
    red = views.sliceWidget("Red")
    red.sliceLogic().SetSliceOffset(-300 + 2.5 * 3)
    image = red.image()
    inside = image[image[..., 3] == 255]
    assert inside.std() > 10
    rendered = red.render()
    assert rendered.shape == image.shape
    np.testing.assert_array_equal(rendered[..., :3][image[..., 3] == 255], inside[:, :3])


def test_slicers_own_template_runs(slicer, tmp_path):
    """A minimal scripted module in the style of Slicer's template loads, opens and finds its resources."""
    folder = tmp_path / "Plain"
    (folder / "Resources" / "UI").mkdir(parents=True)
    (folder / "Resources" / "UI" / "Plain.ui").write_text(PLAIN_UI)
    (folder / "Plain.py").write_text(PLAIN_MODULE)
    import slicer_runtime

    module = slicer_runtime.load_module(folder / "Plain.py")
    widget = module.widgetRepresentation().self()
    assert widget.ui.selector.mrmlScene() is slicer.mrmlScene


def test_missing_libraries_are_named(slicer):
    """Without the libraries, the tests show the apt-get command that installs them."""
    code = (
        "import sys, ctypes; sys.path.insert(0, sys.argv[1]); import slicer_runtime; real = ctypes.CDLL\n"
        "def cdll(name, *a, **k):\n"
        "    if 'EGL' in str(name): raise OSError(name)\n"
        "    return real(name, *a, **k)\n"
        "ctypes.CDLL = cdll; print(slicer_runtime.missing_libraries())"
    )
    folder = ROOT / "Testing"
    run = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True)
    assert "libEGL.so.1" in run.stdout, run.stderr
    assert "apt-get install" in run.stdout
