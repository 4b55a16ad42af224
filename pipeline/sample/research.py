"""What a market research agency delivers: a quarterly study of card holders, and the median incomes of the region."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from . import labels
from .company import DAY, Calendar
from .draws import NORMAL, Draws, read_table
from .files import NULL, Column, Table
from .masters import text_column
from .people import People
from .trade import local_day
from .voice import quarters

SOURCE = "research"
INVITED, ANSWERED = 0.50, 0.45
# Intent on 1 … 5 = base + spread z, lower once somebody has stopped buying; on 0 … 10 the same, stretched.
INTENT_BASE, INTENT_SPREAD, INTENT_STOPPED = 3.7, 0.9, 1.6
SCALES = ((1, 5), (0, 10))
MOTIVES, MOTIVE_SHARES = ("need", "interest", "social", "other"), (0.52, 0.24, 0.18, 0.06)
SECOND_MOTIVE = 0.12
REASONS = ("doubt", "price", "no_need")
# A reason is asked of those who score below the middle of the scale, or on it.
REASON_GIVEN = 0.8
# Yuan per head and year of the first city in 2021; every city has its own share of it, every year its growth.
MEDIAN_2021, MEDIAN_GROWTH = 56_000, 0.05
CITY_LEVEL = (1.0, 0.97, 0.93, 0.86, 0.84, 1.02, 0.96, 0.88)
CITY_CODES = ("330100", "330200", "330600", "330400", "330500", "320500", "320200", "320400")
PROVINCE_CODES = {"浙江省": "330000", "江苏省": "320000"}
YEARS_BEFORE = 3


class Answer(NamedTuple):
    """One answered question of the study; `score` is None where an option is the whole answer."""

    response: str
    question: str
    survey: str
    person: int
    invited: int
    answered: int
    score: int | None
    option: str | None


@dataclass
class Study:
    """All answers in the order of answering, and the day on which the agency delivers each."""

    answers: list[Answer]
    delivered: np.ndarray


def question_of(wave: int) -> tuple[str, int, int]:
    """Question id and scale of the intent question: the agency changes its scale every quarter."""
    low, high = SCALES[wave % len(SCALES)]
    return f"INTENT{high - low + 1}", low, high


def make_study(people: People, stopped: np.ndarray, cal: Calendar, draws: Draws) -> Study:
    """Answers of card holders to the studies of every quarter; files come on Sundays, and on the last day."""
    motive = draws.choice("study.motive", people.n, MOTIVE_SHARES)
    answers: list[Answer] = []
    for k, (wave, first, end) in enumerate(quarters(cal)):
        answers += _wave(k, wave, first, end, motive, people, stopped, cal, draws)
    answers = [a for a in answers if local_day(np.array([a.answered]), cal)[0] < cal.days]
    answers.sort(key=lambda a: (a.answered, a.response, a.question))
    day = local_day(np.array([a.answered for a in answers], dtype=np.int64), cal)
    return Study(answers, np.minimum(day + (6 - cal.weekday[day]), cal.days - 1))


def _wave(
    number: int,
    wave: str,
    first: int,
    end: int,
    motive: np.ndarray,
    people: People,
    stopped: np.ndarray,
    cal: Calendar,
    draws: Draws,
) -> list[Answer]:
    n = people.n
    u = draws.unit("study", 6 * n, number).reshape(6, n)
    z = read_table(NORMAL, draws.unit("study.intent", n, number))
    day = first + (u[0] * (end - first)).astype(np.int64)
    has_card = people.registered[:, 1] <= day
    who = np.flatnonzero(has_card & ~people.is_test & (u[1] < INVITED) & (u[2] < ANSWERED))
    latent = INTENT_BASE + INTENT_SPREAD * z - INTENT_STOPPED * (stopped <= day)
    question, low, high = question_of(number)
    score = np.clip(low + np.floor((latent - 1) / 4 * (high - low) + 0.5), low, high).astype(np.int64)
    invited = cal.seconds(day) + 9 * 3600
    answered = invited + 900 + (u[3] * u[3] * 3 * DAY).astype(np.int64)
    middle = (low + high) / 2
    out: list[Answer] = []
    for p in who.tolist():
        reason = REASONS[int(u[4][p] * 3)] if score[p] <= middle and u[5][p] < REASON_GIVEN else None
        chosen = MOTIVES[motive[p]]
        if u[5][p] < SECOND_MOTIVE:
            chosen += "|" + MOTIVES[(motive[p] + 1) % 3]
        head = (f"RT{number:02d}{p + 1:06d}",)
        tail = (f"STUDY-{wave}", p, int(invited[p]), int(answered[p]))
        out.append(Answer(*head, question, *tail, int(score[p]), reason))
        out.append(Answer(*head, "MOTIVES", *tail, None, chosen))
    return out


def study_table(cal: Calendar) -> Table:
    """The questions of each quarter, on its first day."""
    rows = []
    for k, (wave, first, _) in enumerate(quarters(cal)):
        question, low, high = question_of(k)
        asked = f"未来一个月您有多大可能来购物？({low}–{high})"
        rows.append((first, f"STUDY-{wave}", wave, question, "intent", low, high, asked, None))
        rows.append(
            (
                first,
                f"STUDY-{wave}",
                wave,
                "MOTIVES",
                "motive",
                NULL,
                NULL,
                "您来购物是因为？(可多选)",
                "|".join(MOTIVES),
            )
        )
    day, survey, wave, question, kind, low, high, text, options = zip(*rows, strict=True)
    columns = [
        text_column("survey_id", survey),
        text_column("question_id", question),
        text_column("wave", wave),
        text_column("type", kind),
        Column("scale_min", "i", np.array(low, dtype=np.int64)),
        Column("scale_max", "i", np.array(high, dtype=np.int64)),
        text_column("text", text),
        text_column(
            "options", [f'["{o.replace("|", chr(34) + ", " + chr(34))}"]' if o else None for o in options]
        ),
        text_column("sampling", ["random card holders"] * len(rows)),
    ]
    return Table(SOURCE, "surveys", "csv", columns, np.array(day, dtype=np.int64), daily=False)


def response_table(study: Study, people: People) -> Table:
    """The answers, with the card numbers that the shop gave the agency."""
    a = study.answers
    return Table(
        SOURCE,
        "survey_responses",
        "csv",
        [
            text_column("response_id", [x.response for x in a]),
            text_column("question_id", [x.question for x in a]),
            text_column("survey_id", [x.survey for x in a]),
            text_column("source_customer_id", [people.account_id[1][x.person] for x in a]),
            Column("answered_at", "ts", np.array([x.answered for x in a], dtype=np.int64)),
            text_column("mode", ["web"] * len(a)),
            Column("score", "i", np.array([NULL if x.score is None else x.score for x in a], dtype=np.int64)),
            text_column("option", [x.option for x in a]),
            Column("invited_at", "ts", np.array([x.invited for x in a], dtype=np.int64)),
        ],
        study.delivered,
        daily=False,
    )


def median_income(city: int, year: int) -> int:
    """Yuan per head and year."""
    return round(MEDIAN_2021 * CITY_LEVEL[city] * (1 + MEDIAN_GROWTH * (year - 2021)))


def region_tables(cal: Calendar) -> list[Table]:
    """The medians of one year in one file: the past years on the first day, a new year on its first day."""
    first = cal.dates[0].year
    years = [(year, 0) for year in range(first - YEARS_BEFORE, first + 1)]
    years += [(d.year, k) for k, d in enumerate(cal.dates) if k and (d.month, d.day) == (1, 1)]
    return [_regions(year, day) for year, day in years]


def _regions(year: int, day: int) -> Table:
    cities = labels.CITIES
    rows = [
        (CITY_CODES[k], c[0], c[1], "新一线" if k in (0, 1, 5) else "二线", median_income(k, year))
        for k, c in enumerate(cities)
    ]
    for province, code in PROVINCE_CODES.items():
        own = [median_income(k, year) for k, c in enumerate(cities) if c[0] == province]
        rows.append((code, province, None, None, sum(own) // len(own)))
    code, province, city, tier, median = zip(*rows, strict=True)
    columns = [
        text_column("region_code", code),
        text_column("province", province),
        text_column("city", city),
        text_column("city_tier", tier),
        Column("median_income", "m", np.array(median, dtype=np.int64) * 100),
        Column("year", "i", np.full(len(rows), year, dtype=np.int64)),
    ]
    when = np.full(len(rows), day, dtype=np.int64)
    return Table(SOURCE, "regions", "csv", columns, when, daily=False, stem=f".{year}")
