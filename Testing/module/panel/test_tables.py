"""The texts in the panel's tables fit their columns at the panel's usual width in Slicer."""

from __future__ import annotations

import pytest

WIDTH = 340


@pytest.fixture
def narrow(story):
    story.widget.resize(WIDTH, 900)
    return story


def cut_off(table):
    """Cells and headers whose text is cut off, as (row, column, text); row -1 is the header."""
    import qt

    margin = 2 * (table.style().pixelMetric(qt.QStyle.PM_FocusFrameHMargin, None, table) + 1)
    found = []
    for column in range(table.columnCount):
        width = table.columnWidth(column)
        if table.horizontalHeader().sectionSizeFromContents(column).width() > width:
            found.append((-1, column, table.horizontalHeaderItem(column).text()))
        for row in range(table.rowCount):
            item = table.item(row, column)
            hint = table.sizeHintForIndex(table.model().index(row, column))
            room = qt.QRect(0, 0, width - margin, 1000)
            wrapped = table.fontMetrics().boundingRect(room, int(qt.Qt.TextWordWrap), item.text())
            whole = hint.width() <= width and hint.height() <= table.rowHeight(row)
            lines = wrapped.width() <= room.width() and wrapped.height() <= table.rowHeight(row)
            if not (whole or (table.wordWrap and item.icon().isNull() and lines)):
                found.append((row, column, item.text()))
    return found


def test_numbers_can_be_read(narrow):
    from BioAttDenoiseLib.scene.volumes import place_in_the_middle

    section = narrow.sections["NumbersSection"]
    for selector in (section.ui.firstRoiSelector, section.ui.secondRoiSelector):
        roi = selector.addNode()
        roi.SetName(f"{roi.GetName()} in the right lobe of the liver")
        place_in_the_middle(roi, narrow.parameters.inputVolume)
    section.ui.referenceSelector.setCurrentNode(narrow.parameters.inputVolume)
    narrow.click(section.ui.measureButton)
    narrow.settle()
    table = section.ui.numbersTable
    assert table.rowCount == 9
    assert table.width <= WIDTH
    assert not table.horizontalScrollBar().isVisible()
    assert cut_off(table) == []
    assert [table.item(row, 0).toolTip() for row in range(9)] == [table.item(row, 0).text() for row in range(9)]


def test_organs_can_be_read(narrow):
    section = narrow.sections["OrgansSection"]
    narrow.click(section.ui.measureOrgansButton)
    narrow.wait_idle()
    row = {**section.organs.rows[0], "organ": "abdominal aorta"}
    segments = [{"name": "abdominal aorta", "color": [0.8, 0.1, 0.1]}]
    section.table.fill({"organs": [*section.organs.rows, row] * 4}, segments)
    narrow.settle()
    table = section.ui.organsTable
    assert table.item(2, 0).text() == "abdominal aorta"
    assert cut_off(table) == []
    assert table.columnWidth(0) < table.viewport().width / 2, "what was measured is beside it"
