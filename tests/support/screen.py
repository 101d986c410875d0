"""A terminal that knows the control sequences of progress bars, and the text that it displays."""

import re

from attrs import define, field

TOKENS = re.compile(r"\x1b\[\??([\d;]*)([A-Za-z])|([\r\n])|([^\x1b\r\n]+)")


@define(eq=False)
class Screen:
    """Lines of text, the cursor's place, and whether the cursor is visible."""

    lines: list[str] = field(init=False, factory=lambda: [""])
    row: int = field(init=False, default=0)
    column: int = field(init=False, default=0)
    is_cursor_seen: bool = field(init=False, default=True)

    def write(self, text: str) -> None:
        for number, command, control, words in TOKENS.findall(text):
            if words:
                line = self.lines[self.row].ljust(self.column)
                self.lines[self.row] = line[: self.column] + words + line[self.column + len(words) :]
                self.column += len(words)
            elif control:
                self.column = 0
                self.row += control == "\n"
                self.lines += [""] * (self.row + 1 - len(self.lines))
            elif command == "A":
                self.row = max(self.row - int(number or 1), 0)
            elif command == "K":
                self.lines[self.row] = ""
            elif number == "25":
                self.is_cursor_seen = command == "h"

    @property
    def shown(self) -> list[str]:
        """Return the lines, without the empty ones at the end."""
        return "\n".join(line.rstrip() for line in self.lines).rstrip("\n").split("\n")
