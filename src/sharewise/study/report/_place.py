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


def place(
    centres: list[tuple[float, float]],
    radii: list[float],
    widths: list[float],
    size: tuple[float, float],
    taken: list[Box],
    line: float = 20.0,
) -> list[Label]:
    """Greedy placing in the given order: right of the mark, left, above, below; without room, no label.

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
        gap = r + 5
        tries = [
            ("left", gap, 0.0, Box(x + gap, y - line / 2, x + gap + w, y + line / 2)),
            ("right", -gap, 0.0, Box(x - gap - w, y - line / 2, x - gap, y + line / 2)),
            ("center", 0.0, -gap - line / 2, Box(x - w / 2, y - gap - line, x + w / 2, y - gap)),
            ("center", 0.0, gap + line / 2, Box(x - w / 2, y + gap, x + w / 2, y + gap + line)),
        ]
        for anchor, dx, dy, box in tries:
            inside = box.left >= 0 and box.top >= 0 and box.right <= size[0] and box.bottom <= size[1]
            if inside and not any(box.meets(other) for other in taken):
                taken.append(box)
                labels.append(Label(i, anchor, dx, dy))
                break
    return labels
