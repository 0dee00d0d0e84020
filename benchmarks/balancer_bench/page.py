"""The table for the terminal and the page for the docs, every number and sentence from the runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from textwrap import fill

from sharewise.study._paired import Estimate

from .runs import GRID, SINGLE
from .verdict import EQUAL, Line, SetVerdict

WRAP = 120
INTRO = """# Balancers compared

All registered methods with their default options, on small real problems, against what a careful user would do without
them: one network a task, the plain sum (`equal`), and a grid of constant weights. This page is written by the script
from its runs:

```sh
{command}
```

{answer}

## How it was measured

- Every arm has the same tuning budget: a grid of learning rates for Adam. The learning rate and the epoch are chosen on
  validation rows, for each seed anew; test rows are only measured. Single-task networks are tuned task by task. The
  constant weights have a grid of their own beside the learning rates (each task once with three times the others'
  weight): a larger budget than any method's.
- Seeds change the rows of the split, the initial weights and the order of batches, and are the same in all arms.
- *delta_m* is the mean over tasks of the relative change of the main metric (log loss) on test rows, in percent:
  **positive is better**, (reference - arm) / reference. Much of the literature reports its negative, where lower is
  better.
- Intervals are 95 % over paired seeds, widened because the seeds' training rows overlap (Nadeau, Bengio 2003). `p` is
  that of no difference to `equal`, adjusted for the number of methods on the set (Holm).
- *cost* is CPU time of a training step over that of `equal`, in the same process with one thread, median over seeds;
  for single-task networks that of all of them. *memory* is the peak of all tensors (model, optimizer, balancer, two
  steps of training) over that of `equal`; for single-task networks that of the largest.
- No method was left out. `constant` is the grid; `rotograd` gets the representation's width, and its heads read rotated
  representations; `aim` is guided by the next training batch; `modo` and `sdmgrad` take one batch a step, as `sw.fit`
  gives them. `db_mtl` and `moco` follow running means of the gradients over ten and more steps, a good part of a run as
  short as these; *without memory* is each with the gradients of the step alone.
"""
CAVEAT = """
## What this does not say

The networks are small, training is short and the methods' own options are at their defaults, so differences of
optimisation speed count as quality. A method that is not better here may be better on deep networks, on many tasks or
where losses differ by orders of magnitude in scale. With {seeds} seeds, a difference that is not shown is not shown to
be absent either.
"""


def sentence(verdict: SetVerdict) -> str:
    """Who wins on a set, in words that only numbers choose."""
    count = len(verdict.methods())
    words = []
    for name, differ in (("better", verdict.better), ("worse", verdict.worse)):
        plain, firm = differ(False), differ(True)
        text = f"{len(plain)} of {count} are {name} than the plain sum with an interval that excludes 0{_names(plain)}"
        words.append(f"{text}; after Holm's correction {len(firm)}{_names(firm)}")
    widths = [(line.equal.high - line.equal.low) / 2 for line in verdict.methods() if line.equal is not None]
    seen = (
        f"Half of the intervals against it are wider than +-{median(widths):.1f} %" if widths else "No method finished"
    )
    return ". ".join([*words, seen]) + "."


def answer(verdicts: Sequence[SetVerdict]) -> str:
    """The finding over all sets, in one paragraph."""
    firm = {v.name: v.better(True) for v in verdicts}
    total = sum(len(v.methods()) for v in verdicts)
    raw = sum(len(v.better(False)) for v in verdicts)
    worse = sum(len(v.worse(True)) for v in verdicts)
    wins = sum(map(len, firm.values()))
    common = set.intersection(*(set(v.better(False)) for v in verdicts)) if verdicts else set()
    opening = "No method is shown to beat the plain sum" if wins == 0 else "Some methods beat the plain sum"
    everywhere = ", ".join(f"`{name}`" for name in sorted(common)) or "none"
    sentences = (
        f"**{opening}.** Of {total} comparisons with it ({_many(len(verdicts), 'set')}), better with an interval that",
        f"excludes 0: {raw}; better after Holm's correction: {wins}; worse after it: {worse}.",
        f"Better on every set, before the correction: {everywhere}. {_against_single(verdicts)}",
    )
    return _filled(" ".join(sentences))


def _against_single(verdicts: Sequence[SetVerdict]) -> str:
    """The plain sum against single-task networks, set by set."""
    found = [(v.name, line.single) for v in verdicts for line in v.lines if line.arm == EQUAL and line.single]
    parts = [f"{_interval(change)} on `{name}`" for name, change in found]
    return f"Against single-task networks the plain sum changes the metrics by {'; '.join(parts)} (positive is better)."


def table(verdict: SetVerdict) -> str:
    """One row an arm, best first."""
    columns = (
        "delta_m against single-task [95 %]",
        "against `equal` [95 %]",
        "p (Holm)",
        "worst task",
        "cost",
        "memory",
    )
    return "\n".join(
        [f"| method | {' | '.join(columns)} |", "|---|---|---|---|---|---|---|", *map(_row, verdict.lines)]
    )


def _row(line: Line) -> str:
    worst = "" if line.worst is None else f"{line.worst[0]} {line.worst[1]:+.1f} %"
    name = {SINGLE: "single-task networks", GRID: "`constant`, grid"}.get(line.arm, f"`{line.arm}`")
    failed = f" ({_many(line.failed, 'run')} failed)" if line.failed else ""
    p = "" if line.p is None else "< 0.001" if line.p < 0.001 else f"{line.p:.3f}"
    cells = (
        name + failed,
        _interval(line.single),
        _interval(line.equal),
        p,
        worst,
        f"{line.cost:.1f}",
        f"{line.memory:.1f}",
    )
    return "| " + " | ".join(cells) + " |"


def write(verdicts: Sequence[SetVerdict], about: Mapping[str, str], command: str, missing: str) -> str:
    """The whole page. ``about``: set -> what it is and how it was trained; ``missing``: sets that were not there."""
    parts = [INTRO.format(answer=answer(verdicts), command=command)]
    for v in verdicts:
        sizes = "{:,} training, {:,} validation and {:,} test rows".format(*v.rows)
        what = about[v.name][0].upper() + about[v.name][1:]
        text = f"{what}. {sizes}; {_many(len(v.seeds), 'seed')}."
        parts.append(f"## `{v.name}`\n\n{_filled(text)}\n")
        parts.append(_filled(sentence(v)) + "\n")
        if v.incomplete:
            names = ", ".join(f"`{a}`" for a in v.incomplete)
            parts.append(f"Not in the table, because a seed has no run that finished: {names}.\n")
        parts.append(table(v) + "\n")
    if missing:
        parts.append(f"Not measured: {missing}.\n")
    return "\n".join(parts) + CAVEAT.format(seeds=min((len(v.seeds) for v in verdicts), default=0))


def _filled(text: str) -> str:
    return fill(text, WRAP, break_long_words=False, break_on_hyphens=False)


def _interval(x: Estimate | None) -> str:
    return "" if x is None else f"{x.mean:+.1f} % [{x.low:+.1f}, {x.high:+.1f}]"


def _names(names: Sequence[str]) -> str:
    return f" ({', '.join(f'`{n}`' for n in names)})" if names else ""


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")
