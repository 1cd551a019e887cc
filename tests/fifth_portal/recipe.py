"""How template.yaml gets one more portal: what names an existing one is copied, under the new name.

`python -m tests.fifth_portal.recipe NEW [LIKE]` does it to the template of this checkout.
"""

import re
import sys
from pathlib import Path

TEMPLATE = Path(__file__).resolve().parents[2] / "template.yaml"
PLAIN = "digitale-gemeinde"  # the portal whose block holds least of its own


def logical(portal: str) -> str:
    """Return a portal's name in logical ids: DigitaleGemeinde for digitale-gemeinde."""
    return "".join(part.title() for part in portal.split("-"))


def with_portal(template: str, new: str, like: str = PLAIN) -> str:
    """Return the text of the template with the portal `new` beside `like`; ValueError where a place is not found."""
    if f"{logical(new)}MaximumConcurrency:" in template:
        raise ValueError(f"{new} is there already")
    for place in places(like):
        template = _copied(template, place, new, like)
    return _routed(template, new)


def places(like: str) -> list[str]:
    """Return the patterns of what is copied: one match each, whole lines."""
    return [
        rf"^  {logical(like)}MaximumConcurrency:\n(?:    .*\n)+  {logical(like)}\w+:\n(?:    .*\n)+",  # both parameters
        rf"^ +- !GetAtt Fetch{logical(like)}Role\.Arn\n",  # InboxBucketPolicy: who writes documents,
        rf"^ +- !GetAtt Deliver{logical(like)}Role\.Arn\n +- !GetAtt Track{logical(like)}Role\.Arn\n",  # receipts,
        rf"^ +- !GetAtt Poll{logical(like)}Role\.Arn\n",  # and reports
        rf"^ +- !GetAtt Deliver{logical(like)}Role\.Arn\n(?! +- !GetAtt Track)",  # OutboxBucketPolicy: who reads drops
        rf"^ +- !GetAtt {logical(like)}DropsRule\.Arn\n",  # DeadLetterQueuePolicy: who may send to it
        rf"^  # ── {like}: .*\n(?:(?!  # ── ).*\n)+",  # the block, up to the next heading
        rf'^ +- !Sub "\${{InboxBucket\.Arn}}/receipts/{like}/\*"\n',  # DeliverUnroutedRole: not its receipts
    ]


def _copied(template: str, place: str, new: str, like: str) -> str:
    found = list(re.finditer(place, template, re.MULTILINE))
    if len(found) != 1:
        raise ValueError(f"{len(found)} places in the template look like {place}")
    before, original, after = template[: found[0].start()], found[0][0], template[found[0].end() :]
    copy = original.replace(like, new).replace(logical(like), logical(new))
    return before + original + _without_own_settings(copy, before + after) + after


def _without_own_settings(block: str, others: str) -> str:
    """Leave out the environment variables that no other portal's functions have."""
    shared = set(re.findall(r"^ +(AMTSBOTE_\w+):", others, re.MULTILINE))
    return re.sub(
        r"^ +(AMTSBOTE_\w+): .*\n", lambda line: line[0] if line[1] in shared else "", block, flags=re.MULTILINE
    )


def _routed(template: str, new: str) -> str:
    """Add the prefix to those that UnroutedDropsRule leaves out, in the order of the alphabet."""
    others = re.findall(r"anything-but: {prefix: \[(.+)\]}", template)
    if len(others) != 1:
        raise ValueError("the list of UnroutedDropsRule is not found")
    return template.replace(others[0], ", ".join(sorted([*others[0].split(", "), f"{new}/"])))


if __name__ == "__main__":
    TEMPLATE.write_text(with_portal(TEMPLATE.read_text(encoding="utf-8"), *sys.argv[1:]), encoding="utf-8")
