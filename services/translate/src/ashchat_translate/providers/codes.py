"""Language codes of the providers, converted from canonical tags (`ashchat_core.languages`).

Google accepts BCP 47 nearly unchanged (https://docs.cloud.google.com/translate/docs/languages);
Apertium uses ISO 639-3 with an underscore before a variant ("por", "por_BR").
"""

from ashchat_core import languages


def google(tag: str) -> str:
    """Return Google's code: the language, and a script that is not the language's usual one.

    Chinese goes by region there.
    """
    language, script = languages.language(tag), languages.script(tag)
    if language == "zh":
        return "zh-TW" if script == "Hant" else "zh-CN"
    return language if languages.has_usual_script(tag) else f"{language}-{script}"


def apertium(tag: str) -> str | None:
    """Return Apertium's code, ISO 639-3; None if it does not write the tag's script.

    Its pairs are for the usual script of their languages.
    """
    return languages.iso_639_3(tag) if languages.has_usual_script(tag) else None


def from_apertium(code: str) -> str:
    """Return the ISO 639-3 code for one of Apertium's codes: "por" for "por_BR", "spa" for "es".

    Older pairs are listed by ISO 639-1, and some sides are variants (Brazilian Portuguese);
    for a reader of the language a variant is better than no translation.
    """
    return languages.iso_639_3(code.split("_", 1)[0])
