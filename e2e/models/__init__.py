"""Small real models for machines without a GPU and without a model hub.

What each module is for:

- `library`: the folder in the cache that holds them all; `python -m e2e.models` makes it.
- `smollm2`: SmolLM2-135M-Instruct, from a Python package that ships it as GGUF; it answers in sentences.
- `tiny_llama`: a random llama whose heads divide by 2, 4 and 8, for tensor parallelism; it answers in noise.
- `tokenizer`, `checkpoint`: the files of a Hugging Face model folder, as vLLM reads them.
- `package`: fetches the pinned package that holds the GGUF file; `once`: folders that are whole or not there.

Nothing here knows of vLLM, Kubernetes or Tertium: the result is a folder per model that any engine reads.
"""
