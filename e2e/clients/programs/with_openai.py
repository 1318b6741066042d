"""OpenAI's SDK for Python, as it comes."""

import json
import sys

from openai import OpenAI


def main(model: str, question: str, way: str) -> list[str]:
    """Ask, and return the answer in the pieces in which it came."""
    client = OpenAI()
    messages = [{"role": "user", "content": question}]
    match way:
        case "whole":
            whole = client.chat.completions.create(model=model, messages=messages)
            return [whole.choices[0].message.content]
        case "stream":
            chunks = client.chat.completions.create(model=model, messages=messages, stream=True)
            return [chunk.choices[0].delta.content or "" for chunk in chunks]
        case "responses":
            with client.responses.stream(model=model, input=question) as events:
                return [event.delta for event in events if event.type == "response.output_text.delta"]
        case "transcription":
            return [client.audio.transcriptions.create(model=model, file=("a.wav", bytes(32_000))).text]
    raise SystemExit(f"{way}: expected whole, stream, responses or transcription")


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
