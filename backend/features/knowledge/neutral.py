"""Makes text of documents inert before a model reads it: it can say anything, but not pass for anything else.

Taken out or broken up are what nobody sees, what chat templates are made of (model servers read special tokens in
whatever they are given), and what looks like the frame that we put around sources. A word stays a word: orders in a
document cannot be told from its contents, and are dealt with by what stands around them (`assembly.py`).

This runs on the event loop, over text of strangers: what repeats must not give back what it took, or a few thousand
brackets hold up everybody. So repetitions before something that may be missing are possessive (`++`).
"""

import re
import unicodedata

_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff"
    "\uffa0\ufff9-\ufffb\U000e0000-\U000e0fff]"
)
_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
_NAMES = (
    "s|bos|eos|pad|unk|mask|sep|cls|think|thinking|thought|reasoning|analysis|scratchpad|answer|tool|tools|tool_calls?|"
    "tool_code|tool_responses?|tool_results?|tool_outputs?|function|functions|function_calls?|function_results?|invoke|"
    "parameter|parameters|start_of_turn|end_of_turn|start_of_image|end_of_image|sys|system|user|assistant|human|model|"
    "instruction|instructions|prompt|sources?|documents?|context|image|audio|video|ai|bot|\u7528\u6237|unused\\d+|"
    "eot|eoh|eoa|eop|eod|sop|pre|suf|mid|toolcall|escape|filename|0x[0-9a-f]{2}|[a-z0-9]+(?:_[a-z0-9]+)+"
)
"""Words that are special tokens, or the tags that models are taught to write their own turns in; of words joined by `_`
that is assumed."""
_TAG = re.compile(rf"(?<!<)<++\s*+(/?)\s*+((?:[a-z]{{1,12}}:)?(?:{_NAMES}))\b([^<>\n]{{0,200}})>++", re.IGNORECASE)
_BRACKET = re.compile(r"\[\s*+(/?\s*+(?:[A-Z][A-Z_]++(?:\s++[A-Z_]++)?|[gs]MASK|control_\d+))\s*+\]")
_BARRED = re.compile(r"\[([|\uff5c][^\[\]\n]{1,60}[|\uff5c])\]")
_TILDES = re.compile(r"\]~!?b[\]\[]|\[e~\[")
_BAR_OPEN, _BAR_CLOSE = re.compile(r"<(?=[|\uff5c])"), re.compile(r"(?<=[|\uff5c])>")
_TURN = re.compile(
    r"(?im)^([ \t>*_#-]*)(system|user|assistant|human|ai|instruction|response|input|tool|utilisateur|syst\u00e8me)"
    r"([ \t*_]*):"
)
_FRAME = re.compile(r"<{3,}|>{3,}|={5,}|-{5,}")
_NUMBER = re.compile(r"(?m)^([^\S\n]*+)\[(\d{1,4})\]")
_IMAGE = re.compile(r"!(?=\[)")
_BLANKS = re.compile(r"\n{3,}")
_MAX_TITLE = 120


def neutralise(text: str) -> str:
    """Return a text of a document as a model may read it; what is neutral already stays as it is."""
    text = visible(text)
    text = _COMMENT.sub(" ", text)
    text = _BARRED.sub(r"( \1 )", _TILDES.sub(" ", text))
    text = _TAG.sub(lambda found: f"({found[1]}{found[2]}{found[3]})", text)
    text = _BRACKET.sub(lambda found: f"({found[1]})", text)
    text = _BAR_CLOSE.sub(" )", _BAR_OPEN.sub("( ", text))
    text = _FRAME.sub(lambda found: found[0][:2], text)
    text = _TURN.sub(r"\1\2\3 -", text)
    text = _NUMBER.sub(r"\1(\2)", text)
    text = _IMAGE.sub("", text)
    return _BLANKS.sub("\n\n", text).strip()


def neutral_title(title: str) -> str:
    """Return a document's title or heading on one line."""
    line = " ".join(neutralise(title).split()).replace("[", "(").replace("]", ")")
    return line if len(line) <= _MAX_TITLE else line[: _MAX_TITLE - 1] + "\u2026"


def visible(text: str) -> str:
    """Return a text without what nobody sees: control, zero-width, direction, tag and private characters."""
    text = _INVISIBLE.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    text = text.replace("\u2028", "\n").replace("\u2029", "\n").replace("\u0085", "\n")
    if text.isascii() and text.isprintable():
        return text
    return "".join(c for c in text if c in "\n\t" or unicodedata.category(c) not in {"Cc", "Cf", "Co", "Cs", "Cn"})
