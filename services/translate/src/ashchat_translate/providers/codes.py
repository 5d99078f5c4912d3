"""Language codes of the providers, converted from our tags (see `ashchat_core.languages`).

Google accepts BCP 47 nearly unchanged (https://docs.cloud.google.com/translate/docs/languages);
Apertium uses ISO 639-3 with an underscore before a variant ("por", "por_BR").
"""

from typing import Final

from ashchat_core.languages import is_traditional_chinese, primary

# ISO 639-1 → ISO 639-3 (https://iso639-3.sil.org/code_tables/639/data): the client's 17
# languages first, then the other languages of Apertium's released pairs.
_TO_639_3: Final[dict[str, str]] = {
    "en": "eng", "es": "spa", "fr": "fra", "pt": "por", "de": "deu", "it": "ita",
    "nl": "nld", "ru": "rus", "ja": "jpn", "zh": "zho", "ko": "kor", "ar": "ara",
    "tr": "tur", "hi": "hin", "bn": "ben", "ur": "urd", "vi": "vie",
    "af": "afr", "an": "arg", "be": "bel", "bg": "bul", "br": "bre", "ca": "cat",
    "cy": "cym", "da": "dan", "eo": "epo", "eu": "eus", "gl": "glg", "hr": "hrv",
    "id": "ind", "is": "isl", "kk": "kaz", "mk": "mkd", "ms": "msa", "mt": "mlt",
    "nb": "nob", "nn": "nno", "oc": "oci", "pl": "pol", "ro": "ron", "sc": "srd",
    "sl": "slv", "sr": "srp", "sv": "swe", "tt": "tat", "uk": "ukr",
}  # fmt: skip


def google(tag: str) -> str:
    """Return Google's code: the language, with a script only where Google distinguishes it."""
    if primary(tag) == "zh":
        return "zh-TW" if is_traditional_chinese(tag) else "zh-CN"
    return primary(tag)


def apertium(tag: str) -> str:
    """Return Apertium's code: ISO 639-3, the language only.

    A tag without a two-letter code ("srd") already is ISO 639-3.
    """
    code = primary(tag)
    return _TO_639_3.get(code, code)


def from_apertium(code: str) -> str:
    """Return the ISO 639-3 code for one of Apertium's codes: "por" for "por_BR", "spa" for "es".

    Older pairs are listed by ISO 639-1, and some sides are variants (Brazilian Portuguese);
    for a reader of the language a variant is better than no translation.
    """
    language = code.split("_", 1)[0]
    return _TO_639_3.get(language, language)
