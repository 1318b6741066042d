"""A chat completion without any SDK: the body of the request, and the text in what comes back."""

import json


def body(model: str, question: str, way: str) -> str:
    """Return the JSON of a request; `way` is whole or stream."""
    messages = [{"role": "user", "content": question}]
    return json.dumps({"model": model, "messages": messages, "stream": way == "stream"})


def pieces(answer: bytes, way: str) -> list[str]:
    """Return the text of an answer in the pieces in which it came; raises ValueError where it breaks off."""
    if way == "whole":
        return [json.loads(answer)["choices"][0]["message"]["content"]]
    # What the standard of server-sent events calls comments begins with a colon.
    blocks = [block for block in answer.decode().split("\n\n") if block and not block.startswith(":")]
    if not blocks or blocks.pop() != "data: [DONE]":
        raise ValueError(f"a stream without its end: {answer!r}")
    chunks = [json.loads(block.removeprefix("data: ")) for block in blocks]
    return [chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks]
