"""Trains the digits example: a handwritten digit read row by row (see README.md).

Needs lstmgen and `pip install torch==2.13.0 scikit-learn`; writes model.npz and data.npz
beside itself.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits

from lstmgen.npz import write_npz
from lstmgen.readers import ReadOptions, read_model
from lstmgen.reference import run

HERE = Path(__file__).resolve().parent
TEST = 540
SEED = 1


class Digits(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = torch.nn.LSTM(8, 32, num_layers=2, batch_first=True)
        self.fc = torch.nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h, _ = self.lstm(x)
        return self.fc(h[:, -1])  # the softmax is part of the loss


def train(x: np.ndarray, label: np.ndarray) -> Digits:
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    model = Digits()
    inputs, wanted = torch.from_numpy(x), torch.from_numpy(label)
    epochs, batch = 80, 32
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=3e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for _ in range(epochs):
        for rows in torch.randperm(len(inputs)).split(batch):
            noisy = inputs[rows] + 0.05 * torch.randn_like(inputs[rows])
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(
                model(noisy), wanted[rows], label_smoothing=0.05
            )
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        schedule.step()
    return model


def main() -> None:
    digits = load_digits()
    x = (digits.images / 16.0).astype(np.float32)  # (1797, 8, 8): pixels 0..16 become 0..1
    label = digits.target.astype(np.int64)
    order = np.random.default_rng(SEED).permutation(len(x))
    x, label = x[order], label[order]
    x_train, label_train, x, label = x[TEST:], label[TEST:], x[:TEST], label[:TEST]
    model = train(x_train, label_train)

    path = HERE / "model.npz"
    np.savez(path, **{key: value.numpy() for key, value in model.state_dict().items()})
    options = ReadOptions(head="softmax", outputs="last", input_range=(0.0, 1.0))
    network = read_model(path, options)
    replace(network, name="digits").save(path)
    write_npz(HERE / "data.npz", {"x_calib": x_train[:150], "x": x, "label": label})
    right = np.mean(run(network, x).y.argmax(-1) == label)
    print(f"float accuracy on {len(x)} test digits: {100 * right:.2f} %")


if __name__ == "__main__":
    main()
