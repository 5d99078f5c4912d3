from ashchat_email.codes import CodeKey, mail_key

KEY = CodeKey(b"k" * 32)


def test_a_redelivered_sign_up_gets_the_same_code() -> None:
    assert KEY.code("sign-up", "a") == KEY.code("sign-up", "a")


def test_codes_have_six_digits() -> None:
    codes = [KEY.code("sign-up", str(number)) for number in range(500)]
    assert all(len(code) == 6 and code.isdigit() for code in codes)
    assert len(set(codes)) > 490


def test_purpose_subject_issue_and_key_each_change_the_code() -> None:
    codes = {
        KEY.code("sign-up", "a"),
        KEY.code("device", "a"),
        KEY.code("sign-up", "b"),
        KEY.code("sign-up", "a", 2),
        CodeKey(b"x" * 32).code("sign-up", "a"),
    }
    assert len(codes) == 5


def test_the_parts_of_a_digest_cannot_be_shifted_into_each_other() -> None:
    assert KEY.digest("device", "ab", "c") != KEY.digest("device", "a", "bc")


def test_an_address_is_the_same_in_any_case() -> None:
    assert mail_key("Ana@Example.org ") == mail_key("ana@example.org")
