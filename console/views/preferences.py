"""What a reader chooses: language and colour scheme, kept in their browser."""

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from console.desk import Desk, Form
from console.pages import LANGUAGE_COOKIE, THEME_COOKIE, THEMES, back_to
from console.words import LANGUAGES

A_YEAR_SECONDS = 365 * 24 * 3600
SEE_OTHER = 303


def change(_desk: Desk, _request: Request, form: Form) -> Response:
    """Remember the choice and go back to where it was made."""
    answer = RedirectResponse(back_to(form.get("back", "/")), SEE_OTHER)
    for field, cookie, choices in (("language", LANGUAGE_COOKIE, LANGUAGES), ("theme", THEME_COOKIE, THEMES)):
        if form.get(field) in choices:
            answer.set_cookie(cookie, form[field], max_age=A_YEAR_SECONDS, httponly=True, samesite="strict", path="/")
    return answer
