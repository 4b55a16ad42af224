"""Who is who, second stage: what of two records is compared, which pairs are looked at, and what makes them two people.

Constants and SQL only; `probabilistic.py` estimates the weights and scores the pairs.

What the comparisons allow for: typos, swapped parts of a name, nicknames that begin alike, swapped day and month,
transposed digits, parts of an address in another order. Names in Han characters are equal, or equal with the family
name put last, or they differ: with two or three characters an edit distance of one is another person, and brothers
share all but one character.
"""

from typing import Any

_HAN = r"[\p{Han}·]+"

# Clear columns → what is compared. Every value is lower case without accents; null where nothing is known.
FEATURES = f"""
    with clean as (
        select
            number,
            nullif(trim(regexp_replace(lower(strip_accents(name)), '[^\\p{{L}}\\p{{N}} ]+', ' ', 'g')), '') as name,
            nullif(regexp_replace(birth_date, '\\D', '', 'g'), '') as dob,
            nullif(trim(lower(strip_accents(address))), '') as address,
            nullif(trim(lower(strip_accents(city))), '') as city,
            nullif(regexp_replace(lower(postcode), '\\s', '', 'g'), '') as postcode,
            nullif(trim(phone), '') as phone,
            nullif(trim(lower(email)), '') as email,
            nullif(lower(gender), '') as gender,
            nullif(trim(lower(identifier)), '') as identifier
        from records
    ),
    parts as (
        select
            *,
            regexp_full_match(replace(name, ' ', ''), '{_HAN}') as is_han,
            string_split_regex(name, '\\s+') as words,
            list_sort(regexp_extract_all(address, '\\d+')) as numbers,
            list_sort(list_distinct(list_filter(
                string_split_regex(regexp_replace(address, '[^\\p{{L}}]+', ' ', 'g'), '\\s+'), x -> length(x) > 1
            ))) as streets
        from clean
    )
    select
        number,
        case when is_han then replace(name, ' ', '') end as han,
        case when not is_han then words[1] end as first_word,
        case when not is_han and len(words) > 1 then words[-1] end as last_word,
        case when is_han then replace(name, ' ', '')
            when len(words) > 1 then array_to_string(list_sort(words), ' ') end as full_name,
        dob,
        nullif(array_to_string(numbers, ' '), '') as house,
        nullif(array_to_string(streets, ' '), '') as street,
        case when len(streets) > 0 then streets end as street_words,
        list_sort(streets, 'desc')[1] as street_word,
        city,
        postcode,
        phone,
        email,
        identifier,
        split_part(email, '@', 1) as mailbox,
        case when gender in ('male', 'female') then gender end as gender
    from parts
"""

FEATURE_COLUMNS = {
    "han": "varchar",
    "first_word": "varchar",
    "last_word": "varchar",
    "full_name": "varchar",
    "dob": "varchar",
    "house": "varchar",
    "street": "varchar",
    "street_words": "varchar[]",
    "street_word": "varchar",
    "city": "varchar",
    "postcode": "varchar",
    "phone": "varchar",
    "email": "varchar",
    "identifier": "varchar",
    "mailbox": "varchar",
    "gender": "varchar",
}
"""What FEATURES gives beside `number`."""
# Enough of it to tell two records apart, in a fixed order.
ORDERED = (
    "full_name",
    "dob",
    "email",
    "phone",
    "identifier",
    "street",
    "house",
    "city",
    "postcode",
    "first_word",
    "last_word",
    "gender",
)

# A pair is scored where one of these is equal: a whole identifier, or parts that strangers share about once in a billion
# pairs. Together they let any one column be wrong. A key of more records than the policy's cap blocks nothing, so that
# a shop's mailbox on 50,000 records costs nothing. Null where a part is unknown: concatenation passes it on.
BLOCKS = {
    "block_email": "email",
    "block_mailbox": "mailbox",
    "block_phone": "phone",
    "block_identifier": "identifier",
    "block_name_year": "full_name || substr(dob, 1, 4)",
    "block_name_day": "full_name || substr(dob, 5, 4)",
    "block_name_postcode": "full_name || postcode",
    "block_name_city": "full_name || city",
    "block_name_street": "full_name || street_word",
    "block_name_mailbox": "full_name || mailbox",
    "block_dob": "dob",
    "block_dob_first": "dob || substr(first_word, 1, 2)",
    "block_dob_last": "dob || substr(coalesce(last_word, first_word), 1, 2)",
    "block_dob_postcode": "dob || postcode",
    "block_dob_city": "dob || city",
    "block_dob_street": "dob || street_word",
    "block_first_house": "first_word || postcode || house",
    "block_last_house": "last_word || postcode || house",
    "block_first_street": "first_word || street_word",
    "block_last_street": "last_word || street_word",
    "block_address": "house || street_word || postcode",
}
# EM learns from the pairs that share one of these whatever else they share; it learns nothing of that column itself.
TRAINING = {
    "key_dob": "dob",
    "key_name": "full_name",
    "key_email": "email",
    "key_postcode": "postcode",
    "key_phone": "phone",
    "key_identifier": "identifier",
}
# So sure that the number of pairs they give is the number of matches times the recall that policy says.
SURE = (
    "l.key_name = r.key_name and l.dob = r.dob",
    "l.key_email = r.key_email",
    "l.key_phone = r.key_phone",
    "l.key_identifier = r.key_identifier",
    "l.block_name_postcode = r.block_name_postcode",
)
KEYS = BLOCKS | TRAINING
NAME_AND_PLACE = "block_name_postcode"
# What the levels of the comparisons read.
COMPARED = (
    "first_word",
    "last_word",
    "full_name",
    "han",
    "dob",
    "house",
    "street",
    "street_words",
    "city",
    "postcode",
    "phone",
    "identifier",
    "email",
    "mailbox",
)


def _level(condition: str, label: str, **options: object) -> dict[str, object]:
    return {"sql_condition": condition, "label_for_charts": label, **options}


def _comparison(column: str, null: str, *levels: dict[str, object]) -> dict[str, object]:
    return {
        "output_column_name": column,
        "comparison_levels": [
            _level(null, "unknown", is_null_level=True),
            *levels,
            _level("ELSE", "differs"),
        ],
    }


def near(one: str, other: str) -> str:
    """Two Latin words that one typo, or a nickname, can make of one another."""
    return (
        f"(jaro_winkler_similarity({one}, {other}) >= 0.88 "
        f"or (length({one}) > 3 and damerau_levenshtein({one}, {other}) <= 1) "
        f"or (length({one}) > 2 and length({other}) > 2 and (starts_with({one}, {other}) or starts_with({other}, {one}))))"
    )


def _digits(text: str) -> str:
    return f"regexp_replace({text}, '\\D', '', 'g')"


def _either_null(*columns: str) -> str:
    return " or ".join(f"{c}_l is null or {c}_r is null" for c in columns)


COMPARISONS: dict[str, dict[str, Any]] = {
    "name": _comparison(
        "name",
        "(first_word_l is null and han_l is null) or (first_word_r is null and han_r is null) "
        "or (han_l is null) <> (han_r is null)",
        _level("full_name_l = full_name_r", "equal, in any order", tf_adjustment_column="full_name"),
        _level(
            "han_l = substr(han_r, 2) || substr(han_r, 1, 1) or han_r = substr(han_l, 2) || substr(han_l, 1, 1)",
            "family name put last",
        ),
        _level(
            f"({near('first_word_l', 'first_word_r')} and {near('last_word_l', 'last_word_r')}) "
            f"or ({near('first_word_l', 'last_word_r')} and {near('last_word_l', 'first_word_r')})",
            "alike",
        ),
        _level(
            "(last_word_l is null or last_word_r is null) and (first_word_l = first_word_r "
            "or first_word_l = last_word_r or last_word_l = first_word_r)",
            "one of two parts known",
        ),
        _level(f"{near('first_word_l', 'first_word_r')}", "given name alike"),
        _level(
            f"{near('last_word_l', 'last_word_r')} or {near('first_word_l', 'last_word_r')} "
            f"or {near('last_word_l', 'first_word_r')}",
            "family name alike",
        ),
    ),
    "dob": _comparison(
        "dob",
        _either_null("dob"),
        _level("dob_l = dob_r", "equal"),
        _level(
            "damerau_levenshtein(dob_l, dob_r) <= 1 "
            "or dob_l = substr(dob_r, 1, 4) || substr(dob_r, 7, 2) || substr(dob_r, 5, 2)",
            "one digit, or day and month swapped",
        ),
        _level(
            "(substr(dob_l, 1, 4) = substr(dob_r, 1, 4))::int + (substr(dob_l, 5, 2) = substr(dob_r, 5, 2))::int "
            "+ (substr(dob_l, 7, 2) = substr(dob_r, 7, 2))::int >= 2",
            "two of year, month and day",
        ),
        _level("damerau_levenshtein(dob_l, dob_r) <= 2", "two digits"),
    ),
    "address": _comparison(
        "address",
        _either_null("street"),
        _level("street_l = street_r and house_l = house_r", "equal, in any order"),
        _level(
            "house_l = house_r and (jaro_winkler_similarity(street_l, street_r) >= 0.88 "
            "or len(list_intersect(street_words_l, street_words_r)) * 2 >= least(len(street_words_l), len(street_words_r)))",
            "same numbers, street alike",
        ),
        _level(
            "jaro_winkler_similarity(street_l, street_r) >= 0.88 "
            "or len(list_intersect(street_words_l, street_words_r)) * 2 >= least(len(street_words_l), len(street_words_r))",
            "street alike",
        ),
        _level("house_l = house_r", "same numbers"),
    ),
    "city": _comparison(
        "city",
        _either_null("city"),
        _level("city_l = city_r", "equal", tf_adjustment_column="city"),
        _level(
            "jaro_winkler_similarity(city_l, city_r) >= 0.88 and not regexp_matches(city_l, '\\p{Han}')",
            "alike",
        ),
    ),
    "postcode": _comparison(
        "postcode",
        _either_null("postcode"),
        _level("postcode_l = postcode_r", "equal"),
        _level("damerau_levenshtein(postcode_l, postcode_r) <= 1", "one digit"),
    ),
    "phone": _comparison(
        "phone",
        _either_null("phone"),
        _level("phone_l = phone_r", "equal"),
        _level("damerau_levenshtein(phone_l, phone_r) <= 1", "one digit"),
    ),
    "identifier": _comparison(
        "identifier",
        _either_null("identifier"),
        _level("identifier_l = identifier_r", "equal"),
        _level("damerau_levenshtein(identifier_l, identifier_r) <= 1", "one digit"),
    ),
    "email": _comparison(
        "email",
        _either_null("email"),
        _level("email_l = email_r", "equal"),
        _level("mailbox_l = mailbox_r", "same mailbox at another host"),
        _level(
            # wang.wei1 and wang.wei2 are two people as a rule.
            f"{_digits('email_l')} = {_digits('email_r')} and (damerau_levenshtein(email_l, email_r) <= 2 "
            "or jaro_winkler_similarity(mailbox_l, mailbox_r) >= 0.88)",
            "alike",
        ),
    ),
}
# What must be known of enough records for a comparison to be of use.
NEEDS = {"name": "full_name", "address": "street"} | {
    c: c for c in ("dob", "city", "postcode", "phone", "email", "identifier")
}


def value_of(comparison: str, label: str) -> int:
    """The number that Splink gives a level: 0 for the last, counting up."""
    labels = [level["label_for_charts"] for level in COMPARISONS[comparison]["comparison_levels"]]
    return len(labels) - 1 - labels.index(label)


# What households do not share speaks against a pair however much else agrees (domain.md P-25: precision first). Known and
# different phones or e-mails are no reason by themselves, people have several, but they decide where a name or a birth
# date differs too.
_OTHER_CONTACT = "(gamma_phone = 0 or gamma_email = 0)"
_SAME_CONTACT = "(gamma_phone > 0 or gamma_email > 0)"
TWO_PEOPLE = f"""
    gamma_identifier < {value_of("identifier", "equal")} and (
    -- another given name, unless the birth date is the same: brothers, spouses; twins by their phones
    (gamma_name between 0 and {value_of("name", "family name alike")}
        and (gamma_dob < {value_of("dob", "equal")} or {_OTHER_CONTACT}))
    -- another birth date, unless the whole name agrees, or what is known of it and the contact: parents and children
    or (gamma_dob = 0 and (gamma_name < 0 or {_OTHER_CONTACT}
        or (gamma_name < {value_of("name", "alike")} and not {_SAME_CONTACT})))
    -- nothing but what a household shares
    or (gamma_name < 0 and not ((gamma_dob = {value_of("dob", "equal")}
            and (gamma_address >= {value_of("address", "street alike")} or {_SAME_CONTACT}))
        or (gamma_dob = {value_of("dob", "one digit, or day and month swapped")}
            and (gamma_phone = {value_of("phone", "equal")} or gamma_email = {value_of("email", "equal")}))))
    or (gamma_name < {value_of("name", "alike")} and gamma_dob < 0 and not {_SAME_CONTACT})
    -- Han names that differ are two people's even with one birth date: twins
    or (han_l <> han_r and gamma_name < {value_of("name", "family name put last")})
    -- as are twins that are told apart by sex
    or (gender_l <> gender_r and gamma_name < {value_of("name", "alike")})
    )
"""
# Where the records are of people who live together, more is two people's: twins, and fathers and sons of one name.
# Where they are not, the same pair is one person misspelt.
TWO_OF_A_HOUSE = f"""
    gamma_identifier < {value_of("identifier", "equal")} and (
    gamma_name between 0 and {value_of("name", "family name alike")}
    or (gamma_dob = 0 and not (gamma_phone = {value_of("phone", "equal")}
        or gamma_email >= {value_of("email", "same mailbox at another host")}))
    or (gamma_dob < 0 and gamma_email = 0 and gamma_phone < {value_of("phone", "equal")})
    )
"""


def gamma(comparison: dict[str, Any]) -> str:
    """SQL of the level that a pair has in a comparison: −1 where one side is unknown, 0 for the last level."""
    *levels, _ = comparison["comparison_levels"]
    whens = " ".join(
        f"when {level['sql_condition']} then {-1 if level.get('is_null_level') else len(levels) - i}"
        for i, level in enumerate(levels)
    )
    return f"(case {whens} else 0 end)"
