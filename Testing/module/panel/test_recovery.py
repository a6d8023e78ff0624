"""Messages disappear with their cause, and failures offer remedies: by clicks, with the stand-in engine."""

from __future__ import annotations


def test_cancel_while_the_installation_is_checked(make_driver, make_ct, slicer):
    make_ct()
    driver = make_driver(enter=False)
    driver.widget.enter()
    driver.behave("slow")
    driver.click(driver.ui.denoiseButton)
    assert driver.ui.denoiseButton.text == "Cancel"
    driver.click(driver.ui.denoiseButton)
    driver.wait_idle()
    assert "Cancelled" in driver.status
    driver.behave("steady")
    driver.denoise()
    assert "Done" in driver.status


def test_a_message_goes_with_its_input(make_driver, make_ct, slicer):
    """Otherwise a warning would seem to be about the next scan."""
    first, second = make_ct(name="first"), make_ct(name="second")
    driver = make_driver()
    driver.parameters.inputVolume = first
    driver.behave("memory")
    driver.denoise()
    assert "ran out of memory" in driver.status
    driver.ui.inputSelector.setCurrentNode(second)
    assert driver.status == ""
    driver.behave("steady")
    driver.denoise()
    assert driver.ui.resultCollapsibleButton.visible
    driver.ui.inputSelector.setCurrentNode(first)
    assert driver.status == ""
    assert not driver.ui.resultCollapsibleButton.visible, "the result is of another scan"
    driver.ui.inputSelector.setCurrentNode(second)
    assert driver.ui.resultCollapsibleButton.visible


def test_another_action_takes_a_message_away(story):
    assert "Done" in story.status
    story.click(story.sections["NumbersSection"].ui.measureButton)
    assert story.status == ""
    story.behave("crash")
    story.denoise()
    assert "ended unexpectedly" in story.status
    story.click(story.sections["CompareSection"].ui.sideBySideButton)
    assert story.status == ""


def test_a_process_that_the_system_ended_is_told_as_what_is_known(make_driver, make_ct):
    make_ct()
    driver = make_driver()
    driver.behave("killed")
    driver.denoise()
    for words in ("ended by the operating system", "try again", "smaller tile size", "log"):
        assert words in driver.status
    assert "ran out of memory" not in driver.status + driver.errors[0]


def test_a_failure_offers_what_can_be_done(make_driver, make_ct, slicer):
    """Try again and smaller tiles start the same run; the log opens; the next action hides the buttons."""
    make_ct()
    driver = make_driver()
    driver.behave("memory")
    driver.denoise()
    assert driver.ui.smallerTilesButton.visible
    driver.click(driver.ui.showLogButton)
    driver.settle()
    assert driver.advanced.logTextEdit.visible
    driver.behave("steady")
    driver.click(driver.ui.smallerTilesButton)
    driver.wait_idle()
    assert "Done" in driver.status
    assert driver.parameters.tileSize == 512
    assert not driver.ui.failureWidget.visible
    driver.behave("crash")
    driver.denoise()
    assert driver.ui.failureWidget.visible
    assert not driver.ui.smallerTilesButton.visible, "no memory ran out"
    driver.behave("steady")
    driver.click(driver.ui.tryAgainButton)
    driver.wait_idle()
    assert "Done" in driver.status


def test_smaller_tiles_are_offered_while_there_are_smaller_ones(make_driver, make_ct):
    make_ct()
    driver = make_driver()
    driver.behave("killed")
    sizes = []
    driver.denoise()
    while driver.ui.smallerTilesButton.visible:
        driver.click(driver.ui.smallerTilesButton)
        driver.wait_idle()
        sizes.append(driver.parameters.tileSize)
    assert sizes == [512, 256, 128]
    assert driver.ui.tryAgainButton.visible


def test_a_preview_that_failed_is_tried_again(make_driver, make_ct):
    make_ct()
    driver = make_driver()
    driver.behave("crash")
    driver.click(driver.ui.previewButton)
    driver.wait_idle()
    driver.behave("steady")
    driver.click(driver.ui.tryAgainButton)
    driver.wait_idle()
    assert driver.panel.live.preview.shown is not None


def test_an_input_that_cannot_be_used_offers_no_second_try(make_driver, make_ct):
    make_ct()
    driver = make_driver()
    driver.behave("refused")
    driver.denoise()
    assert "empty" in driver.status
    assert not driver.ui.failureWidget.visible


def test_before_the_first_slice_the_panel_says_what_is_done(make_driver, make_ct, until, monkeypatch):
    """On 400 slices, the steps before it take many seconds."""
    make_ct(slices=40)
    driver = make_driver()
    driver.behave("slow")
    told = []
    begin = driver.panel.progress.begin

    def listen(text):
        begin(text)
        told.append((driver.ui.progressBar.maximum, driver.status))

    monkeypatch.setattr(driver.panel.progress, "begin", listen)
    driver.click(driver.ui.denoiseButton)
    until(lambda: driver.ui.progressBar.value > 5)
    assert told == [
        (0, "Checking the installation…"),
        (0, "Sending the volume to the engine…"),
        (0, "Loading the model, measuring noise, finding anatomy…"),
    ]
    assert driver.status == "", "no longer when slices are counted"
    driver.wait_idle()
