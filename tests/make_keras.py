"""Writes tests/keras.npz: recurrent layers of Keras, their get_weights(), an input and its output.  `python tests/make_keras.py`.

Wants Keras 3, with torch for its arithmetic; no test does, they read what is stored.  Random weights and biases, of float32.
"""

import os
from pathlib import Path

import numpy as np

LAYERS = {
    "simple": lambda k: [k.layers.SimpleRNN(5, return_sequences=True)],
    "memory": lambda k: [k.layers.LSTM(5, return_sequences=True)],
    "memory, no bias": lambda k: [k.layers.LSTM(5, use_bias=False, return_sequences=True)],
    "after": lambda k: [k.layers.GRU(5, reset_after=True, return_sequences=True)],
    "before": lambda k: [k.layers.GRU(5, reset_after=False, return_sequences=True)],
    "after, no bias": lambda k: [k.layers.GRU(5, reset_after=True, use_bias=False, return_sequences=True)],
    "both ways": lambda k: [k.layers.Bidirectional(k.layers.LSTM(5, return_sequences=True)) for _ in range(2)],
    "stack": lambda k: [k.layers.GRU(5, return_sequences=True) for _ in range(3)],
}


def main():
    os.environ["KERAS_BACKEND"] = "torch"
    import keras

    rng, arrays = np.random.default_rng(0), {"version": np.array(keras.__version__)}
    for name, make in LAYERS.items():
        model, x = keras.Sequential(make(keras)), rng.normal(size=(2, 6, 3)).astype(np.float32)
        model(x)
        model.set_weights([rng.normal(size=w.shape).astype(np.float32) * 0.6 for w in model.get_weights()])
        weights = model.get_weights()
        arrays |= {f"{name}/x": x, f"{name}/y": np.asarray(model(x).detach()), f"{name}/count": np.array(len(weights))}
        arrays |= {f"{name}/{k}": w for k, w in enumerate(weights)}
    np.savez_compressed(Path(__file__).with_name("keras.npz"), **arrays)


if __name__ == "__main__":
    main()
