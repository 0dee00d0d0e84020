"""Labels beside the marks of a scatter plot, where there is room for them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: Box) -> bool:
        """Whether the two overlap."""
        apart_x = self.right <= other.left or other.right <= self.left
        apart_y = self.bottom <= other.top or other.bottom <= self.top
        return not (apart_x or apart_y)


@dataclass(frozen=True)
class Label:
    """A label that found room: its anchor lies ``dx, dy`` px (down is positive) from the mark's centre."""

    index: int
    anchor: str
    dx: float
    dy: float


def _spots(r: float, line: float) -> list[tuple[str, float, float]]:
    """Anchor and offset of the places to try; the last four stand beside an error bar that goes up and down."""
    gap, beside = r + 5, 7.0
    above, below = -gap - line / 2, gap + line / 2
    straight = [("left", gap, 0.0), ("right", -gap, 0.0), ("center", 0.0, above), ("center", 0.0, below)]
    return straight + [(side, dx, dy) for dy in (above, below) for side, dx in (("left", beside), ("right", -beside))]


def place(
    centres: list[tuple[float, float]],
    radii: list[float],
    widths: list[float],
    size: tuple[float, float],
    taken: list[Box],
    line: float = 20.0,
) -> list[Label]:
    """Greedy placing in the given order: right of the mark, left, above, below, aslant; without room, none.

    Args:
        centres: of the marks, px from the top left corner.
        radii: of the marks, px.
        widths: of the labels, px.
        size: width and height of the area no label may leave, px.
        taken: room that no label may use, besides the marks.
    """
    taken = [*taken, *(Box(x - r, y - r, x + r, y + r) for (x, y), r in zip(centres, radii, strict=True))]
    labels = []
    for i, ((x, y), r, w) in enumerate(zip(centres, radii, widths, strict=True)):
        for anchor, dx, dy in _spots(r, line):
            left = x + dx - {"left": 0.0, "center": w / 2, "right": w}[anchor]
            box = Box(left, y + dy - line / 2, left + w, y + dy + line / 2)
            inside = box.left >= 0 and box.top >= 0 and box.right <= size[0] and box.bottom <= size[1]
            if inside and not any(box.meets(other) for other in taken):
                taken.append(box)
                labels.append(Label(i, anchor, dx, dy))
                break
    return labels
