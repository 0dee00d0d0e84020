"""Films, their critics and their box office: a database inside the package bokeh-sampledata."""

from __future__ import annotations

import importlib.util
import sqlite3
from contextlib import closing
from pathlib import Path

import polars as pl

from ...errors import DataError
from ._registry import INSTALL, SetInfo


def _movies() -> pl.DataFrame:
    """The films of bokeh-sampledata; genres as truth values, first country, language and studio."""
    spec = importlib.util.find_spec("bokeh_sampledata")
    places = [] if spec is None else [Path(p) / "_data" / "movies.db" for p in spec.submodule_search_locations or ()]
    found = [p for p in places if p.exists()]
    if not found:
        raise DataError(f"the data set movies is in the package bokeh-sampledata, not installed: {INSTALL}")
    query = (
        "select o.Title, o.Released, o.Runtime, o.Genre, o.Director, o.Writer, o.Cast, o.Language, "
        "o.Country, o.Rating, "
        "o.Metacritic, o.Oscars, t.Rating as Critics, t.Meter, t.Reviews, t.BoxOffice, t.Production "
        "from omdb o join tomatoes t on o.ID = t.ID order by o.ID"
    )
    with closing(sqlite3.connect(f"{found[0].as_uri()}?mode=ro", uri=True)) as database:
        cursor = database.execute(query)
        names = [d[0] for d in cursor.description]
        raw = pl.DataFrame(cursor.fetchall(), schema=names, orient="row", infer_schema_length=None)
    return _film_columns(raw)


def _film_columns(raw: pl.DataFrame) -> pl.DataFrame:
    genres = (
        raw["Genre"].str.split(", ").explode(empty_as_null=True).drop_nulls().value_counts(sort=True).head(18)["Genre"]
    )
    former = {"M": "PG", "GP": "PG", "M/PG": "PG", "X": "NC-17"}  # names the ratings once had
    released = pl.col("Released").str.to_date()
    return raw.select(
        released.dt.year().alias("year"),
        released.dt.month().alias("month"),
        pl.col("Runtime").alias("runtime"),
        *(pl.col("Genre").str.contains(g, literal=True).alias(f"is_{g.lower()}") for g in sorted(genres) if g),
        *(_count(c).alias(f"n_{c.lower()}") for c in ("Director", "Writer", "Cast", "Country")),
        _first("Country").alias("country"),
        _first("Language").alias("language"),
        _first("Production").alias("studio"),
        pl.col("Director").alias("director"),
        pl.col("Critics").alias("critics_rating"),
        pl.col("Meter").alias("tomatometer"),
        pl.col("Metacritic").alias("metacritic"),
        pl.col("Reviews").log10().alias("log10_reviews"),
        pl.when(pl.col("BoxOffice") >= 1_000).then(pl.col("BoxOffice").log10()).alias("log10_box_office"),
        (pl.col("Oscars") > 0).alias("won_oscar"),
        pl.col("Rating").replace(former).alias("mpaa_rating"),
    )


def _count(column: str) -> pl.Expr:
    return pl.when(pl.col(column).str.len_chars() > 0).then(pl.col(column).str.count_matches(", ", literal=True) + 1)


def _first(column: str) -> pl.Expr:
    first = pl.col(column).str.split(", ").list.first()
    return pl.when(first.str.len_chars() > 0).then(first)


MOVIES = SetInfo(
    "movies",
    "What became of 17,472 films: critics, box office, Oscars, rating",
    (
        "critics_rating",
        "tomatometer",
        "metacritic",
        "log10_reviews",
        "log10_box_office",
        "won_oscar",
        "mpaa_rating",
    ),
    {"mpaa_rating": "multiclass", "won_oscar": "binary"},
    17_472,
    "package bokeh-sampledata: movies.db",
    "BSD-3-Clause (package); facts from OMDb and Rotten Tomatoes",
    note="derived: log10 of reviews and of box office (dollars, from 1,000 on), won_oscar (one or more); "
    "most films have some labels only",
    read=_movies,
)
