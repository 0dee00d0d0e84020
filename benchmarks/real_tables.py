"""Verdicts on real tables: the study's default protocol, one table after the other, and the table for the docs.

    SHAREWISE_DATA=FOLDER python benchmarks/real_tables.py [--sets enb,flchain] [--seeds 0-4] [--trials 3]

Sets that need the folder say so when it is not given. A set that was done already is only read.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from sharewise.data import sets
from sharewise.study import StudyResult, make_plan, run_plan

SETS = "enb,students,flags,birds,acs12,bfi,flchain,sarcos"


def row(name: str, result: StudyResult) -> str:
    """A row of the docs' table."""
    verdict = result.verdict
    judged = next(d for d in result.delta_m if d.arm == verdict.judged)
    title = next(a.title for a in result.arms if a.name == verdict.judged)
    mean = f"{judged.higher_is_better:+.1f} % [{judged.low:+.1f}, {judged.high:+.1f}]"
    return (
        f"| `{name}` | {result.data.rows:,} | {len(result.tasks)} | **{verdict.answer}** | {title} | {mean} | "
        f"{verdict.sentence} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", default=SETS)
    parser.add_argument("--seeds", default="0-4")
    parser.add_argument("--trials", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("runs"))
    options = parser.parse_args()
    rows = []
    for name in options.sets.split(","):
        frame, _ = sets.load(name)
        batch = 256 if len(frame) < 10_000 else 1024
        plan = make_plan(
            f"set:{name}", seeds=options.seeds, trials=options.trials, epochs=options.epochs, batch_size=batch
        )
        result = run_plan(plan, options.out / name, jobs=options.jobs, command=f"sharewise study set:{name}")
        rows.append(row(name, result))
        print(rows[-1], f"  ({result.recipe.seconds:.0f} s)", flush=True)
    print("\n| table | rows | tasks | verdict | judged on | mean change [95 %] | in words |")
    print("|---|---|---|---|---|---|---|")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
