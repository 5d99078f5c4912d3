"""Which language a text is taken to be in."""

from typing import Final

import pytest

from ashchat_translate.detection import Habits, judge, written_in

CHAT: Final = {
    "es": (
        "quiero ir al cine contigo mañana", "no me gusta nada", "jajaja que bueno",
        "te llamo luego", "dónde estás", "vale perfecto", "q haces tio", "Pásame la sal",
        "no se, ya veremos",
        "ok perfecto nos vemos alli", "La casa es grande", "son las 10:30", "Buenos días", "Hola",
    ),
    "en": (
        "where are you", "i'm at home", "see you tomorrow then", "lol that's great", "u coming?",
        "pass me the salt", "no idea, we'll see", "The house is big", "thanks", "ok",
    ),
    "pt": ("onde você está", "estou em casa", "até amanhã", "o gato é branco", "não gosto disso"),
    "fr": ("où es-tu", "je suis à la maison", "à demain", "merci pour tout", "j'aime pas ça"),
    "it": ("dove sei", "sono a casa", "a domani", "grazie di tutto", "non mi piace"),
    "de": ("wo bist du", "ich bin zu hause", "bis morgen", "Ich komme später"),
    "nl": ("waar ben je", "ik ben thuis", "tot morgen", "Ik ga naar huis"),
    "tr": ("neredesin", "evdeyim", "yar\u0131n görüşürüz", "Eve gidiyorum"),
    "vi": ("bạn ở đâu", "tôi ở nhà", "Tôi đang về nhà"),
    "ru": ("где ты", "я дома", "Я иду домой"),
    "ar": ("أين أنت", "أنا في البيت", "أنا ذاهب إلى البيت"),
    "ur": ("میں گھر پر ہوں", "آپ کہاں ہیں", "میں گھر جا رہا ہوں"),
    "hi": ("मैं घर पर हूँ", "आप कहाँ हैं", "मैं घर जा रहा हूँ"),
    "bn": ("আমি বাড়ি যাচ্ছি", "তুমি কোথায়"),
    "ja": ("家に帰ります", "今どこですか"),
    "zh": ("我要回家", "你在哪里"),
    "ko": ("집에 가요", "어디예요"),
}  # fmt: skip


@pytest.mark.parametrize("language", CHAT)
def test_what_people_write_is_in_their_language(language: str) -> None:
    for text in CHAT[language]:
        assert judge(text, language).verdict == "declared", text


@pytest.mark.parametrize(
    ("text", "declared", "language"),
    [
        ("See you at ten", "es", "en"),
        ("Come here once a day, the red pan is sin.", "es", "en"),
        ("The meeting is at ten tomorrow", "pt", "en"),
        ("nos vemos mañana en la oficina", "en", "es"),
        ("La casa è grande", "es", "it"),
        ("A casa é grande", "es", "pt"),
        ("Der Hund ist schwarz", "es", "de"),
        ("Привет, как дела", "es", "ru"),
        ("你好", "es", "zh"),
        ("家に帰ります", "zh", "ja"),
        ("So klein und schon so frech", None, "de"),
    ],
)
def test_what_is_plainly_in_another_language(
    text: str, declared: str | None, language: str
) -> None:
    judged = judge(text, declared)
    assert (judged.verdict, judged.language) == ("other", language)


@pytest.mark.parametrize(
    ("text", "declared"),
    [
        ("Ok, nos vemos at the office", "es"),
        ("main ghar ja raha hoon", "hi"),  # Hindi in Latin letters
        ("Zdravo, kako si danas prijatelju", "es"),  # none of the client's languages
        ("xyzzy plugh frotz gnusto rezrov", "es"),
        ("", None),
        ("ok", None),
    ],
)
def test_what_is_unclear(text: str, declared: str | None) -> None:
    assert judge(text, declared).verdict == "unsure"


def test_a_language_that_the_model_does_not_know_is_believed() -> None:
    assert judge("Sos pitzinnos sunt andados a iscola", "sc").verdict == "declared"


def test_the_script_of_a_tag_decides() -> None:
    assert written_in("Где ты?", "ru")
    assert not written_in("Gde ty?", "ru")
    assert written_in("Gde si?", "sr-Latn")
    assert not written_in("Gde si?", "sr")
    assert written_in("10:30!", "ru")  # no letters


def test_a_habit_is_of_the_last_texts() -> None:
    habits = Habits()
    for _ in range(3):
        habits.judge("I will be at the office tomorrow", "es", "eva")
    assert habits.usual("eva") == "en"
    assert habits.judge("on my way", "es", "eva").language == "en"
    for _ in range(5):
        habits.judge("mañana voy a estar en la oficina", "es", "eva")
    assert habits.usual("eva") == "es"
    assert habits.judge("on my way", "es", "eva").language == "es"
