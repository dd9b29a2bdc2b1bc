"""The front door: what a user calls, from Python or through the command line."""

import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from unfreeze.compare.arms import Arm, make_arms
from unfreeze.compare.comparing import ArmOutcome, Comparing, Floor, epochs_for_all_rows
from unfreeze.compare.ledger import Ledger
from unfreeze.compare.material import Material, Source, Sources, prepare
from unfreeze.compare.pricing import (
    Shape,
    fit_into,
    measure_speed,
    plan_as_dict,
    price_of_prefix,
    price_of_trial,
)
from unfreeze.compare.summary import absent_row, arm_row, floor_row
from unfreeze.compare.trials import Trained, Trial, predict, train, weights_digest
from unfreeze.compare.watching import Watcher
from unfreeze.encoders.loading import Encoder, load_encoder
from unfreeze.engine.runtime import Runtime, prepare_process
from unfreeze.engine.training import Watch
from unfreeze.errors import SettingsError
from unfreeze.files import read_json, write_json, write_text
from unfreeze.tasks import Columns

if TYPE_CHECKING:
    import pandas as pd

    from unfreeze.export.handing_over import FineTuned
