"""Anthropic's SDK for Python, as it comes."""

import json
import sys

from anthropic import Anthropic

MAX_TOKENS = 13  # the API wants a number


def main(model: str, question: str, way: str) -> list[str]:
    """Ask, and return the answer in the pieces in which it came."""
    client = Anthropic()
    messages = [{"role": "user", "content": question}]
    match way:
        case "whole":
            whole = client.messages.create(model=model, messages=messages, max_tokens=MAX_TOKENS)
            return [block.text for block in whole.content if block.type == "text"]
        case "stream":
            with client.messages.stream(model=model, messages=messages, max_tokens=MAX_TOKENS) as stream:
                return list(stream.text_stream)
    raise SystemExit(f"{way}: expected whole or stream")


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
