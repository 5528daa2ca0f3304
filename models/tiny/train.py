"""Train the tiny Llama model that ships with the project.

The script makes its own text with ``grammar.py``, trains a byte-level BPE tokenizer and a small
``LlamaForCausalLM`` on it, rounds the weights to bfloat16, measures the loss of what it saves, and writes
Hugging Face files next to itself. Every random choice is seeded. The text is made as it is needed and is not
repeated on purpose, so the training loss is close to a loss on unseen text. Needs torch, transformers,
tokenizers and tqdm; a CPU is enough.

    python train.py                # about ten minutes on one CPU core
    python train.py --steps 50 --out /tmp/try
"""

import argparse
import csv
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import torch
from grammar import stories
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from tqdm import trange
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

END = "<|endoftext|>"  # token 0: starts a prompt, separates documents and ends a story
VOCAB = 384
PROMPTS = ("Once upon a time", "One day, a little fox", "Tom and his dog", "There was once")


def make_tokenizer(seed: int) -> Tokenizer:
    """Train the byte-level BPE: one special token, 256 bytes and 127 merges."""
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tok.train_from_iterator(islice(stories(seed), 20000), trainer)
    tok.post_processor = processors.TemplateProcessing(single=f"{END} $A", special_tokens=[(END, 0)])
    return tok


def batches(tok: Tokenizer, seed: int, rows: int, length: int) -> Iterator[torch.Tensor]:
    """Yield token batches; each row starts with a new story and is filled up with whole stories, then cut."""
    source = stories(seed)
    while True:
        batch = []
        for _ in range(rows):
            row = []
            while len(row) < length:
                row += tok.encode(next(source)).ids  # the encoder puts END in front
            batch.append(row[:length])
        yield torch.tensor(batch)


def make_model() -> LlamaForCausalLM:
    """Build the untrained model."""
    config = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=96,
        num_hidden_layers=3,
        num_attention_heads=3,
        num_key_value_heads=1,
        head_dim=32,
        intermediate_size=256,
        max_position_embeddings=512,
        rms_norm_eps=1e-5,
        rope_theta=10000.0,
        tie_word_embeddings=True,
        initializer_range=0.05,
        bos_token_id=0,
        eos_token_id=0,
    )
    return LlamaForCausalLM(config)


@contextmanager
def quantised(model: LlamaForCausalLM, bits: int, group: int = 32):
    """Round every matrix to signed integers with one scale per group of inputs, for as long as the context lasts."""
    matrices = [p for p in model.parameters() if p.ndim == 2]
    kept = [p.data for p in matrices]
    top = 2 ** (bits - 1) - 1
    for p in matrices:
        w = p.data.view(-1, group)
        scale = w.abs().amax(dim=1, keepdim=True).clamp(min=1e-8) / top
        p.data = (torch.round(w / scale) * scale).view_as(p)
    yield
    for p, data in zip(matrices, kept, strict=True):
        p.data = data


def train(model: LlamaForCausalLM, tok: Tokenizer, args: argparse.Namespace) -> list[tuple[int, float]]:
    """Train the model in place and return the loss curve.

    Most steps use short rows. The last fifth uses rows of the full context so that all positions are trained.
    In the last third every second step runs with 4-bit weights (straight-through), so that the model stays
    usable when its weights are quantised.
    """
    matrices = [p for p in model.parameters() if p.ndim == 2]
    vectors = [p for p in model.parameters() if p.ndim != 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=args.lr, betas=(0.9, 0.95))
    warm = max(1, args.steps // 20)
    warm_up = torch.optim.lr_scheduler.LinearLR(optimiser, 0.01, total_iters=warm)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, args.steps - warm, eta_min=args.lr / 100)
    schedule = torch.optim.lr_scheduler.SequentialLR(optimiser, [warm_up, cosine], [warm])
    short, full = batches(tok, args.seed + 1, 16, 256), batches(tok, args.seed + 2, 8, 512)
    curve, recent = [], []
    bar = trange(1, args.steps + 1, desc="train", unit="step")
    for step in bar:
        ids = next(full if step > args.steps * 4 // 5 else short)
        if step > args.steps * 2 // 3 and step % 2:
            with quantised(model, 4):
                model(input_ids=ids, labels=ids).loss.backward()
        else:
            loss = model(input_ids=ids, labels=ids).loss
            loss.backward()
            recent.append(loss.item())
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        schedule.step()
        if step % args.every == 0 or step == args.steps:
            curve.append((step, sum(recent) / len(recent)))
            bar.set_postfix(loss=f"{curve[-1][1]:.4f}")
            recent = []
    return curve


@torch.no_grad()
def evaluate(model: LlamaForCausalLM, tok: Tokenizer, seed: int) -> float:
    """Mean loss per token on stories from a seed that training never sees."""
    rows = islice(batches(tok, seed, 16, 256), 8)
    return sum(model(input_ids=ids, labels=ids).loss.item() for ids in rows) / 8


def save(model: LlamaForCausalLM, tok: Tokenizer, curve: list[tuple[int, float]], out: Path) -> None:
    """Write the model in bfloat16, the tokenizer and the loss curve."""
    out.mkdir(parents=True, exist_ok=True)
    model.generation_config = GenerationConfig(bos_token_id=0, eos_token_id=0, pad_token_id=0, max_length=512)
    model.to(torch.bfloat16).save_pretrained(out)
    PreTrainedTokenizerFast(
        tokenizer_object=tok, bos_token=END, eos_token=END, pad_token=END, model_max_length=512
    ).save_pretrained(out)
    # Spell two settings the way that older readers look for them as well.
    for name, extra in (
        ("config.json", {"rope_theta": 10000.0}),
        ("tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast"}),
    ):
        settings = json.loads((out / name).read_text(encoding="utf-8")) | extra
        (out / name).write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    (out / "model.safetensors").chmod(0o644)
    with open(out / "loss.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["step", "loss"])
        writer.writerows((step, f"{loss:.4f}") for step, loss in curve)


def sample(model: LlamaForCausalLM, tok: Tokenizer, prompt: str, temperature: float) -> str:
    """Continue a prompt, greedily when the temperature is 0."""
    ids = torch.tensor([tok.encode(prompt).ids])
    how = {"do_sample": True, "temperature": temperature, "top_k": 0} if temperature else {"do_sample": False}
    done = model.generate(ids, attention_mask=torch.ones_like(ids), max_length=256, **how)[0, 1:]
    ended = "" if done[-1] else " [end]"
    return tok.decode(done.tolist()) + ended


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the tiny Llama model on stories made by grammar.py.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder to write (default: this one)")
    parser.add_argument("--steps", type=int, default=1800, help="optimiser steps (default %(default)s)")
    parser.add_argument("--lr", type=float, default=4e-3, help="peak learning rate (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="seed of text, weights and samples (default %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default %(default)s)")
    parser.add_argument("--every", type=int, default=20, help="steps per point of loss.csv (default %(default)s)")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    start = time.time()
    tok = make_tokenizer(args.seed)
    model = make_model()
    curve = train(model, tok, args)
    save(model, tok, curve, args.out)

    model = LlamaForCausalLM.from_pretrained(args.out, dtype=torch.bfloat16).float().eval()  # what was saved
    print(f"{sum(p.numel() for p in model.parameters())} parameters, {time.time() - start:.0f} s")
    print(f"held-out loss, bfloat16 weights: {evaluate(model, tok, args.seed + 3):.4f}")
    for bits in (8, 4):
        with quantised(model, bits):
            print(f"held-out loss, {bits}-bit weights:    {evaluate(model, tok, args.seed + 3):.4f}")
    torch.manual_seed(args.seed)
    for prompt in PROMPTS:
        for temperature in (0.0, 0.8):
            print(f"\n[{prompt!r}, temperature {temperature}]\n{sample(model, tok, prompt, temperature)}")


if __name__ == "__main__":
    main()
