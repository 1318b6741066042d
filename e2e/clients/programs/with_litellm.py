"""LiteLLM, as it comes."""

import json
import sys

import litellm


def main(model: str, question: str, way: str) -> list[str]:
    """Ask, and return the answer in the pieces in which it came."""
    asked = {"model": f"openai/{model}", "messages": [{"role": "user", "content": question}]}
    match way:
        case "whole":
            return [litellm.completion(**asked).choices[0].message.content]
        case "stream":
            chunks = litellm.completion(**asked, stream=True)
            return [chunk.choices[0].delta.content or "" for chunk in chunks]
    raise SystemExit(f"{way}: expected whole or stream")


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
