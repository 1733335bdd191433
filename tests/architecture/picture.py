"""Draws docs/architecture.svg from the rooms and imports of the source.

python -m tests.architecture.picture
"""

from dataclasses import dataclass
from pathlib import Path

import grimp
from markupsafe import escape

ROOT = Path(__file__).parents[2]
PICTURE = ROOT / "docs" / "architecture.svg"

WIDTH = 900
STYLE = """
    .page { fill: #ffffff; stroke: #d0d7de } .box { fill: #f6f8fa; stroke: #57606a }
    .core { fill: #ddf4ff; stroke: #0969da } .room { fill: #ffffff; stroke: #8c959f }
    text { fill: #1f2328 } .small { font-size: 11.5px } .arrow { stroke: #57606a; fill: none }
    .head { fill: #57606a } .keeps { stroke-dasharray: 5 4 }
    @media (prefers-color-scheme: dark) {
      .page { fill: #0d1117; stroke: #30363d } .box { fill: #161b22; stroke: #8b949e }
      .core { fill: #0c2d4d; stroke: #58a6ff } .room { fill: #0d1117; stroke: #6e7681 }
      text { fill: #e6edf3 } .arrow { stroke: #9198a1 } .head { fill: #9198a1 }
    }
"""


@dataclass(frozen=True, slots=True)
class Box:
    """A room and its place in the picture."""

    x: int
    y: int
    width: int
    height: int
    words: str
    look: str = "box"


BOXES = {
    "cli": Box(190, 20, 240, 50, "commands, options, tables"),
    "library": Box(470, 20, 240, 50, "from reid import Reid"),
    "container": Box(20, 100, 860, 50, "makes what settings name: registry of built-ins, plug-ins"),
    "service": Box(330, 180, 240, 50, "HTTP, to the same use cases"),
    "adapters": Box(20, 260, 500, 186, "files, libraries, databases, screens"),
    "application": Box(
        550, 260, 160, 186,
        "a use case per command:\ntrain, evaluate,\nidentify, galleries,\n"
        "calibrate, explain,\nexport, compare,\nreproduce",
    ),
    "settings": Box(740, 260, 140, 186, "defaults\nrecipe\nTOML file\nenvironment\noptions"),
    "domain/services": Box(
        170, 476, 540, 50,
        "training stages, evaluation, identification, the gallery's rules", "core",
    ),
    "ports": Box(20, 556, 210, 50, "protocols that adapters meet", "core"),
    "domain/training": Box(260, 556, 210, 50, "losses, prompts, schedules", "core"),
    "domain/ranking": Box(500, 556, 210, 50, "distances, CMC, mAP, re-ranking", "core"),
    "domain/values": Box(
        20, 636, 860, 50, "samples, features, recipes, galleries; errors, events", "core"
    ),
}  # fmt: skip

ROOMS = {
    "datasets": "lists, one per layout",
    "images": "decoding, sizes, cache",
    "synthetic": "drawn people",
    "encoders": "CLIP, exported graphs",
    "indexes": "exact, Annoy, HNSW",
    "galleries": "SQLite, Postgres, Milvus",
    "runs": "checkpoints, records",
    "events": "progress, logs",
    "pages": "HTML, charts, heat maps",
}
"""What the rooms of the adapters hold; one that is not here is drawn without words."""

FOLDERS = {
    str(path.parent.relative_to(ROOT / "reid"))
    for path in (
        *(ROOT / "reid").glob("*/__init__.py"),
        *(ROOT / "reid").glob("domain/*/__init__.py"),
    )
} - {"domain"}
"""All rooms that there are: one without a box is an error."""

ARROWS = [
    ("cli", "container", 310),
    ("library", "container", 590),
    ("container", "service", 450),
    ("container", "adapters", 175),
    ("container", "application", 630),
    ("container", "settings", 810),
    ("service", "adapters", 425),
    ("service", "application", 560),
    ("adapters", "domain/services", 345),
    ("application", "domain/services", 630),
    ("adapters", "ports", 95),
    ("settings", "domain/values", 810),
    ("domain/services", "ports", 200),
    ("domain/services", "domain/training", 365),
    ("domain/services", "domain/ranking", 605),
    ("ports", "domain/values", 125),
    ("domain/training", "domain/values", 365),
    ("domain/ranking", "domain/values", 605),
]
"""From a box straight down to another one; what follows from other arrows is left out."""


def draw() -> str:
    """Draw the rooms that there are.

    Raises:
        ValueError: There is a room without a box, or an arrow that no import stands for.
    """
    imports = imports_between_rooms()
    drawn = [(start, end) for start, end, _ in ARROWS]
    if missing := sorted({room for pair in imports for room in pair} - BOXES.keys()):
        raise ValueError(f"no box for {missing}")
    if unreal := [pair for pair in drawn if pair not in imports]:
        raise ValueError(f"nothing imports along {unreal}")
    parts = [
        *(line for name, box in BOXES.items() for line in _box(name, box)),
        *_rooms(BOXES["adapters"]),
        *(line for start, end, x in ARROWS for line in _arrow(start, end, x)),
    ]
    height = max(box.y + box.height for box in BOXES.values()) + 20
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
            f'width="{WIDTH}" height="{height}" font-family="sans-serif" font-size="14">',
            f"  <style>{STYLE}  </style>",
            f'  <rect class="page" x="1" y="1" width="{WIDTH - 2}" height="{height - 2}" rx="8"/>',
            *parts,
            "</svg>\n",
        ]
    )


def imports_between_rooms() -> set[tuple[str, str]]:
    """Find which room imports which, by the graph that the contracts are checked on."""
    graph = grimp.build_graph("reid", exclude_type_checking_imports=True)
    pairs = {
        (room_of(importer), room_of(imported))
        for importer in graph.modules
        for imported in graph.find_modules_directly_imported_by(importer)
    }
    return {(one, other) for one, other in pairs if one and other and one != other}


def room_of(module: str) -> str:
    """Name a module's room; modules beside the rooms have none."""
    parts = module.split(".")[1:]
    if parts[:1] != ["domain"]:
        return parts[0] if parts and parts[0] in BOXES.keys() | FOLDERS else ""
    if parts[1:2] in (["errors"], ["events"]):
        return "domain/values"
    name = "/".join(parts[:2])
    return name if name in BOXES.keys() | FOLDERS else ""


def _box(name: str, box: Box) -> list[str]:
    middle, is_tall = box.x + box.width // 2, box.height > 50
    top = box.y + (24 if is_tall else 21)
    return [
        _rect(box.look, box.x, box.y, box.width, box.height),
        _text(middle, top, name, look="", weight="bold"),
        *(
            _text(middle, top + 18 * place, line)
            for place, line in enumerate(box.words.split("\n"), start=1)
        ),
    ]


def _rooms(around: Box) -> list[str]:
    folders = {path.parent.name for path in (ROOT / "reid/adapters").glob("*/__init__.py")}
    known = [room for room in ROOMS if room in folders]
    lines = []
    for place, room in enumerate([*known, *sorted(folders - ROOMS.keys())]):
        x, y = around.x + 10 + place % 3 * 162, around.y + 52 + place // 3 * 44
        lines += [
            _rect("room", x, y, 156, 38),
            _text(x + 78, y + 16, room, weight="bold"),
            _text(x + 78, y + 31, ROOMS.get(room, "")),
        ]
    return lines


def _arrow(start: str, end: str, x: int) -> list[str]:
    top, bottom = BOXES[start].y + BOXES[start].height, BOXES[end].y
    look = "arrow keeps" if (start, end) == ("adapters", "ports") else "arrow"
    return [
        f'  <path class="{look}" d="M{x} {top} V{bottom - 7}"/>',
        f'  <path class="head" d="M{x} {bottom} l-4.5 -9 h9 z"/>',
    ]


def _rect(look: str, x: int, y: int, width: int, height: int) -> str:
    return f'  <rect class="{look}" x="{x}" y="{y}" width="{width}" height="{height}" rx="5"/>'


def _text(x: int, y: int, words: str, *, look: str = "small", weight: str = "normal") -> str:
    style = f'class="{look}" ' if look else ""
    return (
        f'  <text {style}x="{x}" y="{y}" text-anchor="middle" font-weight="{weight}">'
        f"{escape(words)}</text>"
    )


if __name__ == "__main__":
    PICTURE.write_text(draw())
