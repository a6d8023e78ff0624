"""An extension of Griffe: the docstrings' lines `name: what it is` become a list.

The docstrings are plain text with one parameter or attribute a paragraph line; Markdown would join these lines.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

_ENTRY = re.compile(r"^(\w+(?:, \w+)*): (?=\S)")


class ParameterLists(griffe.Extension):
    """Rewrites the docstring of every class, function and attribute before it is rendered."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Called by Griffe for every object, with its members known."""
        if obj.docstring:
            names = {*obj.members, *(p.name for p in getattr(obj, "parameters", ()))}
            obj.docstring.value = as_list(obj.docstring.value, names)


def as_list(text: str, names: set[str]) -> str:
    """The text with every line that begins with a known name and a colon as an item of a list, set off from the rest.

    A line that begins with another sentence ("Raises InputError ...") ends the list.
    """
    lines: list[str] = []
    inside = False
    for line in text.splitlines():
        entry = _ENTRY.match(line)
        if entry and all(name in names for name in entry[1].split(", ")):
            if not inside and lines and lines[-1]:
                lines.append("")
            lines.append(f"- **`{entry[1]}`**: {line[entry.end() :]}")
            inside = True
        elif inside and re.match(r"(Raises|Returns|Shapes) ", line):
            lines += ["", line]
            inside = False
        elif inside and line:
            lines.append(f"  {line.strip()}")
        else:
            lines.append(line)
            inside = False
    return "\n".join(lines)
