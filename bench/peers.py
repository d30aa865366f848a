"""distilabel asking the same questions, for bench/serving.py. Runs in an environment of its own, without arhn:

    python bench/peers.py URL CONCURRENCY QUESTIONS

QUESTIONS holds a list of messages a line. They are asked as the library's steps do it: a batch of CONCURRENCY at once,
then the next. Prints seconds, and CPU seconds, from the first question to the last answer.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

USUAL = {"max_new_tokens": 1, "temperature": 0.0, "logprobs": True, "top_logprobs": 20}


def measured(url: str, concurrency: int, questions: list[Any]) -> dict[str, float]:
    from distilabel.models import OpenAILLM

    llm = OpenAILLM(model="m", base_url=url, api_key="none")
    llm.load()
    llm.generate_outputs(inputs=questions[:1], **USUAL)  # imports and the first connection
    cpu, started = time.process_time(), time.monotonic()
    for i in range(0, len(questions), concurrency):
        answers = llm.generate_outputs(inputs=questions[i : i + concurrency], **USUAL)
        assert all(answer["logprobs"] for answer in answers)
    return {"seconds": time.monotonic() - started, "cpu": time.process_time() - cpu}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("concurrency", type=int)
    parser.add_argument("questions", type=Path)
    a = parser.parse_args()
    questions = [json.loads(line) for line in a.questions.read_text("utf-8").splitlines()]
    print(json.dumps(measured(a.url, a.concurrency, questions)))


if __name__ == "__main__":
    main()
