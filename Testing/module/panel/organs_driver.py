"""What the tests of organs see of the panel: cells of the table, and requests to the engine."""


def cells(driver, column):
    table = driver.organs.organsTable
    return [table.item(row, column).text() for row in range(table.rowCount)]


def requests_of(driver):
    """The requests that are sent from now on."""
    sent, submit = [], driver.logic.submit

    def listen(kind, request, **more):
        if request is not None:
            sent.append(request)
        return submit(kind, request, **more)

    driver.logic.submit = listen
    return sent
