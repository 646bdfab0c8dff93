"""The picture of the rooms, from the imports in the code: `svg()` is written to docs/images/rooms.svg by generate.py.

An arrow points from a room to one that it imports. Arrows that follow from others are left out (transitive reduction).
"""

from __future__ import annotations

import ast
import html
import textwrap
from collections.abc import Mapping
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[1]
PACKAGES = {"floop_robot": ROOT, "floop_envs": ROOT / "envs", "floop_policies": ROOT / "policies"}
BOX_WIDTH, BOX_HEIGHT, GAP_X, GAP_Y, MARGIN = 214, 74, 18, 36, 16
LINE_CHARACTERS, MAX_LINES = 36, 4
STROKE = 'fill="none" stroke="#546e7a" stroke-width="1.3"'

Imports = dict[str, set[str]]


def imports() -> Imports:
    """Which room imports which; a room is a folder or a file of floop_robot, or another package."""
    graph = grimp.build_graph(*PACKAGES, cache_dir=None)
    found: Imports = {}
    for module in graph.modules:
        room = _room(module)
        if room != "floop_robot":
            others = {_room(other) for other in graph.find_modules_directly_imported_by(module)}
            found.setdefault(room, set()).update(others - {room, "floop_robot"})
    return found


def _room(module: str) -> str:
    return ".".join(module.split(".")[: 2 if module.startswith("floop_robot.") else 1])


def reduced(graph: Mapping[str, set[str]]) -> Imports:
    """The graph without the arrows that follow from others."""
    reach: Imports = {}

    def reachable(room: str) -> set[str]:
        if room not in reach:
            reach[room] = set(graph[room]).union(*(reachable(other) for other in graph[room]))
        return reach[room]

    return {
        room: {o for o in others if not any(o in reachable(via) for via in others - {o})}
        for room, others in graph.items()
    }


def levels(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Rooms by row, top to bottom: each stands one row above the highest room that it imports."""
    height: dict[str, int] = {}

    def level(room: str) -> int:
        if room not in height:
            height[room] = 1 + max((level(other) for other in graph[room]), default=-1)
        return height[room]

    for room in graph:
        level(room)
    return [sorted(room for room in graph if height[room] == h) for h in range(max(height.values()), -1, -1)]


Node = tuple[int, str, bool]
"""Row, room, and whether the room stands there; else arrows to it pass through."""


def layout(graph: Mapping[str, set[str]]) -> tuple[dict[Node, float], list[tuple[Node, Node]]]:
    """Left edge of every node (px; 0 is the middle), and the arrows' pieces from one row to the next."""
    table = levels(graph)
    row_of = {room: y for y, row in enumerate(table) for room in row}
    pieces: set[tuple[Node, Node]] = set()
    for room, others in graph.items():
        for other in others:
            chain = [(y, other, y == row_of[other]) for y in range(row_of[room] + 1, row_of[other] + 1)]
            pieces.update(zip([(row_of[room], room, True), *chain], chain, strict=False))
    left: dict[Node, float] = {}
    for y in range(len(table)):
        above: dict[Node, list[float]] = {(y, room, True): [] for room in table[y]}
        for start, end in sorted(pieces):
            if end[0] == y:
                above.setdefault(end, []).append(left[start] + _width(start) / 2)
        order = sorted(above, key=lambda node: (sum(above[node]) / max(len(above[node]), 1), node[1]))
        x = -(sum(map(_width, order)) + GAP_X * (len(order) - 1)) / 2
        for node in order:
            left[node] = x
            x += _width(node) + GAP_X
    return left, sorted(pieces)


def _width(node: Node) -> int:
    return BOX_WIDTH if node[2] else 4


def purpose(room: str) -> str:
    """First sentence of the room's docstring, up to a semicolon."""
    package, _, name = room.partition(".")
    folder = PACKAGES[package] / package / name
    path = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
    first = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split("\n\n")[0]
    return " ".join(first.split()).partition(";")[0].rstrip(".").replace("`", "")


def svg() -> str:
    """The picture as SVG."""
    left, pieces = layout(reduced(imports()))
    shift = MARGIN - min(left.values())
    width = MARGIN + shift + max(x + _width(node) for node, x in left.items())
    height = 2 * MARGIN + (1 + max(y for y, _, _ in left)) * (BOX_HEIGHT + GAP_Y) - GAP_Y
    corner = {node: (x + shift, float(MARGIN + node[0] * (BOX_HEIGHT + GAP_Y))) for node, x in left.items()}
    lines = [_arrow(start, end, corner) for start, end in pieces]
    lines += [
        f'<path d="M{x + 2:g} {y:g} V{y + BOX_HEIGHT}" {STROKE}/>'
        for node, (x, y) in sorted(corner.items())
        if not node[2]
    ]
    boxes = [line for node in sorted(corner) if node[2] for line in _box(node[1], *corner[node])]
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}"'
        f' height="{height:g}" font-family="Helvetica, Arial, DejaVu Sans, sans-serif">'
    )
    marker = (
        '<defs><marker id="a" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="6" markerHeight="6" orient="auto">'
        '<path d="M0 0 L10 5 L0 10 z" fill="#546e7a"/></marker></defs>'
    )
    title = "<title>The rooms of floop; arrows point to what a room imports</title>"
    return "\n".join(
        [head, title, marker, '<rect width="100%" height="100%" fill="white"/>', *lines, *boxes, "</svg>\n"]
    )


def _arrow(start: Node, end: Node, corner: Mapping[Node, tuple[float, float]]) -> str:
    x, y = corner[start][0] + _width(start) / 2, corner[start][1] + BOX_HEIGHT
    to_x, to_y = corner[end][0] + _width(end) / 2, corner[end][1]
    bend = (to_y - y) / 2
    head = ' marker-end="url(#a)"' if end[2] else ""
    return f'<path d="M{x:g} {y:g} C{x:g} {y + bend:g} {to_x:g} {to_y - bend:g} {to_x:g} {to_y:g}" {STROKE}{head}/>'


def _box(room: str, x: float, y: float) -> list[str]:
    lines = textwrap.wrap(purpose(room), LINE_CHARACTERS, max_lines=MAX_LINES, placeholder=" …")
    middle = x + BOX_WIDTH / 2
    name = room.removeprefix("floop_robot.")
    return [
        f'<rect x="{x:g}" y="{y:g}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="6" fill="#e8f5e9" stroke="#37474f"/>',
        f'<text x="{middle:g}" y="{y + 17:g}" text-anchor="middle" font-size="14" font-weight="bold">{name}</text>',
        *(
            f'<text x="{middle:g}" y="{y + 31 + 12 * i:g}" text-anchor="middle" font-size="10.5">'
            f"{html.escape(line)}</text>"
            for i, line in enumerate(lines)
        ),
    ]


if __name__ == "__main__":
    print(svg(), end="")
