"""Trains the weather example: is the coming hour good for a walk? (see README.md)

Needs lstmgen and `pip install torch==2.13.0`; writes model.npz and data.npz beside itself.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from lstmgen.npz import write_npz
from lstmgen.readers import ReadOptions, read_model
from lstmgen.reference import run

HERE = Path(__file__).resolve().parent
HOURS = 10
SEED = 7

CENTRE = np.array([15.0, 18.0])
"""Degrees Celsius and km/h that become 0: about the means."""

SCALE = np.array([10.0, 12.0])
"""Degrees Celsius and km/h that become 1: about the standard deviations."""


def standardize(weather: np.ndarray) -> np.ndarray:
    """Return what the network takes for (..., 2) temperatures in deg C and winds in km/h."""
    return ((weather - CENTRE) / SCALE).astype(np.float32)


def days(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (count, HOURS, 2) hours of weather and for the hour after them 1 (Good) or 0 (Bad).

    Temperature follows the day's curve and the wind wanders; in some of the days a cold front
    comes in, with falling temperature and rising wind. The next hour is Good if it is warm
    enough for its wind, up to a bit of chance.
    """
    t = np.arange(HOURS + 1)
    start = rng.uniform(0.0, 24.0, (count, 1))
    warmth = rng.normal(15.0, 7.0, (count, 1))
    swing = rng.uniform(2.0, 6.0, (count, 1))
    temperature = warmth + swing * np.sin(2.0 * np.pi * (start + t - 9.0) / 24.0)
    wind = rng.gamma(3.0, 5.0, (count, 1)) + np.cumsum(rng.normal(0, 1.0, (count, HOURS + 1)), 1)
    arrival = rng.uniform(0.0, 2.5 * HOURS, (count, 1))
    front = np.clip((t - arrival) / 4.0, 0.0, 1.0)
    temperature -= front * rng.uniform(2.0, 8.0, (count, 1))
    wind += front * rng.uniform(5.0, 25.0, (count, 1))
    temperature += rng.normal(0.0, 0.4, temperature.shape)
    wind = np.maximum(wind, 0.0)
    comfort = temperature[:, -1] - 0.3 * wind[:, -1] - 8.0
    label = (comfort + rng.normal(0.0, 0.5, count) > 0.0).astype(np.int64)
    return np.stack([temperature, wind], -1)[:, :-1], label


class Weather(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = torch.nn.LSTM(2, 16, batch_first=True)
        self.fc = torch.nn.Linear(16, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h, _ = self.lstm(x)
        return self.fc(h[:, -1])  # the softmax is part of the loss


def train(x: np.ndarray, label: np.ndarray) -> Weather:
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    model = Weather()
    inputs, wanted = torch.from_numpy(x), torch.from_numpy(label)
    epochs, batch = 40, 64
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for _ in range(epochs):
        for rows in torch.randperm(len(inputs)).split(batch):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(inputs[rows]), wanted[rows])
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        schedule.step()
    return model


def main() -> None:
    rng = np.random.default_rng(SEED)
    weather_train, label_train = days(rng, 6000)
    weather, label = days(rng, 2000)
    x_train, x = standardize(weather_train), standardize(weather)
    model = train(x_train, label_train)

    path = HERE / "model.npz"
    np.savez(path, **{key: value.numpy() for key, value in model.state_dict().items()})
    options = ReadOptions(head="softmax", outputs="last", input_range=(-4.0, 5.0))
    network = read_model(path, options)
    replace(network, name="weather").save(path)
    write_npz(HERE / "data.npz", {"x_calib": x_train[:200], "x": x, "label": label})
    right = np.mean(run(network, x).y.argmax(-1) == label)
    print(f"float accuracy on {len(x)} test days: {100 * right:.2f} %; Good: {label.mean():.2f}")
    print(f"inputs from {x.min():.2f} to {x.max():.2f}")


if __name__ == "__main__":
    main()
