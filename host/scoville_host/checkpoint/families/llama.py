"""Llama, and what calls itself one: SmolLM, say, and Mistral in GGUF files.

Lowering: gates are SiLU; nothing has a bias; positions turn the whole head, or in a GGUF file its first part. There
the rows of q and k are permuted, so that the two of a rotation lie side by side (llama.cpp, ``convert_hf_to_gguf.py``).
"""

from .family import Dialect, Family
from .settings import GGUF_HARMLESS, GGUF_NEUTRAL, HUGGINGFACE_HARMLESS, HUGGINGFACE_NEUTRAL

__all__ = ["GGUF", "HUGGINGFACE", "LLAMA"]

HUGGINGFACE = Dialect(
    architecture="llama",
    keys={"hidden": "hidden_size", "layers": "num_hidden_layers", "heads": "num_attention_heads",
          "kv_heads": "num_key_value_heads", "head_dim": "head_dim", "ffn": "intermediate_size", "vocab": "vocab_size",
          "context": "max_position_embeddings", "epsilon": "rms_norm_eps", "tied": "tie_word_embeddings",
          "eos_ids": "eos_token_id", "window": "sliding_window", "windowed": "use_sliding_window",
          "attention_bias": "attention_bias", "mlp_bias": "mlp_bias",
          "original_context": "original_max_position_embeddings",
          "rope_theta": "rope_theta"},
    defaults={"context": 2048, "epsilon": 1e-6},
    harmless=HUGGINGFACE_HARMLESS, neutral=HUGGINGFACE_NEUTRAL,
    # transformers' Llama knows no window; whatever says so wants one.
    biases={"attention_bias": ("q", "k", "v", "o"), "mlp_bias": ("gate", "up", "down")},
    top={"embedding": "model.embed_tokens", "norm": "model.norm", "lm_head": "lm_head"},
    layer={"attention_norm": "model.layers.{}.input_layernorm", "ffn_norm": "model.layers.{}.post_attention_layernorm",
           "q": "model.layers.{}.self_attn.q_proj", "k": "model.layers.{}.self_attn.k_proj",
           "v": "model.layers.{}.self_attn.v_proj", "o": "model.layers.{}.self_attn.o_proj",
           "gate": "model.layers.{}.mlp.gate_proj", "up": "model.layers.{}.mlp.up_proj",
           "down": "model.layers.{}.mlp.down_proj"},
    rope_layout="half",
    # Frequencies are computed; a tied matrix may be stored all the same.
    ignored=("*rotary_emb.inv_freq", "lm_head.weight"))

GGUF = Dialect(
    architecture="llama", prefix="llama.",
    keys={"hidden": "embedding_length", "layers": "block_count", "heads": "attention.head_count",
          "kv_heads": "attention.head_count_kv", "head_dim": "attention.key_length", "ffn": "feed_forward_length",
          "vocab": "vocab_size", "context": "context_length", "epsilon": "attention.layer_norm_rms_epsilon",
          "rope_theta": "rope.freq_base", "window": "attention.sliding_window", "rotary": "rope.dimension_count",
          "scaling_type": "rope.scaling.type", "scaling_factor": "rope.scaling.factor",
          "scaling_linear": "rope.scale_linear", "scaling_context": "rope.scaling.original_context_length",
          "scaling_attention": "rope.scaling.attn_factor", "yarn_fast": "rope.scaling.yarn_beta_fast",
          "yarn_slow": "rope.scaling.yarn_beta_slow"},
    harmless=GGUF_HARMLESS, neutral=GGUF_NEUTRAL,
    top={"embedding": "token_embd", "norm": "output_norm", "lm_head": "output"},
    layer={"attention_norm": "blk.{}.attn_norm", "ffn_norm": "blk.{}.ffn_norm",
           "q": "blk.{}.attn_q", "k": "blk.{}.attn_k", "v": "blk.{}.attn_v", "o": "blk.{}.attn_output",
           "gate": "blk.{}.ffn_gate", "up": "blk.{}.ffn_up", "down": "blk.{}.ffn_down"},
    rope_layout="interleaved")

LLAMA = Family(
    name="llama", huggingface=HUGGINGFACE, gguf=GGUF,
    top={"embedding": "vocab hidden", "norm": "hidden", "lm_head": "vocab hidden"},
    vectors={"attention_norm": "hidden", "ffn_norm": "hidden"},
    tested=(("models/tiny, as directory and GGUF file, beside llama.cpp", "host/test_llama_cpp.py::test_tiny"),
            ("SmolLM2-135M-Instruct (Q4_1) beside llama.cpp", "host/test_llama_cpp.py::test_smollm2"),
            ("models/tiny in RTL", "chip/test_same_bits.py::test_tiny")),
    matrices={"q": "query hidden", "k": "kv hidden", "v": "kv hidden", "o": "hidden query",
              "gate": "ffn hidden", "up": "ffn hidden", "down": "hidden ffn"})
