"""Takes out of a web page what its readers do not see: text in it was put there for machines alone.

What styles in a sheet hide is not found; it is read like any text of a document, and is as inert.
"""

import re
from typing import Any

_HIDDEN = re.compile(
    r"(?:^|;)\s*(?:display\s*:\s*none|visibility\s*:\s*(?:hidden|collapse)"
    r"|(?:opacity|font-size|line-height|max-height|max-width)\s*:\s*0*\.?0+(?:px|pt|r?em|%)?\s*(?:!|;|$)"
    r"|(?:left|top|right|text-indent|margin-left)\s*:\s*-\d{3,})",
    re.IGNORECASE,
)
_COLOUR = re.compile(r"(?:^|;)\s*color\s*:\s*([^;!]+)", re.IGNORECASE)
_GROUND = re.compile(r"(?:^|;)\s*background(?:-color)?\s*:\s*([^;!]+)", re.IGNORECASE)
_NAMES = {"white": "#ffffff", "black": "#000000"}
_GONE = frozenset({"template", "noscript", "script", "style"})


def drop_unseen(page: str) -> Any:
    """Return a page's tree without hidden elements and comments; None for one without any."""
    from lxml import etree  # noqa: PLC0415 (only web pages need it)
    from lxml import html as parsing  # noqa: PLC0415

    parser = parsing.HTMLParser(encoding="utf-8", remove_comments=True, remove_pis=True)
    try:
        tree = parsing.document_fromstring(page.encode("utf-8", "replace"), parser)
    except (etree.ParserError, etree.XMLSyntaxError):
        return None
    for element in [element for element in tree.iter() if element.getparent() is not None and _is_unseen(element)]:
        if element.getparent() is not None:
            element.drop_tree()
    return tree


def _is_unseen(element: Any) -> bool:
    if not isinstance(element.tag, str) or element.tag in _GONE or element.get("hidden") is not None:
        return True
    style = element.get("style")
    return bool(style) and (bool(_HIDDEN.search(style)) or _is_its_own_ground(style))


def _is_its_own_ground(style: str) -> bool:
    """Whether a text has the colour of what it stands on."""
    colour, ground = _COLOUR.search(style), _GROUND.search(style)
    return colour is not None and ground is not None and _named(colour[1]) == _named(ground[1])


def _named(colour: str) -> str:
    """Return a colour in one way of writing it."""
    told = re.sub(r"\s+", "", colour).lower()
    told = _NAMES.get(told, told)
    if re.fullmatch(r"#[0-9a-f]{3}", told):
        return "#" + "".join(2 * digit for digit in told[1:])
    parts = re.fullmatch(r"rgba?\((\d{1,3}),(\d{1,3}),(\d{1,3})(?:,1(?:\.0*)?)?\)", told)
    return told if parts is None else "#" + "".join(f"{min(int(part), 255):02x}" for part in parts.groups())
