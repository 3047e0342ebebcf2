"""Trains a small character language model with NumPy: eight letters in, the next one out.

The model of Bengio et al., "A Neural Probabilistic Language Model" (JMLR 3, 2003, section 2), on letters: embeddings
of the context, one hidden layer, a softmax over the alphabet; AdamW (Loshchilov and Hutter, 2019,
algorithm 2) with dropout, and the weights that did best on held-out text are kept.
Reads text.txt; writes model.npz (weights), loss.csv, loss.svg (the curve) and sample.txt.
"""

import csv
import os
import time
from pathlib import Path

import numpy as np

CONTEXT, EMBEDDING, HIDDEN, BATCH = 6, 12, 192, 384
STEPS = int(os.environ.get("STEPS", "1500"))
REPORT_EVERY = 50
LEARNING_RATE, DECAY, DROPOUT = 2e-3, 0.2, 0.5

rng = np.random.default_rng(20260302)
text = Path("text.txt").read_text(encoding="utf-8")
alphabet = sorted(set(text))
codes = np.array([alphabet.index(letter) for letter in text])
windows = np.lib.stride_tricks.sliding_window_view(codes, CONTEXT + 1)
split = int(len(windows) * 0.95)
train, held_out = windows[:split], windows[split:]

letters = len(alphabet)
weights = {
    "embedding": rng.normal(0, 0.1, (letters, EMBEDDING)),
    "hidden": rng.normal(0, (CONTEXT * EMBEDDING) ** -0.5, (CONTEXT * EMBEDDING, HIDDEN)),
    "hidden_bias": np.zeros(HIDDEN),
    "output": rng.normal(0, HIDDEN**-0.5, (HIDDEN, letters)),
    "output_bias": np.zeros(letters),
}
mean = {name: np.zeros_like(value) for name, value in weights.items()}
square = {name: np.zeros_like(value) for name, value in weights.items()}


def forward(context, kept=1.0):
    """Probabilities of the next letter (batch, letters), and what the backward pass needs."""
    flat = weights["embedding"][context].reshape(len(context), -1)
    hidden = np.tanh(flat @ weights["hidden"] + weights["hidden_bias"])
    logits = (hidden * kept) @ weights["output"] + weights["output_bias"]
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True), hidden, flat


def loss_on(batch):
    """Mean cross-entropy in nats per letter."""
    chances, _, _ = forward(batch[:, :-1])
    return float(-np.log(chances[np.arange(len(batch)), batch[:, -1]] + 1e-12).mean())


def gradients(batch):
    """Loss with dropout, and its gradient by backpropagation."""
    context, target = batch[:, :-1], batch[:, -1]
    kept = (rng.random((len(batch), HIDDEN)) > DROPOUT) / (1 - DROPOUT)
    chances, hidden, flat = forward(context, kept)
    loss = float(-np.log(chances[np.arange(len(batch)), target] + 1e-12).mean())
    off = chances
    off[np.arange(len(batch)), target] -= 1
    off /= len(batch)
    back = (off @ weights["output"].T) * kept * (1 - hidden**2)
    embedding = np.zeros_like(weights["embedding"])
    np.add.at(embedding, context, (back @ weights["hidden"].T).reshape(*context.shape, EMBEDDING))
    return loss, {
        "embedding": embedding,
        "hidden": flat.T @ back,
        "hidden_bias": back.sum(axis=0),
        "output": (hidden * kept).T @ off,
        "output_bias": off.sum(axis=0),
    }


def sample(length):
    """`length` letters of the model's own."""
    state = list(codes[:CONTEXT])
    for _ in range(length):
        chances, _, _ = forward(np.array([state[-CONTEXT:]]))
        state.append(int(rng.choice(letters, p=chances[0])))
    return "".join(alphabet[code] for code in state[CONTEXT:])


def curve(rows):
    """The loss curve as SVG."""
    width, height, top = 640, 240, max(row[1] for row in rows)
    points = " ".join(
        f"{40 + row[0] / STEPS * (width - 60):.1f},{20 + (1 - row[1] / top) * (height - 50):.1f}"
        for row in rows
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="monospace" font-size="12">'
        f'<rect width="{width}" height="{height}" fill="#fffdf9"/>'
        f'<polyline points="{points}" fill="none" stroke="#2a559f" stroke-width="2"/>'
        f'<text x="40" y="{height - 10}">{STEPS} steps</text><text x="40" y="14">loss, nats per letter: '
        f"{rows[0][1]:.2f} to {rows[-1][1]:.2f}</text></svg>"
    )


print(
    f"{len(text):,} letters, {letters} different, {sum(w.size for w in weights.values()):,} weights",
    flush=True,
)
started, rows = time.monotonic(), []
for step in range(1, STEPS + 1):
    loss, slopes = gradients(train[rng.integers(0, len(train), BATCH)])
    for name, slope in slopes.items():
        mean[name] = 0.9 * mean[name] + 0.1 * slope
        square[name] = 0.999 * square[name] + 0.001 * slope**2
        ahead = mean[name] / (1 - 0.9**step)
        weights[name] -= LEARNING_RATE * ahead / (np.sqrt(square[name] / (1 - 0.999**step)) + 1e-8)
        weights[name] *= 1 - LEARNING_RATE * DECAY
    if step == 1 or step % REPORT_EVERY == 0:
        rows.append((step, loss, loss_on(held_out)))
        if rows[-1][2] == min(row[2] for row in rows):
            best = {name: value.copy() for name, value in weights.items()}
            best_step = step
        print(
            f"step {step:4d}  loss {loss:.3f}  held out {rows[-1][2]:.3f}  {time.monotonic() - started:5.1f} s",
            flush=True,
        )

weights = best
print(f"kept the weights of step {best_step}: they did best on text that was held out", flush=True)
np.savez("model.npz", alphabet=np.array(alphabet), **weights)
with Path("loss.csv").open("w", newline="") as file:
    csv.writer(file).writerows([("step", "loss", "held_out_loss"), *rows])
Path("loss.svg").write_text(curve(rows))
Path("sample.txt").write_text(sample(300), encoding="utf-8")
print(f"\n{sample(120)}\n", flush=True)
