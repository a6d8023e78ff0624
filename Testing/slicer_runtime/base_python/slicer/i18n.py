"""Slicer's translation functions; here every text stays in English."""


def tr(text: str) -> str:
    return text


def translate(context: str, text: str) -> str:
    return text
