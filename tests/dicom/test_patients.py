"""Two patients in one study are told apart; two spellings of one are not."""

from hashlib import sha256

import pytest

from neurotriage.dicom.patients import count_patients, identity_conflict, patient_key

pytestmark = pytest.mark.unit

ID, NAME, BIRTH = "P1", "Müller^Jörg", "19600101"


def key(patient_id: str = ID, name: str = NAME, birth_date: str = BIRTH) -> str:
    return patient_key(patient_id, name, birth_date)


@pytest.mark.parametrize(
    "other",
    [
        key(name="MUELLER^JOERG"),
        key(name="", birth_date=""),
        key(name="Roe^Max", birth_date="19990101"),
        key(patient_id=" P1 "),
        # an object that does not say whose it is, or says it in part
        key(patient_id=""),
        key(patient_id="", name="", birth_date=""),
        key(patient_id="", name="MÜLLER^JÖRG^^"),
        key(patient_id="", name="ANONYMOUS", birth_date=""),
        key(patient_id="", name="Mueller^Joerg"),
        key(patient_id="", birth_date="19990101"),
    ],
)
def test_with_an_id_it_is_one_patient(other: str) -> None:
    assert count_patients([key(), other]) == 1


@pytest.mark.parametrize(
    "other",
    [
        key(patient_id="P2"),
        key(patient_id="p1"),
        key(patient_id="0P1"),
        key(patient_id="", name="Roe^Max", birth_date="19990101"),
    ],
)
def test_beside_an_id_it_is_another_patient(other: str) -> None:
    assert count_patients([key(), other]) == 2
    assert count_patients([other, key(), other, key()]) == 2


def test_leading_zeros_of_an_id_count() -> None:
    assert count_patients([key("00123"), key("123")]) == 2


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("Doe^Jane", "Doe^Jane^^"),
        ("Doe^Jane", " Doe ^ Jane "),
        ("Doe^Jane", "DOE^JANE"),
        ("Doe^Jane^^^", "Doe^Jane"),
        ("Yamada^Tarou=山田^太郎", "Yamada^Tarou"),
        ("Yamada^Tarou=山田^太郎", "YAMADA^TARO=山田^太郎"),
        ("ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎", "ヤマダ^タロウ"),
        ("Yamada^Tarou==やまだ^たろう", "Yamada^Tarou=山田^太郎"),
        ("Doe^Jane", ""),
    ],
)
def test_without_an_id_another_spelling_is_no_other_patient(name: str, other: str) -> None:
    assert count_patients([key("", name), key("", other)]) == 1


def test_without_an_id_name_or_birth_date_tell_patients_apart() -> None:
    assert count_patients([key(""), key("", name="Roe^Max")]) == 2
    assert count_patients([key(""), key("", birth_date="19600102")]) == 2
    assert count_patients([key(""), key("", birth_date="1960.01.01")]) == 1
    assert count_patients([key(""), key("", birth_date="")]) == 1


def test_the_count_does_not_depend_on_the_order() -> None:
    keys = [key("", "", ""), key("", "Roe^Max", "19990101"), key(), key("", birth_date="19990101"), key("P2")]
    assert {count_patients(keys[turn:] + keys[:turn]) for turn in range(len(keys))} == {3}


def test_a_key_names_nobody() -> None:
    assert not any(value in key() for value in (ID, NAME, BIRTH, "Müller", "1960"))


def test_a_key_that_an_older_version_wrote_is_that_of_its_id() -> None:
    older = sha256(ID.encode()).hexdigest()
    assert count_patients([older, key()]) == 1
    assert count_patients([older, key("P2")]) == 2


def test_the_sentence_says_what_is_wrong() -> None:
    assert identity_conflict([key(), key()], "1.2.3") is None
    shared = identity_conflict([key(), key("P2")], "1.2.3")
    unnamed = identity_conflict([key(), key("P2")], "")
    assert shared is not None
    assert unnamed is not None
    assert shared.text.startswith("2 different patients share this StudyInstanceUID; ")
    assert unnamed.text.startswith("these images have no StudyInstanceUID and are of 2 different patients; ")
