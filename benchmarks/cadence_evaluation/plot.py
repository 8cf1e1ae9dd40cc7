"""A panel for each family: requests per task over mean delay, as an SVG document."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 260, 200
LEFT, RIGHT, TOP, BOTTOM = 42, 12, 26, 34
COLUMNS = 4
COLOURS = ("#888888", "#1668a8", "#c2551b", "#2f7d32", "#7b4ba0")
LEGEND_WIDTH, LEGEND_HEIGHT = 150, 16  # of one label


@dataclass(frozen=True, slots=True)
class Curve:
    """A policy, as pairs of the mean delay in seconds and the requests per task; *joined* by a line, or single."""

    label: str
    points: Sequence[tuple[float, float]]
    joined: bool = True


def plot(panels: Mapping[str, Sequence[Curve]]) -> str:
    """The document; each panel has scales of its own, both from zero."""
    rows = -(-len(panels) // COLUMNS)
    labels = list(dict.fromkeys(curve.label for curves in panels.values() for curve in curves))
    width = WIDTH * min(COLUMNS, len(panels))
    beside = (width - LEFT) // LEGEND_WIDTH or 1
    height = HEIGHT * rows + LEGEND_HEIGHT * -(-len(labels) // beside) + 8
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"',
        'font-family="sans-serif" font-size="10">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    colours = {label: COLOURS[index % len(COLOURS)] for index, label in enumerate(labels)}
    for index, (title, curves) in enumerate(panels.items()):
        x, y = index % COLUMNS * WIDTH, index // COLUMNS * HEIGHT
        parts.append(f'<g transform="translate({x} {y})">{_panel(title, curves, colours)}</g>')
    for index, label in enumerate(labels):
        x = LEFT + LEGEND_WIDTH * (index % beside)
        y = HEIGHT * rows + LEGEND_HEIGHT * (index // beside) + 8
        parts.append(f'<rect x="{x}" y="{y}" width="14" height="3" fill="{colours[label]}"/>')
        parts.append(f'<text x="{x + 20}" y="{y + 5}">{escape(label)}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _panel(title: str, curves: Sequence[Curve], colours: Mapping[str, str]) -> str:
    most_x = max(x for curve in curves for x, _ in curve.points) or 1.0
    most_y = max(y for curve in curves for _, y in curve.points)
    inner_x, inner_y = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    floor = HEIGHT - BOTTOM

    def place(x: float, y: float) -> str:
        return f"{LEFT + x / most_x * inner_x:.1f},{floor - y / most_y * inner_y:.1f}"

    parts = [
        f'<text x="{LEFT}" y="16" font-weight="bold">{escape(title)}</text>',
        f'<path d="M{LEFT},{TOP} V{floor} H{WIDTH - RIGHT}" fill="none" stroke="black" stroke-width="0.7"/>',
        f'<text x="{LEFT - 4}" y="{TOP + 4}" text-anchor="end">{most_y:.0f}</text>',
        f'<text x="{LEFT - 4}" y="{floor}" text-anchor="end">0</text>',
        f'<text x="{WIDTH - RIGHT}" y="{floor + 12}" text-anchor="end">{most_x:.1f} s</text>',
        f'<text x="{LEFT}" y="{floor + 12}">mean delay</text>',
        f'<text transform="translate({LEFT - 24} {floor}) rotate(-90)">requests per task</text>',
    ]
    for curve in curves:
        colour = colours[curve.label]
        line = " ".join(place(x, y) for x, y in curve.points)
        if curve.joined:
            parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
        parts += [
            f'<circle cx="{x}" cy="{y}" r="2.2" fill="{colour}"/>'
            for x, y in (pair.split(",") for pair in line.split())
        ]
    return "".join(parts)
