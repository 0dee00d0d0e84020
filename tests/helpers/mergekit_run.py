"""Run in mergekit's own environment: every plan of a folder, ``plans/NAME.yaml`` -> ``theirs/NAME``.

python mergekit_run.py FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import yaml
from mergekit.config import MergeConfiguration
from mergekit.merge import run_merge
from mergekit.options import MergeOptions

folder = Path(sys.argv[1])
for plan in sorted((folder / "plans").glob("*.yaml")):
    config = MergeConfiguration.model_validate(yaml.safe_load(plan.read_text()))
    options = MergeOptions(copy_tokenizer="tokenizer" in plan.stem, quiet=True, write_model_card=False)
    run_merge(config, str(folder / "theirs" / plan.stem), options)
    print(plan.stem, flush=True)
