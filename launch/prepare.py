"""Prepare a corpus: python launch/prepare.py recordings.csv --output prepared --split train=0.9,validation=0.1

Look at it first: python launch/prepare.py recordings.csv --inspect --report report.html
See docs/preparing.md.
"""

from data.prepare_command import add_arguments, inspection_settings, preparation_settings
from trainer.command_line import CommandLine, run_command


def main(arguments: list[str]) -> int:
    parser = CommandLine(__doc__)
    add_arguments(parser)
    options = parser.parse_intermixed_args(arguments)
    if options.inspect:
        from data.inspection.inspect import inspect_corpus
        from trainer.pages.corpus import check_page, tell_inspection

        check_page(options.report)
        inspection = inspect_corpus(*inspection_settings(options), options.workers, options.cluster)
        return tell_inspection(inspection, options.input, options.report)
    from data.preparation.prepare import prepare
    from data.preparation.summary import print_summary
    from data.terminal import Progress

    settings = preparation_settings(options)
    with Progress() as progress:
        summary = prepare(
            settings,
            options.workers,
            options.cluster,
            options.overwrite,
            watch=lambda result, reused: progress.add(result.rows, len(result.dropped), reused),
        )
    print_summary(summary, settings.output)
    return 0


if __name__ == "__main__":
    run_command(main)
