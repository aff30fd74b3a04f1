"""Programs that readers of tutorials write, for torch and gatecell alike: each gets the library as `torch` and has to compute the same.

Not here: single layers (test_layers.py, test_torch_parity.py). Every program takes its random numbers from NumPy, so that both see the
same.
"""

import subprocess
import sys

import numpy as np
import pytest
import torch

import budgets
import gatecell

LIBRARIES = (gatecell, torch)
torch.set_num_threads(1)  # two pools of threads that wait by spinning, on two cores, cost ten times the work


def array(t):
    return t.detach().numpy() if isinstance(t, torch.Tensor) else t.data


def close(mine, want, budget=budgets.TORCH_FORWARD):
    mine, want = array(mine), array(want)
    assert mine.shape == want.shape
    np.testing.assert_allclose(mine, want, rtol=0, atol=budget * np.abs(want).max())


def same_losses(mine, want):
    assert len(mine) == len(want) > 1
    np.testing.assert_allclose(mine, want, rtol=budgets.TORCH_TRAINING)
    assert np.mean(want[-3:]) < np.mean(want[:3]), "a program that learns nothing shows nothing"


def built(program):
    """The program's model of gatecell and of torch, with torch's weights in both."""
    mine, theirs = (program(library) for library in LIBRARIES)
    assert [n for n, _ in mine.named_parameters()] == [n for n, _ in theirs.named_parameters()]
    mine.load_state_dict(theirs.state_dict())
    return mine, theirs


# -- one value from the end of a window -----------------------------------------------------------------------------------------------


def window_forecaster(torch, kind="GRU", inputs=3, hidden=24, layers=2, outputs=2, **options):
    class Forecaster(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = getattr(torch.nn, kind)(inputs, hidden, num_layers=layers, batch_first=True, **options)
            self.head = torch.nn.Sequential(torch.nn.Linear(hidden, 16), torch.nn.ReLU(), torch.nn.Linear(16, outputs))

        def forward(self, window):
            sequence, _ = self.encoder(window)
            return self.head(sequence[:, -1])

    return Forecaster()


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_a_window_forecaster_predicts_and_counts_parameters(kind, rng):
    mine, theirs = built(lambda torch: window_forecaster(torch, kind))
    x = rng.standard_normal((6, 15, 3)).astype(np.float32)
    close(mine(gatecell.tensor(x)), theirs(torch.tensor(x)))
    assert sum(p.numel() for p in mine.parameters() if p.requires_grad) == sum(p.numel() for p in theirs.parameters())


def test_epochs_over_minibatches_with_validation_and_a_schedule(rng):
    """The loop of most tutorials: shuffled batches, train() and eval(), no_grad(), a scheduler, losses by item()."""
    t = np.arange(400) / 9
    series = (np.sin(t) + 0.1 * rng.standard_normal(400)).astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(series, 13)[:, :, None]
    x, y = windows[:, :12], windows[:, 12]
    orders = [rng.permutation(300) for _ in range(4)]

    def program(torch, model):
        inputs, targets = torch.tensor(x), torch.tensor(y)
        criterion = torch.nn.MSELoss()
        optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=4)
        history = []
        for order in orders:
            model.train()
            for start in range(0, 300, 60):
                rows = torch.tensor(order[start : start + 60])
                optimizer.zero_grad()
                loss = criterion(model(inputs[rows]), targets[rows])
                loss.backward()
                optimizer.step()
            scheduler.step()
            model.eval()
            with torch.no_grad():
                validation = criterion(model(inputs[300:]), targets[300:])
            assert not validation.requires_grad
            history.append(validation.item())
        return history

    models = built(lambda torch: window_forecaster(torch, "LSTM", inputs=1, hidden=16, layers=1, outputs=1))
    same_losses(*(program(library, model) for library, model in zip(LIBRARIES, models, strict=True)))


def test_dropout_between_layers_still_learns(rng):
    """Random numbers differ from torch's, so that only learning can be compared."""
    gatecell.manual_seed(5)
    model = window_forecaster(gatecell, "LSTM", inputs=1, outputs=1, dropout=0.2)
    x = rng.standard_normal((64, 10, 1)).astype(np.float32)
    y = x[:, -2:].sum(1)
    optimizer = gatecell.optim.Adam(model.parameters(), lr=5e-3)
    losses = []
    for _ in range(60):
        loss = gatecell.nn.functional.mse_loss(model(x), gatecell.tensor(y))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


# -- a value for each step, states carried from chunk to chunk ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["GRU", "LSTM"])
def test_truncated_backpropagation_through_time(kind, rng):
    """A long series in chunks: states go on, gradients stop at the chunk's beginning, gradients clipped."""
    t = np.arange(6 * 25 * 10).reshape(6, 250) / 7  # six series side by side
    x, y = np.sin(t)[:, :, None].astype(np.float32), np.cos(t)[:, :, None].astype(np.float32)

    def make(torch):
        return torch.nn.ModuleList([getattr(torch.nn, kind)(1, 20, 2, batch_first=True), torch.nn.Linear(20, 1)])

    def program(torch, model):
        layer, head = model
        optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
        state, losses, norms = None, [], []
        for _ in range(3):
            for chunk_x, chunk_y in zip(torch.tensor(x).split(25, 1), torch.tensor(y).chunk(10, dim=1), strict=True):
                if state is not None:
                    state = tuple(s.detach() for s in state) if isinstance(state, tuple) else state.detach()
                out, state = layer(chunk_x, state)
                loss = ((head(out) - chunk_y) ** 2).mean()
                optimizer.zero_grad()
                loss.backward()
                norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), 0.3).item())
                optimizer.step()
                losses.append(loss.item())
        assert max(norms) > 0.3, "clipping acts"
        return losses

    same_losses(*(program(library, model) for library, model in zip(LIBRARIES, built(make), strict=True)))


def test_forgetting_to_detach_is_an_error_that_says_what_to_do():
    layer = gatecell.nn.RNN(1, 3)
    out, state = layer(np.ones((2, 1, 1)))
    out.sum().backward()
    out, _ = layer(np.ones((2, 1, 1)), state)
    with pytest.raises(RuntimeError, match="detach"):
        out.sum().backward()


# -- sequences of symbols -------------------------------------------------------------------------------------------------------------


def language_model(torch, symbols=12, cell="LSTM"):
    class LanguageModel(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = torch.nn.Embedding(symbols, 6)
            self.rnn = getattr(torch.nn, cell)(6, 20, batch_first=True)
            self.scores = torch.nn.Linear(20, symbols)

        def forward(self, tokens, state=None):
            output, state = self.rnn(self.embed(tokens), state)
            return self.scores(output), state

    return LanguageModel()


def test_a_character_model_learns_and_writes(rng):
    """Cross-entropy over all steps, then greedy writing, one symbol at a time with the state handed on."""
    text = rng.integers(0, 12, (4, 1)) + np.arange(31) * 5
    text = text % 12  # after a symbol comes the one 5 further

    def program(torch, model):
        tokens = torch.tensor(text)
        optimizer = torch.optim.RMSprop(model.parameters(), lr=5e-3)
        losses = []
        for _ in range(60):
            scores, _ = model(tokens[:, :-1])
            loss = torch.nn.functional.cross_entropy(scores.reshape(-1, 12), tokens[:, 1:].reshape(-1))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        written, state = [int(text[0, 0])], None
        with torch.no_grad():
            for _ in range(8):
                scores, state = model(torch.tensor([[written[-1]]]), state)
                written.append(int(scores[0, -1].argmax()))
        return losses, written

    results = [program(library, model) for library, model in zip(LIBRARIES, built(language_model), strict=True)]
    same_losses(*(losses for losses, _ in results))
    assert results[0][1] == results[1][1] == text[0, :9].tolist()


def test_a_classifier_from_both_directions(rng):
    """The final states of both directions, side by side, into class scores; accuracy by argmax."""
    x = rng.standard_normal((24, 9, 4)).astype(np.float32)
    labels = (x[:, :, 0].sum(1) > 0).astype(np.int64) + (x[:, 0, 1] > 1)

    def make(torch):
        class Classifier(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.rnn = torch.nn.GRU(4, 10, bidirectional=True)
                self.out = torch.nn.Linear(20, 3)

            def forward(self, x):
                _, last = self.rnn(x.transpose(0, 1))
                return self.out(torch.cat([last[0], last[1]], dim=1))

        return Classifier()

    def program(torch, model):
        criterion, optimizer = torch.nn.CrossEntropyLoss(), torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        losses = []
        for _ in range(40):
            scores = model(torch.tensor(x))
            loss = criterion(scores, torch.tensor(labels))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return losses, (scores.argmax(dim=1) == torch.tensor(labels)).sum().item()

    results = [program(library, model) for library, model in zip(LIBRARIES, built(make), strict=True)]
    same_losses(*(losses for losses, _ in results))
    assert results[0][1] == results[1][1] > 16


# -- one step at a time ---------------------------------------------------------------------------------------------------------------


def test_a_loop_over_steps_with_a_cell_and_a_decoder_fed_by_itself(rng):
    """Encoder by LSTMCell in a Python loop, decoder that reads its own predictions; the outputs stacked."""
    x = rng.standard_normal((7, 5, 2)).astype(np.float32)

    def make(torch):
        class Seq2Seq(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.encode = torch.nn.LSTMCell(2, 8)
                self.decode = torch.nn.LSTMCell(2, 8)
                self.head = torch.nn.Linear(8, 2)

            def forward(self, x, steps):
                h, c = torch.zeros(x.shape[1], 8), torch.zeros(x.size(1), 8)
                for x_t in x:
                    h, c = self.encode(x_t, (h, c))
                y, out = x[-1], []
                for _ in range(steps):
                    h, c = self.decode(y, (h, c))
                    y = self.head(h)
                    out.append(y)
                return torch.stack(out)

        return Seq2Seq()

    models = built(make)
    y, want = (model(library.tensor(x), 4) for library, model in zip(LIBRARIES, models, strict=True))
    close(y, want)
    for result in (y, want):
        (result**2).sum().backward()
    for p, q in zip(*(model.parameters() for model in models), strict=True):
        close(p.grad, q.grad, budgets.TORCH_GRADIENT)


# -- the first lines of a tutorial ----------------------------------------------------------------------------------------------------


def first_lines(torch):
    """Shapes of a first try; returns them."""
    lstm = torch.nn.LSTM(input_size=6, hidden_size=9, num_layers=2, bidirectional=True, batch_first=True)
    x = torch.randn(4, 11, 6)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    lstm, x = lstm.to(device), x.to(device)
    h_0, c_0 = torch.zeros(4, 4, 9), torch.zeros(4, 4, 9)
    output, (h_n, c_n) = lstm(x, (h_0, c_0))
    lstm.flatten_parameters()
    return [tuple(t.shape) for t in (output, h_n, c_n, output[:, -1], output.mean(dim=1), h_n.view(2, 2, 4, 9)[-1])]


def test_first_lines():
    assert first_lines(gatecell) == first_lines(torch)


def test_a_program_with_replaced_import_lines_runs(tmp_path):
    source = '''
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import optim
from torch.optim.lr_scheduler import StepLR
from torch.nn.utils import clip_grad_norm_

torch.manual_seed(1)
net = nn.GRU(2, 5, batch_first=True)
head = nn.Linear(5, 1)
opt = optim.SGD([{"params": net.parameters()}, {"params": head.parameters(), "lr": 0.05}], lr=0.1)
schedule = StepLR(opt, 5)
x = torch.rand(3, 7, 2)
for _ in range(10):
    loss = F.mse_loss(head(net(x)[0])[:, -1], x.sum(dim=(1, 2)).unsqueeze(-1))
    opt.zero_grad()
    loss.backward()
    clip_grad_norm_(net.parameters(), 1.0)
    opt.step()
    schedule.step()
print(f"{loss.item():.3f}", torch.__name__)
'''
    lines = [line.replace("torch", "gatecell") if line.startswith(("import", "from")) else line for line in source.splitlines()]
    lines = ["import gatecell as torch" if line == "import gatecell" else line for line in lines]
    (tmp_path / "program.py").write_text("\n".join(lines))
    done = subprocess.run([sys.executable, "-W", "error", tmp_path / "program.py"], check=True, capture_output=True, text=True)
    assert done.stdout.split()[1] == "gatecell"
