"""Balancers by name."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from ..errors import OptionError, nearest
from ._aim import AIM
from ._aligned_mtl import AlignedMTL
from ._balancer import Balancer
from ._cagrad import CAGrad
from ._config import ConFIG
from ._constant import Constant
from ._db_mtl import DBMTL
from ._dualproj import DualProj
from ._dwa import DWA
from ._equal import Equal
from ._excess_mtl import ExcessMTL
from ._fairgrad import FairGrad
from ._famo import FAMO
from ._gcond import GCond
from ._gls import GLS
from ._graddrop import GradDrop
from ._gradnorm import GradNorm
from ._gradvac import GradVac
from ._imtl_g import IMTLG
from ._imtl_l import IMTLL
from ._krum import Krum
from ._mgda import MGDA
from ._moco import MoCo
from ._modo import MoDo
from ._nashmtl import NashMTL
from ._owo_fmtl import OWOFMTL
from ._pcgrad import PCGrad
from ._rlw import RLW
from ._rotograd import RotoGrad
from ._scale_invariant import ScaleInvariant
from ._sdmgrad import SDMGrad
from ._stch import STCH
from ._trimmed_mean import TrimmedMean
from ._uncertainty import Uncertainty
from ._upgrad import UPGrad

_BALANCERS: dict[str, type[Balancer]] = {
    "aim": AIM,
    "aligned_mtl": AlignedMTL,
    "cagrad": CAGrad,
    "config": ConFIG,
    "constant": Constant,
    "db_mtl": DBMTL,
    "dualproj": DualProj,
    "dwa": DWA,
    "equal": Equal,
    "excess_mtl": ExcessMTL,
    "fairgrad": FairGrad,
    "famo": FAMO,
    "gcond": GCond,
    "gls": GLS,
    "graddrop": GradDrop,
    "gradnorm": GradNorm,
    "gradvac": GradVac,
    "imtl_g": IMTLG,
    "imtl_l": IMTLL,
    "krum": Krum,
    "mgda": MGDA,
    "moco": MoCo,
    "modo": MoDo,
    "nashmtl": NashMTL,
    "owo_fmtl": OWOFMTL,
    "pcgrad": PCGrad,
    "rlw": RLW,
    "rotograd": RotoGrad,
    "scale_invariant": ScaleInvariant,
    "sdmgrad": SDMGrad,
    "stch": STCH,
    "trimmed_mean": TrimmedMean,
    "uncertainty": Uncertainty,
    "upgrad": UPGrad,
}


def available() -> list[str]:
    """The names :func:`create` knows, sorted."""
    return sorted(_BALANCERS)


def create(name: str, *, tasks: Sequence[str] | None = None, **options: Any) -> Balancer:
    """A balancer by name, for instance ``create("pcgrad", seed=1)``.

    Args:
        name: one of :func:`available`.
        tasks: the names of all tasks. Optional for most; needed by methods that learn parameters by task. A
            balancer that was told refuses other tasks.
        options: the method's own; see its class.

    Raises :class:`OptionError` for an unknown name or option (with the nearest known one) and for a missing one.
    """
    if name not in _BALANCERS:
        raise OptionError(f'balancer "{name}" is not known; {nearest(str(name), available())}')
    parameters = inspect.signature(_BALANCERS[name].__init__).parameters
    known = [p for p in parameters if p not in ("self", "tasks")]
    for option in options:
        if option not in known:
            hint = nearest(option, known) if known else "it has none"
            raise OptionError(f'balancer "{name}" has no option "{option}"; {hint}')
    given = dict(options) if tasks is None else {"tasks": tuple(tasks), **options}
    for option, parameter in parameters.items():
        if option != "self" and parameter.default is parameter.empty and option not in given:
            raise OptionError(f'balancer "{name}" needs {option}=...: see its documentation')
    return _BALANCERS[name](**given)
