"""What dynamic calibration is compared with: fixed parameters, learned temperature response, deep nets."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from ._dynamic import Days, Forecast
from ._network import Conditioning, StackedGRU, stacked_linear
from ._process import Process, run


class StockModel(nn.Module):
    """The biophysical model with its stock parameters; nothing is learned."""

    def __init__(self, process: Process) -> None:
        super().__init__()
        self.process = process

    def forward(self, days: Days) -> Forecast:
        """Outputs ``[G, T, B]`` and the constant parameters of every day."""
        theta = self.process.box.stock.to(days.temperature).expand(*days.temperature.shape, -1)
        return Forecast(run(self.process, days.temperature, days.day_length, theta), theta)


class ConstantCalibration(nn.Module):
    """One learned parameter vector for each cultivar, by gradient descent through the process.

    Starts at the stock values (moved into the ranges). This is dynamic calibration with the dynamics
    taken away.

    Args:
        process: the biophysical model.
        nets: stacked copies.
        n_cultivars: rows of each copy's table of parameters.
    """

    def __init__(self, process: Process, nets: int, n_cultivars: int) -> None:
        super().__init__()
        self.process = process
        start = process.box.uncast(process.box.stock, margin=0.05).to(torch.get_default_dtype())
        self.raw = nn.Parameter(start.repeat(nets, n_cultivars, 1))

    def theta(self, days: Days) -> Tensor:
        """Parameters of every day ``[G, T, B, P]``."""
        nets = torch.arange(len(days.cultivar), device=self.raw.device).unsqueeze(1)
        own = self.process.box.cast(self.raw[nets, days.cultivar]).unsqueeze(1)
        return own.expand(-1, days.temperature.shape[1], -1, -1)

    def forward(self, days: Days) -> Forecast:
        """Outputs ``[G, T, B]`` and the parameters of every day."""
        theta = self.theta(days)
        return Forecast(run(self.process, days.temperature, days.day_length, theta), theta)


class TemperatureResponse(ConstantCalibration):
    """Constant parameters plus a learned response to temperature (a small ReLU network) in place of
    ``TEMP - TBASEM``; the paper's hybrid with a temperature response.

    Args:
        process: a model whose ``step`` accepts ``response``.
        seeds: one for each stacked copy.
        n_cultivars: rows of the parameter table.
        hidden: width of the three hidden layers, 64 in the paper.
    """

    def __init__(self, process: Process, seeds: Sequence[int], n_cultivars: int, hidden: int = 64) -> None:
        super().__init__(process, len(seeds), n_cultivars)
        generators = [torch.Generator().manual_seed(int(s)) for s in seeds]
        widths = [1, hidden, hidden, hidden, 1]
        self.layers = nn.ParameterList()
        for fan_in, fan_out in itertools.pairwise(widths):
            for shape in ((fan_in, fan_out), (fan_out,)):
                drawn = [(torch.rand(shape, generator=g) * 2 - 1) / fan_in**0.5 for g in generators]
                self.layers.append(nn.Parameter(torch.stack(drawn)))

    def forward(self, days: Days) -> Forecast:
        """Outputs ``[G, T, B]`` and the parameters of every day."""
        x = ((days.temperature - 10) / 10).unsqueeze(-1)
        last = len(self.layers) - 2
        for i in range(0, len(self.layers), 2):
            x = stacked_linear(x, self.layers[i], self.layers[i + 1])
            x = torch.relu(x) if i < last else x
        # Degree days are of the order of ten; the stock response is added so that training starts from it.
        stock = self.process.box.stock[0].item()
        response = 10 * x.squeeze(-1) + days.temperature - stock
        theta = self.theta(days)
        return Forecast(run(self.process, days.temperature, days.day_length, theta, response), theta)


class DeepForecaster(nn.Module):
    """A GRU that predicts the output itself and knows nothing of biology.

    Args:
        process: used for the size of outputs, and by the two variants below.
        seeds, n_features, n_cultivars, hidden, conditioning: as in :class:`StackedGRU`.
        physics: ``"none"``: a plain regressor. ``"informed"``: the stock model's output is an input, and
            training adds its disagreement with the prediction to the loss.
            ``"residual"``: the stock model's output is added to the prediction.
    """

    def __init__(
        self,
        process: Process,
        seeds: Sequence[int],
        n_features: int,
        n_cultivars: int,
        hidden: int,
        conditioning: Conditioning = "concat",
        physics: Literal["none", "informed", "residual"] = "none",
    ) -> None:
        super().__init__()
        self.process, self.physics = process, physics
        width = n_features + (physics == "informed")
        self.net = StackedGRU(seeds, width, 1, n_cultivars, hidden, conditioning, n_fed=0, activation=True)

    def forward(self, days: Days) -> Forecast:
        """Outputs ``[G, T, B]``; no parameters. The two variants need ``days.stock``."""
        loc, scale = self.process.output_loc, self.process.output_scale
        if self.physics == "none" or days.stock is None:
            raw = self.net.sequence(days.features, days.cultivar).squeeze(-1)
            return Forecast(loc + scale * raw, None)
        if self.physics == "residual":
            raw = self.net.sequence(days.features, days.cultivar).squeeze(-1)
            return Forecast(days.stock + scale * raw, None)
        told = ((days.stock - loc) / scale).unsqueeze(-1)
        raw = self.net.sequence(torch.cat([days.features, told], -1), days.cultivar).squeeze(-1)
        return Forecast(loc + scale * raw, None)
