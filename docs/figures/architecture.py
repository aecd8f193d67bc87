"""Draw the way of an observation to the optimiser, before and after the freeze.

python docs/figures/architecture.py    # writes architecture.svg beside this file
"""

from html import escape
from pathlib import Path

FILE = Path(__file__).with_suffix(".svg")
TITLE = "The way of an observation to the optimiser, before and after the freeze"
INK, GREY, FRAMES, LATENTS, PLAIN = "#1f2933", "#5f6b76", "#f7e3d0", "#d9e6ef", "#f4f5f7"
HEAD = (
    '<marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" '
    f'orient="auto"><path d="M0,0 L10,5 L0,10 z" fill="{INK}"/></marker>'
)


def label(x: float, y: float, words: str, size: int = 13, look: str = f'fill="{GREY}"') -> str:
    """Return words that are centred at x."""
    place = f'x="{x}" y="{y}" font-size="{size}" text-anchor="middle"'
    return f"<text {place} {look}>{escape(words)}</text>"


def box(x: float, y: float, width: float, fill: str, *lines: str) -> str:
    """Return a box with a title, and the other lines below it."""
    middle, title = x + width / 2, f'fill="{INK}" font-weight="600"'
    place = f'x="{x}" y="{y}" width="{width}" height="90" rx="8"'
    drawn = [f'<rect {place} fill="{fill}" stroke="{INK}"/>']
    drawn += [label(middle, y + 32, lines[0], 15, title)]
    drawn += [label(middle, y + 32 + 19 * below, lines[below]) for below in range(1, len(lines))]
    return "\n".join(drawn)


def arrow(points: str) -> str:
    """Return a line with a head at its end."""
    look = f'fill="none" stroke="{INK}" stroke-width="1.6" marker-end="url(#head)"'
    return f'<polyline points="{points}" {look}/>'


PARTS = (
    box(20, 45, 180, PLAIN, "environment", "envs/base.py", "stacks frames"),
    box(
        330,
        45,
        240,
        PLAIN,
        "encoder.observe",
        "core/encoder.py",
        "latents and the row to store",
    ),
    box(700, 45, 180, PLAIN, "agent.explore", "agents/rainbow.py", "an action"),
    arrow("200,90 326,90"),
    label(264, 80, "[S, C, H, W]"),
    arrow("570,90 696,90"),
    label(634, 80, "latents"),
    arrow("790,45 790,14 110,14 110,41"),
    label(450, 30, "action"),
    arrow("450,135 450,196"),
    label(474, 172, "row"),
    label(65, 240, "the replay:"),
    label(65, 258, "the same bytes"),
    box(140, 200, 310, FRAMES, "rows of frames", "replay/buffer.py", "before: 7,056 bytes each"),
    box(
        590,
        200,
        290,
        LATENTS,
        "rows of latents",
        "replay/transcode.py",
        "after: 2,304 bytes each",
    ),
    arrow("450,245 586,245"),
    label(518, 235, "freeze: convert"),
    label(518, 264, "in place, once"),
    arrow("295,290 295,346"),
    arrow("735,290 735,346"),
    label(325, 322, "sample"),
    label(765, 322, "sample"),
    box(140, 350, 310, FRAMES, "prepare, embed", "core/encoder.py", "pixels through every layer"),
    box(590, 350, 290, LATENTS, "prepare, embed", "core/encoder.py", "only layers above the cut"),
    arrow("295,440 295,510 376,510"),
    arrow("735,440 735,510 654,510"),
    label(65, 505, "learning:"),
    label(65, 523, "one batch"),
    box(
        380,
        465,
        270,
        PLAIN,
        "losses, optimisers, target",
        "agents/rainbow.py",
        "one update for both",
    ),
)


def drawing() -> str:
    """Return the picture as SVG."""
    opening = 'xmlns="http://www.w3.org/2000/svg" viewBox="0 0 900 575" role="img"'
    body = "\n".join(PARTS)
    return (
        f'<svg {opening} font-family="system-ui, sans-serif">\n<title>{TITLE}</title>\n'
        f'<defs>{HEAD}</defs>\n<rect width="900" height="575" fill="white"/>\n{body}\n</svg>\n'
    )


if __name__ == "__main__":
    FILE.write_text(drawing())
    print(f"wrote {FILE}")
