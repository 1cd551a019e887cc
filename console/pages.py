"""How a page is made: templates, the reader's language and scheme, and how moments, sizes and names are shown."""

import json
import unicodedata
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from secrets import token_urlsafe
from typing import Any
from urllib.parse import quote, urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import HTMLResponse

from console.words import DEFAULT_LANGUAGE, LANGUAGES, Words

TEMPLATES = Path(__file__).with_name("templates")
THEMES = ("auto", "light", "dark")
LANGUAGE_COOKIE, THEME_COOKIE = "amtsbote-language", "amtsbote-theme"
KILO, UNITS = 1000, ("kB", "MB", "GB", "TB")
A_DAY, AN_HOUR, A_MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
NOTICES_AT_MOST = 50
NAME_LETTERS_AT_MOST = 400
"""Longer names are shown by their beginning and end; what is linked is the whole one."""


@dataclass(frozen=True)
class Reader:
    """Who reads: the language and the colour scheme that they chose, or that their browser asks for."""

    language: str
    theme: str

    @classmethod
    def of(cls, request: Request) -> "Reader":
        """Return the reader behind a request."""
        chosen, theme = request.cookies.get(LANGUAGE_COOKIE), request.cookies.get(THEME_COOKIE)
        language = chosen if chosen in LANGUAGES else preferred(request.headers.get("accept-language", ""))
        return cls(language, theme if theme in THEMES else THEMES[0])


@dataclass(frozen=True)
class Notice:
    """What became of an action: one sentence, and whether it went well. `said_in` is the language of the sentence."""

    text: str
    went_well: bool = True
    said_in: str | None = None


class Notices:
    """Notices between an action and the page that shows them, each shown once; the oldest are forgotten."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Notice] = OrderedDict()

    def keep(self, notice: Notice) -> str:
        """Keep a notice and return the key that it is shown for."""
        key = token_urlsafe(9)
        self._kept[key] = notice
        while len(self._kept) > NOTICES_AT_MOST:
            self._kept.popitem(last=False)
        return key

    def take(self, key: str | None) -> Notice | None:
        """Return the notice of that key, None where there is none or it has been shown."""
        return self._kept.pop(key or "", None)


class Pages:
    """Makes pages of templates. `form_key` is the value that every form carries."""

    def __init__(self, form_key: str) -> None:
        self._form_key = form_key
        self.notices = Notices()
        self._environment = Environment(
            loader=FileSystemLoader(TEMPLATES),
            autoescape=select_autoescape(default=True, default_for_string=True),
            undefined=StrictUndefined,
            auto_reload=False,  # a console that runs is of one piece
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters.update(
            {
                "size": size,
                "name": shown_name,
                "readable": readable,
                "record": record,
                "instant": instant,
                "query": urlencode,
                "percent": percent,
                "quoted": quoted,
                "digest": digest,
            }
        )

    def show(self, request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
        """Return a page, or a part of one, in the reader's language."""
        reader = Reader.of(request)
        words = Words(reader.language)
        notice = self.notices.take(request.query_params.get("notice"))
        text = self._environment.get_template(template).render(
            values,
            t=words,
            moment=lambda at, *, seconds=False: moment(at, words, seconds=seconds),
            ago=lambda age: age_in_words(age, words),
            weekday=lambda day: weekday(day, words),
            reader=reader,
            notice=notice,
            form_key=self._form_key,
            here=_address(request),
            path=request.url.path,
        )
        return HTMLResponse(text, status, headers={"Vary": "Accept-Language, Cookie"})


def preferred(accepted: str) -> str:
    """Return the language that an Accept-Language header asks for first, of those there are."""
    wanted = [_weighed(part) for part in accepted.split(",")]
    ours = [(weight, language) for weight, language in wanted if language in LANGUAGES and weight > 0]
    return max(ours, key=lambda each: each[0])[1] if ours else DEFAULT_LANGUAGE


def _weighed(part: str) -> tuple[float, str]:
    language, _, weight = part.strip().partition(";q=")
    try:
        return float(weight or 1), language.partition("-")[0].lower()
    except ValueError:
        return 0.0, ""


def _address(request: Request) -> str:
    """Return the page that is being read, without the notice that is shown once."""
    kept = [(name, value) for name, value in request.query_params.multi_items() if name != "notice"]
    return f"{request.url.path}?{urlencode(kept)}" if kept else request.url.path


# --- how things are shown --------------------------------------------------------------------------------------------


def moment(at: datetime, words: Words, *, seconds: bool = False) -> Markup:
    """Return a moment in the operator's zone; UTC is its title."""
    utc, local = at.astimezone(UTC), at.astimezone()
    shown = f"{weekday(local.date(), words)}, {local.strftime(words('format.moment') + ':%S' * seconds)}"
    return Markup('<time datetime="{}" title="{} UTC">{}</time>').format(
        utc.strftime("%Y-%m-%dT%H:%M:%SZ"), utc.strftime("%Y-%m-%d %H:%M:%S"), shown
    )


def weekday(day: date, words: Words) -> str:
    """Return the short name of a day of the week."""
    return words("weekdays").split()[day.weekday()]


def instant(text: str) -> datetime:
    """Return the moment that a receipt writes down."""
    return datetime.fromisoformat(text)


def age_in_words(age: timedelta, words: Words) -> str:
    """Return how long that is, in the largest unit that fits."""
    for unit, name in ((A_DAY, "days"), (AN_HOUR, "hours"), (A_MINUTE, "minutes")):
        if (count := age // unit) >= 1:
            return words(f"age.{name}.one" if count == 1 else f"age.{name}", count=count)
    return words("age.now")


def size(count: int) -> str:
    """Return a number of bytes for people: `48.2 kB`."""
    value, unit = float(count), "B"
    for larger in UNITS:
        if value < KILO:
            break
        value, unit = value / KILO, larger
    return f"{count} B" if unit == "B" else f"{value:.1f} {unit}"


def percent(part: int, whole: int) -> int:
    """Return a share in percent, 100 at most."""
    return min(100 * part // whole, 100) if whole else 0


def shown_name(text: str, letters: int = NAME_LETTERS_AT_MOST) -> Markup:
    """Return a name that somebody else chose, as `readable`; of one with more letters the beginning and the end."""
    end = letters // 4
    return readable(text if len(text) <= letters else f"{text[: letters - end]} … {text[-end:]}")


def readable(text: str) -> Markup:
    """Return a text that somebody else chose, so that it can only be read: what cannot be seen is spelled out."""
    return Markup("<bdi>{}</bdi>").format(Markup("").join(_letter(each) for each in text))


def _letter(letter: str) -> Markup:
    if _is_unseen(letter):
        return Markup('<span class="unseen">U+{}</span>').format(f"{ord(letter):04X}")
    return escape(letter)


def _is_unseen(letter: str) -> bool:
    return unicodedata.category(letter)[0] == "C" or letter in "\u2028\u2029"


def record(value: Any) -> str:
    """Return a portal's record as indented JSON; what cannot be seen is an escape there, as JSON has it."""
    text = json.dumps(value, ensure_ascii=False, indent=2, default=str)
    return "".join(each if each == "\n" or not _is_unseen(each) else json.dumps(each)[1:-1] for each in text)


def quoted(text: str) -> str:
    """Return a text that a form gives back as it is; a browser would change the line breaks of a name."""
    return quote(text, safe="", errors="surrogatepass")


def digest(text: str) -> str:
    """Return what stands for a sentence that a person has read."""
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def back_to(text: str) -> str:
    """Return the page of ours that a form asks to go back to; the overview where it is none."""
    is_ours = text.startswith("/") and not text.startswith("//") and "\\" not in text and text.isprintable()
    return text if is_ours else "/"


def with_notice(address: str, key: str) -> str:
    """Return an address of ours that shows a notice."""
    return f"{address}{'&' if '?' in address else '?'}{urlencode({'notice': key})}"
