"""LangChain's OpenAI client, as it comes."""

import asyncio
import json
import sys

from langchain_openai import ChatOpenAI


def main(model: str, question: str, way: str) -> list[str]:
    """Ask, and return the answer in the pieces in which it came."""
    chat = ChatOpenAI(model=model)
    match way:
        case "whole":
            return [str(chat.invoke(question).content)]
        case "stream":
            return [str(chunk.content) for chunk in chat.stream(question)]
        case "astream":  # unlike the other it limits the time between two chunks
            return asyncio.run(streamed(chat, question))
    raise SystemExit(f"{way}: expected whole, stream or astream")


async def streamed(chat: ChatOpenAI, question: str) -> list[str]:
    """Ask for a stream without blocking."""
    return [str(chunk.content) async for chunk in chat.astream(question)]


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
