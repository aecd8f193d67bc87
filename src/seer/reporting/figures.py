"""Put figures into a page: matplotlib's SVG, fit to stand inside HTML, with the value of every point in it."""

import io
import re
from collections.abc import Mapping, Sequence
from xml.etree import ElementTree

from matplotlib.figure import Figure

KEPT = re.compile(r'(?:url\(|href=")#([\w-]+)')
"""References to an element by its id; no other ids are needed."""


def inline_svg(figure: Figure, title: str, points: Mapping[str, Sequence[str]]) -> str:
    """Return a figure as an SVG element of class "chart".

    An artist's gid, such as "line-0", becomes its class, "line". `points` has the text of each of its points, by gid: a
    page without scripts shows it on hover.
    """
    content = io.BytesIO()
    figure.savefig(content, format="svg", metadata={"Date": None})
    needless = r'\sxmlns(:\w+)?="[^"]*"|<metadata>.*?</metadata>|<style.*?</style>'
    text = re.sub(needless, "", content.getvalue().decode(), flags=re.S)
    text = text[text.index("<svg") :].replace("xlink:href", "href")
    svg = ElementTree.fromstring(text)
    for name in ("width", "height", "version"):
        del svg.attrib[name]
    svg.attrib |= {"class": "chart", "role": "img", "aria-label": title}
    kept = set(KEPT.findall(text))
    for element in svg.iter():
        gid = element.get("id", "")
        if gid in points:
            marks = list(element.iter("use")) or list(element.iter("path"))
            for mark, says in zip(marks, points[gid], strict=True):
                ElementTree.SubElement(mark, "title").text = says
                mark.set("class", "point" if mark.tag == "use" else "mark")
        if gid and gid not in kept:
            del element.attrib["id"]
            if "-" in gid:
                element.set("class", gid.partition("-")[0])
    return ElementTree.tostring(svg, encoding="unicode")
