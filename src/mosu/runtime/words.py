"""What the server's commands say, in the language of whoever started them."""

from unicodedata import east_asian_width

from mosu.kernel.languages import language_of_environment, said


def told(text: str) -> str:
    """A sentence, or lines of them, as MOSU_LANG, LC_ALL, LC_MESSAGES or LANG say."""
    language = language_of_environment()
    whole = said(text, language)
    return whole if whole != text else "\n".join(said(line, language) for line in text.split("\n"))


def padded(text: str, columns: int) -> str:
    """`text` with blanks behind it; a Chinese character is two columns wide."""
    wide = sum(east_asian_width(letter) in "WF" for letter in text)
    return text + " " * max(0, columns - len(text) - wide)
