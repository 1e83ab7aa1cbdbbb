"""Make a language model of text: python launch/ngram.py sentences.txt more.txt.gz --language az --output az.arpa

A text has one sentence a line; corpora are read, too, and of them their transcripts. See docs/language_model.md.
"""

from pathlib import Path

from trainer.command_line import CommandLine, number, run_command


def main(arguments: list[str]) -> None:
    parser = CommandLine(__doc__)
    add = parser.add_argument
    add("texts", nargs="+", metavar="TEXT", help="a text file, also .gz, or a corpus as launch/prepare.py reads it")
    add("--output", required=True, type=Path, metavar="FILE", help="an ARPA file, such as az.arpa or az.arpa.gz")
    add("--language", required=True, help="code or English name, such as tr or Turkish: how words are found in text")
    add("--order", type=number(int, 1, 5), default=3, metavar="N", help="words of the longest n-grams, 1 to 5 (3)")
    add(
        "--prune", type=number(int, 0, 1000), default=0, metavar="N", help="leave out n-grams seen N times or fewer (0)"
    )
    add("--not-in", action="append", default=[], metavar="SOURCE", help="leave out sentences of this text or corpus")
    options = parser.parse_args(arguments)
    from trainer.evaluation.language_model.making import Asked, make

    asked = Asked(tuple(options.texts), options.language, options.order, options.prune, tuple(options.not_in))
    for line in make(asked, options.output):
        print(line, flush=True)


if __name__ == "__main__":
    run_command(main)
