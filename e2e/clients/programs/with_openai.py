"""OpenAI's SDK for Python, as it comes."""

import json
import sys

from openai import OpenAI
from openai.types.responses import ResponseStreamEvent


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
                return [word for event in events for word in spoken(event)]
        case "transcription":
            return [client.audio.transcriptions.create(model=model, file=("a.wav", bytes(32_000))).text]
    raise SystemExit(f"{way}: expected whole, stream, responses or transcription")


def spoken(event: ResponseStreamEvent) -> list[str]:
    """Return the words of one event; raises SystemExit when it is an error."""
    if event.type == "error":
        raise SystemExit(event.message)
    return [event.delta] if event.type == "response.output_text.delta" else []


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
