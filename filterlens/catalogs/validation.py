"""What pydantic found wrong, in our words and on one line."""

from __future__ import annotations

import reprlib
from typing import Final

from pydantic import ValidationError

__all__ = ["explain_invalid"]

#: writes out a part of what may be large or deep
_SHOWN: Final = reprlib.Repr()
_SHOWN.maxstring = 80
_EXPECTED: Final = {
    "bool": "true or false was expected",
    "dict": "an object was expected",
    "extra_forbidden": "no value of that name is taken",
    "finite_number": "a finite number was expected",
    "float": "a number was expected",
    "greater_than": "a number above {gt} was expected",
    "greater_than_equal": "a number of at least {ge} was expected",
    "int": "a whole number was expected",
    "less_than": "a number below {lt} was expected",
    "less_than_equal": "a number of at most {le} was expected",
    "list": "a list was expected",
    "literal_error": "one of {expected} was expected",
    "missing": "it is missing",
    "model": "an object was expected",
    "string": "text was expected",
    "string_pattern_mismatch": "a name such as resnet50 was expected",
    "string_too_long": "at most {max_length} characters were expected",
    "string_too_short": "at least {min_length} character was expected",
    "too_long": "at most {max_length} values were expected",
    "too_short": "at least {min_length} values were expected",
    "tuple": "several values were expected",
    "value_error": "{error}",
}


def explain_invalid(error: ValidationError) -> tuple[str, str]:
    """Return the name of the first wrong value, dotted, and what was expected and what came.

    Examples
    --------
    >>> from pydantic import BaseModel, Field
    >>> class Ball(BaseModel):
    ...     eps: float = Field(gt=0)
    >>> try:
    ...     Ball(eps=-1)
    ... except ValidationError as error:
    ...     explain_invalid(error)
    ('eps', 'a number above 0 was expected, got -1')
    """
    first = error.errors(include_url=False)[0]
    kind = first["type"]
    text = _EXPECTED.get(kind) or _EXPECTED.get(kind.partition("_")[0], "something else was expected")
    name = ".".join(part for part in first["loc"] if isinstance(part, str) and part.isidentifier())
    return name, f"{text.format(**first.get('ctx', {}))}, got {_SHOWN.repr(first['input'])}"
