"""Real data sets read from the folder that the environment variable ``SHAREWISE_DATA`` names."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import polars as pl

from ...errors import DataError
from .._read import read_table
from ._registry import SetInfo

VARIABLE = "SHAREWISE_DATA"
_UCI = "CC BY 4.0 (UCI)"
_MULAN = "research use with citation (Mulan; Spyromitros-Xioufis et al. 2016)"


def in_folder(path: str, remedy: str = "put the file there") -> Path:
    """``path`` in the folder of :data:`VARIABLE`; raises :class:`DataError`, with the remedy, where it is not there."""
    folder = os.environ.get(VARIABLE)
    if not folder:
        raise DataError(f'this data set is "{path}" in a folder of yours: set {VARIABLE} to that folder')
    found = Path(folder) / path
    if not found.exists():
        raise DataError(f'the folder "{folder}" of {VARIABLE} has no "{path}": {remedy}')
    return found


def read_from_folder(path: str) -> pl.DataFrame:
    """The table at ``path`` in the folder of :data:`VARIABLE`; raises :class:`DataError` where it is not there."""
    return read_table(in_folder(path))


def _plain(path: str, **rename: str) -> pl.DataFrame:
    """The table with ``x_`` and ``y_`` taken off its column names, then renamed."""
    frame = read_from_folder(path).drop("split", strict=False)
    short = {c: c[2:] for c in frame.columns if c[:2] in ("x_", "y_")}
    return frame.rename(short).rename(rename)


def _winequality() -> pl.DataFrame:
    return _plain("mtr/winequality.csv.gz").with_columns(pl.col("white") == 1)


def _adult() -> pl.DataFrame:
    frame = read_from_folder("fairness/adult.csv.gz").drop("split")
    return frame.with_columns((pl.col("marital_status") == "Never-married").alias("never_married"))


def _flags() -> pl.DataFrame:
    frame = read_from_folder("multilabel/flags.csv.gz").drop("split")
    short = {c: c.split("_", 1)[1] for c in frame.columns}
    return frame.rename(short).with_columns(pl.col(t) == 1 for t in _COLOURS)


def _birds() -> pl.DataFrame:
    frame = read_from_folder("multilabel/birds.csv.gz").drop("split")
    rest = [c for c in frame.columns if c.startswith("y_") and c[2:] not in _BIRDS]
    frame = frame.drop(rest).rename({f"y_{b}": b for b in _BIRDS})
    return frame.with_columns(pl.col(b) == 1 for b in _BIRDS)


def _beijing() -> pl.DataFrame:
    """One row an hour: what was measured a day before, and what is measured now."""
    frame = read_from_folder("timeseries/beijing_pm25.csv.gz")
    measured = ["pm2.5", "DEWP", "TEMP", "PRES", "Iws", "Is", "Ir", "cbwd"]
    moment = pl.datetime("year", "month", "day", "hour").alias("moment")
    before = [pl.col(c).shift(24).alias(f"{c}_day_before") for c in measured]
    hour = 2 * 3.141592653589793 * pl.col("hour") / 24
    year = 2 * 3.141592653589793 * (pl.col("month") - 1) / 12
    cycles = [f(turn).alias(n) for turn, t in ((hour, "hour"), (year, "month")) for f, n in _turns(t)]
    return frame.select(moment, *cycles, *before, *measured[:4]).slice(24)


def _turns(name: str) -> list[tuple[Callable[[pl.Expr], pl.Expr], str]]:
    return [(pl.Expr.sin, f"{name}_sin"), (pl.Expr.cos, f"{name}_cos")]


_COLOURS = ("red", "green", "blue", "yellow", "white", "black")
_BIRDS = (
    "Swainson_s_Thrush",
    "Pacific_Wren",
    "Varied_Thrush",
    "Hermit_Warbler",
    "Hermit_Thrush",
    "Pacific_slope_Flycatcher",
)
_TORQUES = tuple(f"torque{i}" for i in range(1, 8))
_JOBS = (
    "513021_Butchers_and_Meat_Cutters",
    "292071_Medical_Records_and_Health_Information_Technicians",
    "392021_Nonfarm_Animal_Caretakers",
    "151131_Computer_Programmers",
    "151141_Database_Administrators",
    "291069_Physicians_and_Surgeons__All_Other",
    "119032_Education_Administrators__Elementary_and_Secondary_School",
    "432011_Switchboard_Operators__Including_Answering_Service",
    "419022_Real_Estate_Sales_Agents",
    "292037_Radiologic_Technologists_and_Technicians_",
    "519061_Inspectors__Testers__Sorters__Samplers__and_Weighers",
    "291051_Pharmacists",
    "172141_Mechanical_Engineers",
    "431011_First_Line_Supervisors_of_Office_and_Administrative_Support_Workers",
    "291127_Speech_Language_Pathologists",
    "412021_Counter_and_Rental_Clerks",
)
_FARES = {
    "any_airline": "ALLminpA",
    "any_nonstop": "ALLminp0",
    "delta": "aDLminpA",
    "continental": "aCOminpA",
    "airtran": "aFLminpA",
    "united": "aUAminpA",
}


def _info(
    name: str,
    title: str,
    path: str,
    rows: int,
    targets: tuple[str, ...],
    licence: str,
    *,
    kinds: dict[str, str] | None = None,
    read: Callable[[], pl.DataFrame] | None = None,
    group: str | None = None,
    time: str | None = None,
    drop: tuple[str, ...] = (),
    note: str = "",
) -> SetInfo:
    source = f"{VARIABLE}: {path}"
    read = read or partial(_plain, path)
    return SetInfo(name, title, targets, kinds or {}, rows, source, licence, read, note, group, time, drop)


SETS = (
    _info(
        "enb",
        "Heating and cooling load of 768 simulated buildings",
        "mtr/enb.csv.gz",
        768,
        ("heating_load", "cooling_load"),
        _UCI,
        read=partial(_plain, "mtr/enb.csv.gz", Y1="heating_load", Y2="cooling_load"),
    ),
    _info(
        "slump",
        "Slump, flow and strength of 103 concretes",
        "mtr/slump.csv.gz",
        103,
        ("SLUMP_cm", "FLOW_cm", "Compressive_Strength_Mpa"),
        _UCI,
    ),
    _info(
        "parkinsons",
        "Two symptom scores from 5,875 voice recordings of 42 people",
        "mtr/parkinsons_telemonitoring.csv.gz",
        5875,
        ("motor_UPDRS", "total_UPDRS"),
        _UCI,
        group="subject",
    ),
    _info(
        "sarcos",
        "Seven joint torques of a robot arm (the published test part, 4,449 moments)",
        "mtr/sarcos_4449.csv.gz",
        4449,
        _TORQUES,
        "research use (site of the book Gaussian Processes for Machine Learning)",
    ),
    _info(
        "winequality",
        "Quality and colour of 6,497 wines from chemistry",
        "mtr/winequality.csv.gz",
        6497,
        ("quality", "white"),
        _UCI,
        read=_winequality,
    ),
    _info(
        "adult",
        "Income, education, marriage and hours of 48,842 people (US census 1994)",
        "fairness/adult.csv.gz",
        48_842,
        ("income", "education_num", "never_married", "hours_per_week"),
        _UCI,
        drop=("education", "marital_status", "relationship", "fnlwgt"),
        read=_adult,
        note="derived: never_married; left out: education (the same as education_num), marital_status and "
        "relationship (they say never_married), fnlwgt (a survey weight)",
    ),
    _info(
        "compas",
        "Reoffending of 7,214 defendants and the scores they were given (Broward County, Florida)",
        "fairness/compas.csv.gz",
        7214,
        ("two_year_recid", "is_violent_recid", "decile_score", "v_decile_score"),
        "public records (ProPublica)",
        drop=(
            "is_recid",
            "r_charge_degree",
            "r_days_from_arrest",
            "score_text",
            "v_score_text",
            "start",
            "end",
            "event",
        ),
        note="left out: all that happened after the score, and the scores in words",
    ),
    _info(
        "law_school",
        "Grades and bar exam of 20,798 law students",
        "fairness/law_school.csv.gz",
        20_798,
        ("pass_bar", "zfygpa", "zgpa"),
        "public research file (LSAC)",
        drop=("decile1b", "decile3"),
        note="left out: class rank by grades",
    ),
    _info(
        "students",
        "Three marks and absences of 649 pupils in Portuguese",
        "fairness/student_por.csv.gz",
        649,
        ("G1", "G2", "class", "absences"),
        _UCI,
        note="class is the final mark, high or low, as its publishers derived it",
    ),
    _info(
        "flags",
        "Colours in 194 flags from facts about the country",
        "multilabel/flags.csv.gz",
        194,
        _COLOURS,
        "public (UCI)",
        kinds=dict.fromkeys(("landmass", "zone", "language", "religion"), "category"),
        drop=("colours", "orange"),
        read=_flags,
        note="left out: the number of colours (it counts the targets); orange (26 flags only)",
    ),
    _info(
        "birds",
        "Which of six birds sing in 645 recordings",
        "multilabel/birds.csv.gz",
        645,
        _BIRDS,
        "research use with citation (Briggs et al. 2013)",
        read=_birds,
        note="the six commonest of 19 birds",
    ),
    _info(
        "atp1d",
        "Lowest price of a flight the next day for six kinds of ticket, 337 days",
        "mtr/atp1d.csv.gz",
        337,
        tuple(_FARES),
        _MULAN,
        read=partial(_plain, "mtr/atp1d.csv.gz", **{f"LBL_{code}_fut_001": name for name, code in _FARES.items()}),
    ),
    _info(
        "oes10",
        "Employment in 16 occupations from that in 298 others, 403 cities (US, 2010)",
        "mtr/oes10.csv.gz",
        403,
        _JOBS,
        _MULAN,
    ),
    _info(
        "beijing_pm25",
        "Air and weather in Beijing a day ahead, 43,800 hours",
        "timeseries/beijing_pm25.csv.gz",
        43_800,
        ("pm2.5", "DEWP", "TEMP", "PRES"),
        _UCI,
        time="moment",
        read=_beijing,
        note="derived: inputs are the values 24 hours before, hour and month",
    ),
)
