"""Dynamic calibration: a recurrent net sets the parameters of a biophysical model every day."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ...errors import OptionError
from ._network import Conditioning, StackedGRU
from ._process import Process, State, replay, stack_days


class Days(NamedTuple):
    """Seasons as a model sees them: ``G`` nets, ``T`` days, ``B`` seasons of each net.

    ``features [G, T, B, F]`` standardised; ``temperature`` and ``day_length`` ``[G, T, B]``; ``cultivar``
    ``[G, B]`` positions in the list of cultivars; ``target [G, T, B]`` with zeros where ``observed`` is 0;
    ``stock [G, T, B]`` the stock model's output, where the model wants it.
    """

    features: Tensor
    temperature: Tensor
    day_length: Tensor
    cultivar: Tensor
    target: Tensor
    observed: Tensor
    stock: Tensor | None = None


class Forecast(NamedTuple):
    """``output [G, T, B]`` and, for hybrid models, the daily parameters ``[G, T, B, P]``."""

    output: Tensor
    parameters: Tensor | None


class DynamicCalibration(nn.Module):
    """The published hybrid: ``theta_t = cast(net(y_{t-1}, w_t, cultivar))``, one day of the process, repeat.

    The process' output is fed back detached, as in the paper. Gradients flow through the whole roll-out of
    the process and of the GRU. :meth:`rollout` is that algorithm read line by line; ``forward`` returns the
    same numbers and the same gradient faster, by running the days without a graph and then evaluating all
    days at once (see :func:`sharewise.systems.crops._process.replay`). A test holds the two together.

    Args:
        process: the biophysical model.
        seeds: one for each stacked net.
        n_features, n_cultivars, hidden, conditioning: as in :class:`StackedGRU`.
        every: predict parameters every so many days from the mean features of the days since the last
            prediction (the cheaper mode); 1 is the paper's.
        smooth: ``None`` for the range cast; a scale for the smoothed cast, which starts at stock values.
        start_at_stock: begin with outputs near the stock parameters instead of the middle of the ranges.
    """

    def __init__(
        self,
        process: Process,
        seeds: Sequence[int],
        n_features: int,
        n_cultivars: int,
        hidden: int,
        conditioning: Conditioning = "concat",
        every: int = 1,
        smooth: float | None = None,
        start_at_stock: bool = False,
    ) -> None:
        super().__init__()
        if every < 1:
            raise OptionError(f"every must be at least 1 day, found {every}")
        if smooth is not None and not 0 < smooth <= 1:
            raise OptionError(f"smooth must lie in (0, 1], found {smooth}")
        self.process, self.every, self.smooth = process, every, smooth
        self.net = StackedGRU(seeds, n_features, len(process.box), n_cultivars, hidden, conditioning)
        if start_at_stock and smooth is None:
            with torch.no_grad():
                self.net.bias_4 += process.box.uncast(process.box.stock).to(self.net.bias_4)

    def forward(self, days: Days) -> Forecast:
        """Outputs and parameters of every day."""
        features = self._windows(days.features)
        with torch.no_grad():
            before, level, states, theta, fed = self._run(features, days)
        if torch.is_grad_enabled():
            gates = self.net.encode(torch.cat([fed, features], -1), days.cultivar)
            hidden = self.net.replay(gates, states)
            raw = self.net.head(hidden, self.net.head_weights(days.cultivar))
            theta = self._spread(self._cast_all(raw, days), days.temperature.shape[1])
            level = replay(self.process, before, level, days.temperature, days.day_length, theta)
        return Forecast(self.process.output(level), theta)

    def rollout(self, days: Days) -> Forecast:
        """The same, as the paper writes it: one graph through all days. Slow; meant for reading and tests."""
        features = self._windows(days.features)
        weights = self.net.head_weights(days.cultivar)
        hidden = self.net.start(days.cultivar.shape[1])
        state = self.process.start(days.temperature[:, 0])
        theta = self._first(days)
        outputs, parameters = [], []
        for t in range(days.temperature.shape[1]):
            if t % self.every == 0:
                fed = self._feed(state[0]).detach()
                x = torch.cat([fed, features[:, t // self.every]], -1).unsqueeze(1)
                hidden = self.net.cell(self.net.encode(x, days.cultivar)[:, 0], hidden)
                theta = self._cast(self.net.head(hidden, weights), theta)
            state = self.process.step(state, days.temperature[:, t], days.day_length[:, t], theta)
            outputs.append(self.process.output(state[0]))
            parameters.append(theta)
        return Forecast(torch.stack(outputs, 1), torch.stack(parameters, 1))

    def _run(self, features: Tensor, days: Days) -> tuple[State, Tensor, Tensor, Tensor, Tensor]:
        """All days without a graph: states before each day, levels, hidden states, parameters, feedback."""
        net, process = self.net, self.process
        # The input layers are linear, so what feedback adds to the gates is proportional to it.
        nothing = torch.zeros_like(features[..., :1])
        gates = net.encode(torch.cat([nothing, features], -1), days.cultivar)
        one = torch.cat([nothing[:, :1] + 1, features[:, :1]], -1)
        slope = net.encode(one, days.cultivar)[:, 0] - gates[:, 0]

        weights = net.head_weights(days.cultivar)
        hidden = net.start(days.cultivar.shape[1])
        state, theta = process.start(days.temperature[:, 0]), self._first(days)
        before, levels, states, thetas, feeds = [], [], [], [], []
        weather = list(zip(days.temperature.unbind(1), days.day_length.unbind(1), strict=True))
        for t, base in enumerate(gates.unbind(1)):
            fed = self._feed(state[0])
            hidden = net.cell(torch.addcmul(base, fed, slope), hidden)
            theta = self._cast(net.head(hidden, weights), theta)
            feeds.append(fed)
            states.append(hidden)
            for warmth, light in weather[t * self.every : (t + 1) * self.every]:
                before.append(state)
                state = process.step(state, warmth, light, theta)
                levels.append(state[0])
                thetas.append(theta)
        return (
            stack_days(before), torch.stack(levels, 1), torch.stack(states, 1), torch.stack(thetas, 1),
            torch.stack(feeds, 1),
        )  # fmt: skip

    def _feed(self, level: Tensor) -> Tensor:
        """Yesterday's output as an input of the net, ``[..., 1]``, brought to the size of the features."""
        output = self.process.output(level)
        return ((output - self.process.output_loc) / self.process.output_scale).unsqueeze(-1)

    def _windows(self, features: Tensor) -> Tensor:
        """Features of the days on which parameters are predicted, ``[G, ceil(T / every), B, F]``.

        Each is the mean over the day itself and the ``every - 1`` days before it: no look ahead.
        """
        if self.every == 1:
            return features
        picked = range(0, features.shape[1], self.every)
        return torch.stack([features[:, max(0, t - self.every + 1) : t + 1].mean(1) for t in picked], 1)

    def _spread(self, theta: Tensor, n_days: int) -> Tensor:
        return theta if self.every == 1 else theta.repeat_interleave(self.every, 1)[:, :n_days]

    def _first(self, days: Days) -> Tensor:
        """Parameters before the first day: stock values, inside the ranges, ``[G, B, P]``."""
        stock = self.process.box.clip(self.process.box.stock).to(days.temperature)
        return stock.expand(*days.cultivar.shape, -1)

    def _cast(self, raw: Tensor, previous: Tensor) -> Tensor:
        box = self.process.box
        return box.cast(raw) if self.smooth is None else box.smooth(raw, previous, self.smooth)

    def _cast_all(self, raw: Tensor, days: Days) -> Tensor:
        if self.smooth is None:
            return self.process.box.cast(raw)
        theta = [self._first(days)]
        for day in raw.unbind(1):
            theta.append(self.process.box.smooth(day, theta[-1], self.smooth))
        return torch.stack(theta[1:], 1)
