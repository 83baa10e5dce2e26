"""Trains the next-number example: an LSTM that continues a noisy series (see README.md).

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
STEPS = 32
NOISE = 0.1
SEED = 2024


def series(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return `count` noisy sums of two sine waves, (count, STEPS, 1), and their next values."""
    t = np.arange(STEPS + 1)
    wave = np.zeros((count, STEPS + 1))
    for shortest, longest, amplitude in ((9.0, 16.0, 1.0), (4.0, 7.0, 0.4)):
        period = rng.uniform(shortest, longest, (count, 1))
        phase = rng.uniform(0.0, 2.0 * np.pi, (count, 1))
        wave += (
            rng.uniform(0.5, 1.0, (count, 1)) * amplitude * np.sin(2.0 * np.pi * t / period + phase)
        )
    values = (wave + NOISE * rng.standard_normal(wave.shape)).astype(np.float32)
    return values[:, :-1, None], values[:, -1:]


class NextNumber(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = torch.nn.LSTM(1, 16, batch_first=True)
        self.fc = torch.nn.Linear(16, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h, _ = self.lstm(x)
        return self.fc(h[:, -1])


def train(x: np.ndarray, target: np.ndarray) -> NextNumber:
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    model = NextNumber()
    inputs, wanted = torch.from_numpy(x), torch.from_numpy(target)
    epochs, batch = 60, 64
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for _ in range(epochs):
        for rows in torch.randperm(len(inputs)).split(batch):
            optimizer.zero_grad()
            loss = torch.nn.functional.mse_loss(model(inputs[rows]), wanted[rows])
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        schedule.step()
    return model


def main() -> None:
    rng = np.random.default_rng(SEED)
    x_train, target_train = series(rng, 6000)
    x, target = series(rng, 1000)
    model = train(x_train, target_train)

    path = HERE / "model.npz"
    np.savez(path, **{key: value.numpy() for key, value in model.state_dict().items()})
    network = read_model(path, ReadOptions(head="none", outputs="last", input_range=(-2.0, 2.0)))
    replace(network, name="next_number").save(path)
    write_npz(HERE / "data.npz", {"x_calib": x_train[:200], "x": x, "target": target})
    rmse = np.sqrt(np.mean((run(network, x).y - target) ** 2))
    print(f"float RMSE on {len(x)} test series: {rmse:.4f}; the noise alone: {NOISE}")


if __name__ == "__main__":
    main()
